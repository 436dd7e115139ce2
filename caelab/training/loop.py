"""The training loop: fit, epoch, step. It is the only caller of the training hooks."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError, DamagedFile, unknown_name
from caelab.models.identity import load_weights
from caelab.models.reconstruction import reconstruction_error
from caelab.process.denormals import flushed_denormals
from caelab.process.exits import held_open
from caelab.registry.reserved import OF_TRAINING
from caelab.runs.config import RunConfig
from caelab.streams import Streams, seeded
from caelab.training.batches import Inputs, batches_of, last_left_out
from caelab.training.checkpoints import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint
from caelab.training.failures import no_gradient, nothing_to_train, refuse_nonfinite, step_failed
from caelab.training.memory import THE_MODEL, Memory
from caelab.training.objective import Objective
from caelab.training.optimizers import (
    Scheduler,
    clip,
    optimizer_of,
    restore_scheduler,
    scheduler_of,
    scheduler_state,
)
from caelab.training.plugins import TrainingPlugins, merged_terms
from caelab.training.watch import Watch

log = logging.getLogger(__name__)

DIVERGED = 100.0  # times the untrained model's reconstruction error
PARTS = ("model", "best", "optimizer", "streams", "plugins")

Metrics = dict[str, float]


def _make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimiser over all that can be trained.

    Raises:
        CaelabError: nothing can.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters and config.pretraining != "none":
        raise CaelabError(
            f"the model {type(model).__name__} has no trainable parameters; nothing can be trained: give one that has, "
            "or pretraining: none"
        )
    return optimizer_of(parameters or [nn.Parameter(torch.zeros(0))], config.training)


@dataclass
class Trainer:
    """One run of training; ``fit`` continues from the checkpoint where there is one.

    A plugin that changes what others see, or whose term trains nothing, is refused where the run is ``watched``.
    """

    model: nn.Module
    config: RunConfig
    plugins: TrainingPlugins
    train_inputs: Inputs
    valid_inputs: Tensor
    streams: Streams
    checkpoint: Path | None = None
    history: list[Metrics] = field(default_factory=list)
    watched: bool = True
    name: str = ""  # of the run, for those who watch

    def __post_init__(self) -> None:
        self.optimizer = _make_optimizer(self.model, self.config)
        self.objective = Objective(self.model, self.config.training.reconstruction, self.plugins, self.streams)
        self.left_out = last_left_out(self.model, self.train_inputs, self.config.training.batch_size)
        self.best: dict[str, Tensor] = {}
        self.original = {*self.model.state_dict()}
        self.memory: Memory | None = None
        self.scheduler: Scheduler | None = None
        self.untrained_error = math.nan

    def fit(self) -> list[Metrics]:
        """Train to the last epoch, or until validation stops improving; return the metrics of every epoch."""
        with self.watching():
            return self._fit()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block epochs can be run: plugins are watched, denormals are flushed, the process stays."""
        self.watch = Watch(self.model, self.config.seed, self.valid_inputs.device)
        self.plugins.watch = self.watch if self.watched else None
        try:
            with flushed_denormals(), held_open():
                yield
        finally:
            self.plugins.watch = None

    def _fit(self) -> list[Metrics]:
        self.begin()
        self.resume()
        last = 0 if self.config.pretraining == "none" else self.config.training.epochs
        while len(self.history) < last:
            if self.out_of_patience():
                break
            self.next_epoch()
            self.keep_best()
            self.save()
        self.end()
        self.watch.begin(len(self.history) + 1)
        self.plugins.call("after_training", model=self.model, history=self.history)
        self.model.eval()
        return self.history

    def begin(self) -> None:
        """All that comes before the first epoch."""
        self.watch.begin(0)
        self.plugins.call("before_training", model=self.model, config=self.config, name=self.name)
        self.refit()
        self.scheduler = scheduler_of(self.optimizer, self.config.training, self.updates_per_epoch())
        self.memory = Memory(self.plugins.instances, self.model) if self.checkpoint else None
        if self.memory:
            self.memory.begin()
            self.memory.packed()  # what cannot be saved is told before an epoch is spent
        self.untrained_error = self.validation_error()
        solve = getattr(self.model, "solve", None)
        if solve is not None:
            solve(self.train_inputs[:])

    def next_epoch(self) -> None:
        """The epoch after those of the history, which gets its metrics."""
        epoch = len(self.history) + 1
        with seeded(self.config.seed, f"modules in epoch {epoch}", self.config.training.device):
            self.history.append(self.run_epoch(epoch))

    def end(self) -> None:
        """Go back to the best epoch, where one was kept, and to evaluation mode."""
        if self.best:
            load_weights(self.model, self.best)
        self.model.eval()

    def run_epoch(self, epoch: int) -> Metrics:
        """One pass over the training examples in a new order, then validation."""
        self.watch.begin(epoch)
        self.plugins.call("before_epoch", epoch, model=self.model)
        self.model.train()
        order = torch.randperm(
            len(self.train_inputs), generator=self.streams["batch order"], device=self.valid_inputs.device
        )
        totals: defaultdict[str, float] = defaultdict(float)
        order = order[: len(order) - self.left_out]
        batches = batches_of(self.train_inputs, order, self.config.training.batch_size)
        for step, clean in enumerate(batches, start=1):
            for name, value in self.train_step(clean, epoch, step).items():
                totals[name] += value * len(clean)
        means = {f"{OF_TRAINING}{name}": total / len(order) for name, total in totals.items()}
        metrics = {"epoch": float(epoch), **means, **self.validate(epoch)}
        if self.scheduler is not None:
            metrics["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        self.check_monitored(metrics)
        self.plugins.call("after_epoch", epoch, model=self.model, metrics=metrics)
        return metrics

    def train_step(self, clean: Tensor, epoch: int, step: int) -> Metrics:
        """One update; return the terms of its loss as numbers.

        Raises:
            CaelabError: a plugin fails, or the model does, or a term is not finite.
        """
        self.watch.begin(epoch, step)
        try:
            return self.update(clean, epoch, step)
        except CaelabError:
            raise
        except (Exception, SystemExit) as error:
            raise step_failed(self.model, epoch, step, error) from error

    def update(self, clean: Tensor, epoch: int, step: int) -> Metrics:
        """Terms, gradient, and the optimiser's step, with the plugins in between."""
        terms = self.objective.terms(clean, epoch)
        values = {name: float(term.detach()) for name, term in terms.items()}
        refuse_nonfinite(values, epoch, step, self.model)
        self.optimizer.zero_grad()
        self.backward(terms, epoch)
        self.plugins.call("before_update", epoch, model=self.model, step=step)
        self.descend()
        self.plugins.call("after_batch", epoch, model=self.model, clean=clean, step=step, terms=values)
        return values

    def descend(self) -> None:
        """One step of the optimiser along the gradient, clipped where it is too long, and of the schedule."""
        if self.config.training.clip_norm is not None:
            clip((p for group in self.optimizer.param_groups for p in group["params"]), self.config.training)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()

    def updates_per_epoch(self) -> int:
        """The number of batches in an epoch."""
        return -(-(len(self.train_inputs) - self.left_out) // self.config.training.batch_size)

    def backward(self, terms: Mapping[str, Tensor], epoch: int) -> None:
        """The gradient of the sum of the terms.

        Raises:
            CaelabError: there is none; it names the plugin whose term has none.
        """
        loss = sum_of(terms)
        if not loss.requires_grad:
            raise nothing_to_train(self.model)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise no_gradient(terms, self.watch, epoch, error) from error

    @torch.no_grad()
    def validation_error(self) -> float:
        """Mean reconstruction error of the clean validation examples."""
        self.model.eval()
        code = self.objective.model.encode(self.valid_inputs)
        kind = self.config.training.reconstruction
        return float(reconstruction_error(kind, self.model, code, self.valid_inputs).mean())

    @torch.no_grad()
    def validate(self, epoch: int) -> Metrics:
        """The validation metrics, the plugins' own among them; refuses a run that diverged."""
        error = self.validation_error()
        if not error < DIVERGED * max(self.untrained_error, 1e-12):
            raise CaelabError(
                f"training diverged: after epoch {epoch} the validation reconstruction error is {error:.4g}, against "
                f"{self.untrained_error:.4g} untrained; lower training.learning_rate "
                f"(now {self.config.training.learning_rate:g})"
            )
        answers = self.plugins.call("extra_metrics", epoch, model=self.model, inputs=self.valid_inputs)
        return {"valid_reconstruction": error, **merged_terms(answers, "extra_metrics")}

    def out_of_patience(self) -> bool:
        """Whether validation has not improved for ``patience`` epochs."""
        patience = self.config.training.patience
        return patience is not None and len(self.history) - self.best_epoch() >= patience and bool(self.history)

    def check_monitored(self, metrics: Metrics) -> None:
        """Refuse early stopping by a metric that the epochs do not have.

        Raises:
            CaelabError: names the metric, and the nearest one that there is.
        """
        monitor = self.config.training.monitor
        if self.config.training.patience is not None and monitor not in metrics:
            raise CaelabError(f"training.monitor: {unknown_name('metric of an epoch', monitor, metrics)}")

    def best_epoch(self) -> int:
        """The epoch with the best value of the metric that training is judged by, counted from 1; of equals the first.

        That is the lowest validation reconstruction error, unless the config names another metric. NaN is never best.
        """
        training = self.config.training
        sign = -1.0 if training.better == "larger" else 1.0
        values = [sign * metrics.get(training.monitor, math.inf) for metrics in self.history]
        costs = [math.inf if math.isnan(value) else value for value in values]
        return costs.index(min(costs)) + 1 if costs else 0

    def keep_best(self) -> None:
        """With early stopping, remember the weights of the best epoch."""
        if self.config.training.patience is not None and self.best_epoch() == len(self.history):
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    def refit(self) -> None:
        """Make the optimiser anew where a plugin gave the model other parameters before training."""
        known = [id(p) for group in self.optimizer.param_groups for p in group["params"]]
        if {id(p) for p in self.model.parameters() if p.requires_grad} - {*known}:
            self.optimizer = _make_optimizer(self.model, self.config)
        self.watch.renew({id(p) for group in self.optimizer.param_groups for p in group["params"]})

    def save(self) -> None:
        """Write everything that training continues from."""
        if self.checkpoint and self.memory:
            states, tensors = self.memory.packed()
            parts = {
                "model": self.model.state_dict(),
                "best": self.best,
                "optimizer": flatten_optimizer(self.optimizer),
                "streams": self.streams.state(),
                "plugins": tensors,
            }
            facts = {
                "history": self.history,
                "untrained_error": self.untrained_error,
                "plugins": states,
                "schedule": scheduler_state(self.optimizer, self.scheduler),
                "forgotten": self.memory.forgotten(),
            }
            save_checkpoint(self.checkpoint, parts, facts)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one, to the weights that an unbroken run would reach."""
        if self.checkpoint is None or self.memory is None or not self.checkpoint.is_file():
            return
        try:
            parts, facts = load_checkpoint(self.checkpoint, PARTS)
        except DamagedFile as error:
            log.warning("%s: this run is trained from its start", error)
            return
        if self.forgot(facts.get("forgotten", {})):
            return
        load_weights(self.model, parts["model"], added=parts["model"].keys() - self.model.state_dict().keys())
        self.memory.restore(facts.get("plugins", {}), parts["plugins"])
        self.best = parts["best"]
        restore_optimizer(self.optimizer, parts["optimizer"])
        restore_scheduler(self.optimizer, self.scheduler, facts.get("schedule"))
        self.streams.restore(parts["streams"])
        self.history = facts["history"]
        self.untrained_error = facts["untrained_error"]

    def forgot(self, forgotten: Mapping[str, Sequence[str]]) -> bool:
        """Whether some plugin, or the model, remembered what the checkpoint does not hold; that is told."""
        for label, names in forgotten.items():
            who = label if label == THE_MODEL else f"plugin {label!r}"
            log.warning(
                "%s remembers %s, which the checkpoint %s does not hold, so this run is trained from its start; give "
                "it state_dict() and load_state_dict(state), or stateful = False where no number depends on that",
                *(who, " and ".join(names), self.checkpoint),
            )
        return bool(forgotten)

    def added(self) -> list[str]:
        """The names of the tensors that plugins gave the model."""
        return [name for name in self.model.state_dict() if name not in self.original]


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    """The loss: the terms added one after the other, in their order."""
    return reduce(torch.add, terms.values())
