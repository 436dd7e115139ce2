"""What the trainer adds around the arithmetic: calling plugins, and cutting the data into batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from caelab import hookimpl
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.measure import Spread
from tests.benchmarks.models import step, trainer


class Idle:
    """A plugin that answers every hook of a step and does nothing."""

    @hookimpl
    def penalty_terms(self, clean: Tensor) -> dict[str, Tensor]:
        """No term."""
        return {}

    @hookimpl
    def before_update(self, model: Any) -> None:
        """Nothing."""

    @hookimpl
    def after_batch(self, terms: Any) -> None:
        """Nothing."""


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [
        Case("calling a plugin's three hooks / smallest step (batch 20)", at_most(1, " %"), _dispatch),
        Case("cutting batches / epoch, 50 units", at_most(7, " %"), partial(_slicing, 50)),
        Case("cutting batches / epoch, 500 units", at_most(2, " %"), partial(_slicing, 500)),
    ]


def _dispatch(bench: Bench) -> Spread:
    """Three calls of hooks by the trainer's own means, against a step of 1000 units."""
    ready = trainer("ae", ["model.hidden=[1000]"], {"idle": Idle()}, device=bench.device)
    clean, model = ready.train_inputs[:20], ready.model
    ready.watch.begin(1, 3)  # a usual step: in the first, and in every 64th, everything is compared

    def calls() -> None:
        ready.plugins.call("penalty_terms", 1, model=model, clean=clean, corrupted=clean, code=clean,
                           reconstruction=None, encoder_jacobian=None, reconstruction_jacobian=None,
                           streams=ready.streams)  # fmt: skip
        ready.plugins.hook.before_update(model=model, epoch=1, step=1)
        ready.plugins.hook.after_batch(model=model, clean=None, epoch=1, step=1, terms={})

    return bench.ratio(calls, step("ae", 20, device=bench.device)).times(100)


def _slicing(units: int, bench: Bench) -> Spread:
    """A new order and its batches, as ``Trainer.run_epoch`` cuts them, against the whole epoch without validation."""
    ready = trainer("ae", [f"model.hidden=[{units}]"], device=bench.device)
    ready.model.train()
    inputs, size = ready.train_inputs, ready.config.training.batch_size

    def cut() -> tuple[Tensor, ...]:
        order = torch.randperm(len(inputs), generator=ready.streams["batch order"], device=inputs.device)
        return torch.split(inputs[order], size)

    def epoch() -> None:
        for number, clean in enumerate(cut(), start=1):
            ready.train_step(clean, 1, number)

    return bench.ratio(cut, epoch).times(100)
