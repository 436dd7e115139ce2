"""Checking that a penalty does not change its arguments, which others share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.service import jacobian
from caelab.streams import Streams
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.subjects import Subject, Trial
from caelab.training.objective import reconstruction_map

UNCHANGED = "unchanged inputs, code and parameters"
ON_A_COPY = "other plugins are handed the same tensors; work on a copy, as x.clone() or x.detach().requires_grad_()"

ELSEWHERE = "change weights in before_update or after_batch, or work on copy.deepcopy(model)"
LARGE = 100.0


def check_arguments(subject: Subject) -> Check:
    """Check that a penalty changes none of its arguments: tensors, flags, weights, the model's mode."""
    trial = Trial(subject, replace(subject.home, corrupted=True))
    arguments = _arguments_of(trial)
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    tensors |= dict(trial.model.named_parameters())
    before = {name: _state(tensor) for name, tensor in tensors.items()}
    mode = trial.model.training
    trial.answers(**arguments)
    changed = [name for name, tensor in tensors.items() if _changed(before[name], _state(tensor))]
    changed += ["the model's mode"] * (trial.model.training != mode)
    found = f"changed: {', '.join(changed)}" if changed else "unchanged"
    return judged("arguments left alone", not changed, UNCHANGED, found, ON_A_COPY)


def changed_weights(subject: Subject) -> Check | None:
    """The row on weights that a penalty changes, as they are or so large that any bound acts; nothing if it does not.

    Every later value and gradient is that of other weights, so this is looked at before them.
    """
    for factor in (1.0, LARGE):
        trial = Trial(subject, subject.home)
        weights = trial.model.state_dict()
        with torch.no_grad():
            before = {name: weight.mul_(factor).clone() for name, weight in weights.items()}
        with suppress(Exception, SystemExit):  # what it cannot do with these weights is another row's
            trial.terms()
        after = trial.model.state_dict()
        changed = [name for name, weight in before.items() if not torch.equal(weight, after[name])]
        if changed:
            found = f"changes the model's weights: {', '.join(changed)}"
            return Check("arguments left alone", "failed", UNCHANGED, found, ELSEWHERE)
    return None


def _arguments_of(trial: Trial) -> dict[str, Any]:
    """The arguments of the hook for the trial's batch, every tensor a copy."""
    corrupted = trial.clean + 0.1 if trial.setting.corrupted else trial.clean
    code = trial.model.encode(corrupted)
    return {
        "model": trial.model,
        "clean": trial.clean,
        "corrupted": corrupted,
        "code": code,
        "reconstruction": trial.model.decode(code),
        "encoder_jacobian": jacobian(trial.model.encode, trial.clean),
        "reconstruction_jacobian": jacobian(reconstruction_map(trial.model), trial.clean),
        "streams": Streams(0),
    }


def _state(tensor: Tensor) -> tuple[Any, ...]:
    gradient = tensor.grad.clone() if tensor.is_leaf and tensor.grad is not None else None
    return tensor.requires_grad, tensor._version, gradient, tensor.detach().clone()


def _changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    same_gradient = before[2] is after[2] or (
        before[2] is not None and after[2] is not None and torch.equal(before[2], after[2])
    )
    return before[:2] != after[:2] or not same_gradient or not torch.equal(before[3], after[3])
