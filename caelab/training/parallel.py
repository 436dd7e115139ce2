"""Data-parallel training: each process computes its share of every batch, and their gradients are added up.

The reduction is the core's own. ``DistributedDataParallel`` synchronises what goes through its own ``forward``; a loss
that goes through ``torch.func``, or through the bare module, as every penalty on a Jacobian, it leaves alone, silently.
Here the gradient of the mean over the batch is Σ_r (n_r / N) · gradient of the mean over the n_r examples of process r.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from caelab.errors import CaelabError
from caelab.models.reconstruction import reconstruction_error
from caelab.streams import Share, only
from caelab.training.failures import refuse_nonfinite
from caelab.training.loop import Metrics, Trainer
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins
from caelab.training.processes import Group

ALONE = "train this run in one process"


class SharedObjective(Objective):
    """The terms of the loss on one process's share of a batch, which is corrupted as a whole."""

    def __init__(self, whole: Objective, group: Group) -> None:
        super().__init__(whole.model, whole.kind, whole.plugins, whole.streams)
        self.group = group
        self.tried = False

    def terms(self, clean: Tensor, epoch: int) -> dict[str, Tensor]:
        """The terms of this process's examples of a batch."""
        share, _ = self.group.share(len(clean))
        corrupted = clean if self.tied else self.corrupt(clean, epoch)
        own = clean[share.rows]
        seen = own if corrupted is clean else corrupted[share.rows]
        before = {} if self.tried else self._states()
        with only(share):
            found = self.terms_of(own, seen, epoch)
        if not self.tried:
            self.tried = True
            self._refuse_draws(before, share)
        return found

    def _states(self) -> dict[str, Tensor]:
        return {**self.streams.state(), "": torch.random.get_rng_state()}

    def _refuse_draws(self, before: Mapping[str, Tensor], share: Share) -> None:
        """Refuse what draws random numbers for its own examples alone.

        Raises:
            CaelabError: names the stream.
        """
        for name, state in self._states().items():
            drawn = share.drawn.get(self.streams._generators[name]) if name else None
            known = drawn if drawn is not None else before.get(name)
            if known is not None and torch.equal(known, state):
                continue
            what = f"from the stream {name!r}" if name else "in the model, as dropout does,"
            raise CaelabError(
                f"random numbers are drawn {what} for each process's own examples, so the result would depend on the "
                f"number of processes; {ALONE}, or draw in corrupt_input, or by caelab.streams.for_examples"
            )


@dataclass
class ParallelTrainer(Trainer):
    """One run of training, shared by the processes of a group; each has all data, and the weights of all are the same.

    Only the first process writes.
    """

    group: Group = field(default_factory=lambda: Group(0, 1))

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_whole_batches(self.model, self.plugins)
        self.objective = SharedObjective(self.objective, self.group)

    def update(self, clean: Tensor, epoch: int, step: int) -> Metrics:
        """Terms and gradient of this process's examples, added up over the processes, and the optimiser's step."""
        _, weight = self.group.share(len(clean))
        terms = self.objective.terms(clean, epoch)
        self.optimizer.zero_grad()
        self.backward(terms, epoch)
        values = self.reduced(terms, weight)
        refuse_nonfinite(values, epoch, step, self.model)
        self.plugins.call("before_update", epoch, model=self.model, step=step)
        self.descend()
        self.plugins.call("after_batch", epoch, model=self.model, clean=clean, step=step, terms=values)
        return values

    def reduced(self, terms: Mapping[str, Tensor], weight: float) -> Metrics:
        """Put the gradient of the whole batch in place of that of a share; return the terms of the whole batch.

        Args:
            terms: of this process's examples.
            weight: the part of the batch that they are.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        parts = [*grads, *(term.detach() for term in terms.values())]
        wide = reduce(torch.promote_types, {part.dtype for part in parts})
        flat = torch.cat([part.reshape(-1).to(wide) for part in parts]).mul_(weight)
        sums = torch.split(self.group.add_up(flat), [part.numel() for part in parts])
        for parameter, total in zip(parameters, sums[: len(grads)], strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(total.view_as(parameter))
        return dict(zip(terms, map(float, sums[len(grads) :]), strict=True))

    @torch.no_grad()
    def validation_error(self) -> float:
        """Mean reconstruction error of the clean validation examples, of which each process takes its share."""
        self.model.eval()
        share, weight = self.group.share(len(self.valid_inputs))
        inputs = self.valid_inputs[share.rows]
        error = reconstruction_error(
            self.config.training.reconstruction, self.model, self.objective.model.encode(inputs), inputs
        )
        return float(self.group.add_up(error.mean().reshape(1).mul_(weight)))

    def validate(self, epoch: int) -> Metrics:
        """The validation metrics; all processes go on with those of the first."""
        return self.group.told_by_first(super().validate(epoch))

    def save(self) -> None:
        """Write the checkpoint, in the first process."""
        if self.group.rank == 0:
            super().save()

    def resume(self) -> None:
        """Continue from the checkpoint, all from the same epoch."""
        super().resume()
        self.group.agree(len(self.history), "numbers of stored epochs")


def _refuse_whole_batches(model: nn.Module, plugins: TrainingPlugins) -> None:
    """Refuse what is defined over a whole batch, of which each process has a part only.

    Raises:
        CaelabError: names it.
    """
    for label, plugin in plugins.instances.items():
        over = next((what for what in ("over_batch", "stateful") if getattr(plugin, what, False)), "")
        if over and any(each.plugin is plugin for each in _penalties(plugins)):
            why = "is defined over the whole batch" if over == "over_batch" else "remembers earlier batches"
            raise CaelabError(f"the penalty of {label!r} {why}, but each process computes a part of it; {ALONE}")
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        name = type(getattr(model, "inner", model)).__name__
        raise CaelabError(
            f"{name} normalises by the statistics of the whole batch, but each process computes a part of it; {ALONE}"
        )


def _penalties(plugins: TrainingPlugins) -> list[Any]:
    return list(plugins.manager.hook.penalty_terms.get_hookimpls())
