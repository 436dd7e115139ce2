"""Training that goes on: what an estimator keeps between two calls."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from caelab.data import Dataset
from caelab.errors import CaelabError
from caelab.models.identity import copied
from caelab.process.torch_settings import pinned_settings
from caelab.runs.run import Run, of_type
from caelab.streams import Streams
from caelab.training import run_of, trainer_of
from caelab.training.asked import Asked
from caelab.training.batches import last_left_out
from caelab.training.loop import Trainer
from caelab.training.plugins import TrainingPlugins

KEPT = ("model", "optimizer", "history", "untrained_error", "best", "original")  # of a trainer, in a pickle


class Training:
    """A run whose training can go on, on the same or on other examples.

    The optimiser's averages, the random streams (batch order, noise) and the plugins go on from call to call, so that k
    calls of ``epoch`` on the same examples train to the very weights of a run of k epochs. All of that is pickled.

    Args:
        asked: the run; its data set is what training begins with.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = replace(asked, watchers={})
        self.watchers = [*asked.watchers]
        with pinned_settings():
            self.trainer = trainer_of(asked, None, None)

    def fit(self, start: dict[str, Tensor] | None = None) -> Run:
        """All epochs of the config, from the initial weights or from others.

        Args:
            start: weights to start from, by name.
        """
        started = time.perf_counter()
        with pinned_settings():
            if start is not None:
                self._load(start)
            self.trainer.fit()
        if self.watchers:
            self.__setstate__(self.__getstate__())  # a display of the epochs has ended with them
        return self._run(started)

    def epoch(self, dataset: Dataset) -> Run:
        """One pass over the training examples of a data set, in batches."""
        started = time.perf_counter()
        with pinned_settings(), self.trainer.watching():
            self._give(dataset)
            if self.trainer.history:
                self.trainer.refit()
                self.trainer.untrained_error = max(self.trainer.untrained_error, self.trainer.validation_error())
            else:
                self.trainer.begin()
            self.trainer.next_epoch()
            self.trainer.end()
        return self._run(started)

    def _give(self, dataset: Dataset) -> None:
        """Let the trainer see other examples."""
        self.asked = replace(self.asked, dataset=dataset)
        dataset, trainer = of_type(self.trainer.model, dataset), self.trainer
        device = trainer.config.training.device
        trainer.train_inputs, trainer.valid_inputs = dataset.train_inputs.to(device), dataset.valid_inputs.to(device)
        trainer.left_out = last_left_out(trainer.model, trainer.train_inputs, trainer.config.training.batch_size)

    def _load(self, weights: dict[str, Tensor]) -> None:
        own = {name: tuple(value.shape) for name, value in self.trainer.model.state_dict().items()}
        last = {name: tuple(value.shape) for name, value in weights.items()}
        if own != last:
            raise CaelabError(
                f"warm_start goes on from the weights of the last fit, which have the shapes {last}, but the model now "
                f"has {own}; keep the model as it was, or use warm_start=False"
            )
        self.trainer.model.load_state_dict(weights)

    def _run(self, started: float) -> Run:
        """The run so far, with a copy of the model, which stays as it is when training goes on."""
        how = {"seconds": round(time.perf_counter() - started, 3), "threads": torch.get_num_threads()}
        with pinned_settings():
            found = run_of(self.asked, self.trainer, how)
            run = replace(found, model=copied(found.model).eval(), metrics=[*found.metrics])
            self.trainer.model.to(self.trainer.config.training.device)
        return run

    def __getstate__(self) -> dict[str, Any]:
        trainer, plugins = self.trainer, self.trainer.plugins
        instances = {label: each for label, each in plugins.instances.items() if label not in self.watchers}
        return {
            "asked": self.asked,
            "kept": {name: vars(trainer)[name] for name in KEPT},
            "streams": (trainer.streams.state(), trainer.streams.asked),
            "plugins": (instances, plugins.warmups),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.asked, self.watchers = state["asked"], []
        config, dataset = self.asked.config, of_type(state["kept"]["model"], self.asked.dataset)
        device = config.training.device
        streams = Streams(config.seed, device)
        streams.restore(state["streams"][0])
        streams.asked |= state["streams"][1]
        with pinned_settings():
            self.trainer = Trainer(
                model=state["kept"]["model"],
                config=config,
                plugins=TrainingPlugins(*state["plugins"]),
                train_inputs=dataset.train_inputs.to(device),
                valid_inputs=dataset.valid_inputs.to(device),
                streams=streams,
            )
        for name, value in state["kept"].items():
            setattr(self.trainer, name, value)
