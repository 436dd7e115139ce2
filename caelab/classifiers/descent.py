"""Fine-tuning: epochs of updates, the best of which is kept; it goes on from a checkpoint to the same bits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from caelab.classifiers.examples import Examples, error_of, surprise_of
from caelab.classifiers.network import Network, load_tensors, tensors_of
from caelab.classifiers.options import FineTuning
from caelab.classifiers.steps import Updating, step_of
from caelab.errors import CaelabError, DamagedFile
from caelab.process.denormals import flushed_denormals
from caelab.streams import Streams, seeded
from caelab.training.batches import batches_of, last_left_out
from caelab.training.checkpoints import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint
from caelab.training.optimizers import optimizer_of, scheduler_of

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two checkpoints, at least; each takes as long as some tens of updates
PARTS = ("network", "best", "optimizer", "streams")
ORDER, DROPOUT, WEIGHTS = "classifier order", "classifier dropout", "classifier weights"

Told = Callable[[Mapping[str, float]], None]


@dataclass
class Descent:
    """The fine-tuning of one network.

    Attributes:
        network: is trained.
        options: how.
        examples: with labels, on the device of the network.
        streams: for the order of the batches and dropout.
        tangents: of the training examples, shape (n, k, d), in memory or mapped from a file; None for no penalty.
        checkpoint: where its state is stored; None where nothing is.
        progress: is told the metrics of every epoch.
        history: of every epoch: ``train_loss`` and perhaps ``train_penalty``, means over the examples; ``valid_error``
            in percent, and ``valid_loss``.
    """

    network: Network
    options: FineTuning
    examples: Examples
    streams: Streams
    tangents: Tensor | None = None
    checkpoint: Path | None = None
    progress: Told | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        parameters = self.network.trainable()
        train = self.examples.train
        self.left_out = last_left_out(self.network.model, train.rows, self.options.batch_size, "batch_size")
        updates = -(-(len(train) - self.left_out) // self.options.batch_size)
        self.optimizer = optimizer_of(parameters, self.options)
        self.scheduler = scheduler_of(self.optimizer, self.options, updates)
        self.best: dict[str, Tensor] = {}
        self.saved = time.monotonic()
        updating = Updating(parameters, self.optimizer, self.scheduler, self.options)
        self.step = step_of(self.network, updating, self.examples.valid.inputs.shape[1], self.streams[DROPOUT])

    def fit(self) -> list[dict[str, float]]:
        """Train to the last epoch, or until validation stops improving; the network is then that of the best epoch."""
        self.resume()
        with flushed_denormals():
            for epoch in range(len(self.history) + 1, self.options.epochs + 1):
                if self.out_of_patience():
                    break
                with seeded(self.options.seed, f"modules in epoch {epoch}", self.options.device):
                    self.history.append({"epoch": float(epoch), **self.run_epoch(), **self.validated(epoch)})
                if self.best_epoch() == epoch:
                    self.best = self.network.weights()
                self.save_now_and_then()
                if self.progress is not None:
                    self.progress(self.history[-1])
        if self.best:
            load_tensors(self.network, self.best)
        self.optimizer.zero_grad()
        self.network.eval()
        return self.history

    def run_epoch(self) -> dict[str, float]:
        """One pass over the labelled examples in a new order; the means of the terms of the loss."""
        self.network.train()
        train, size = self.examples.train, self.options.batch_size
        order = torch.randperm(len(train), generator=self.streams[ORDER], device=train.targets.device)
        order = order[: len(order) - self.left_out]
        inputs = batches_of(train.rows, order, size)
        batches = zip(inputs, torch.split(train.targets[order], size), torch.split(order, size), strict=True)
        told = [self.update(*batch) for batch in batches]
        shares = [len(batch) / len(order) for batch in torch.split(order, self.options.batch_size)]
        weights = torch.tensor(shares, dtype=torch.float64)
        terms = {name: torch.stack([each[name] for each in told]).double().cpu() for name in told[0]}
        return {f"train_{name}": float(weights @ values) for name, values in terms.items()}

    def update(self, inputs: Tensor, targets: Tensor, places: Tensor) -> dict[str, Tensor]:
        """One update; returns the terms of the loss before it."""
        along = None if self.tangents is None else self.tangents[places.cpu()].to(inputs)
        return self.step(inputs, targets, along)

    def validated(self, epoch: int) -> dict[str, float]:
        """Validation error in percent, and mean cross-entropy.

        Raises:
            CaelabError: the cross-entropy is no longer a number.
        """
        found = self.network.log_probabilities(self.examples.valid.inputs)
        loss = surprise_of(found, self.examples.valid.targets)
        if not math.isfinite(loss):
            raise CaelabError(
                f"fine-tuning diverged: the validation loss is {loss} after epoch {epoch}; lower its learning_rate "
                f"(now {self.options.learning_rate:g})"
            )
        return {"valid_error": error_of(found, self.examples.valid.targets), "valid_loss": loss}

    def best_epoch(self) -> int:
        """The epoch with the lowest validation error, of equals the lowest cross-entropy, of equals the first."""
        return best_epoch(self.history)

    def out_of_patience(self) -> bool:
        """Whether no epoch was better than all before for as long as the options wait."""
        patience = self.options.patience
        return patience is not None and bool(self.history) and len(self.history) - self.best_epoch() >= patience

    def save_now_and_then(self) -> None:
        """Write all that fine-tuning goes on from, if some time has gone by since the last time."""
        if self.checkpoint is None or time.monotonic() - self.saved < EVERY:
            return
        rates = {} if self.scheduler is None else self.schedule_state()
        parts = {
            "network": tensors_of(self.network),
            "best": self.best,
            "optimizer": flatten_optimizer(self.optimizer),
            "streams": self.streams.state(),
        }
        save_checkpoint(self.checkpoint, parts, {"history": self.history, "schedule": rates})
        self.saved = time.monotonic()

    def schedule_state(self) -> dict[str, Any]:
        """Where the schedule stands, as plain values, which JSON keeps to the last bit."""
        assert self.scheduler is not None
        return {"scheduler": self.scheduler.state_dict(), "rates": [g["lr"] for g in self.optimizer.param_groups]}

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        try:
            parts, facts = load_checkpoint(self.checkpoint, PARTS, self.options.device)
        except DamagedFile as error:
            log.warning("%s: this classifier is trained from its start", error)
            return
        load_tensors(self.network, parts["network"])
        self.best, self.history = parts["best"], facts["history"]
        restore_optimizer(self.optimizer, parts["optimizer"])
        self.streams.restore({name: state.cpu() for name, state in parts["streams"].items()})
        if self.scheduler is not None:
            self.scheduler.load_state_dict(facts["schedule"]["scheduler"])
            for group, rate in zip(self.optimizer.param_groups, facts["schedule"]["rates"], strict=True):
                group["lr"] = rate


def best_epoch(history: list[dict[str, float]]) -> int:
    """The epoch, counted from 1, with the lowest validation error, then the lowest cross-entropy; 0 of none.

    >>> best_epoch([{"valid_error": 3.0, "valid_loss": 1.0}, {"valid_error": 3.0, "valid_loss": 0.9}])
    2
    """
    found = [(row["valid_error"], row["valid_loss"]) for row in history]
    return found.index(min(found)) + 1 if found else 0
