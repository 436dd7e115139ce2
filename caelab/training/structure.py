"""Checking that a model keeps its parameters while it is trained, as the optimiser does not see new ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

TOO_LATE = "give the model new parts in before_training, or change values in place, as parameter.data.copy_(values)"
TRAINED = (
    "a run is stored with the history of the model that was trained; change a copy, as copy.deepcopy(model), or values "
    "in place, as parameter.data.copy_(values)"
)
AS_DATA = "convert a copy, as copy.deepcopy(model), or train a model that is like that from its start"


class Structure:
    """The parameters of a model, what holds them, and which of them the optimiser changes.

    Args:
        model: that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.renew()

    def renew(self, optimised: Collection[int] | None = None) -> None:
        """Read anew which parameters and modules the model has.

        Args:
            optimised: the ``id`` of each parameter of the optimiser; by default of those that ask for a gradient.
        """
        self.modules = [*self.model.modules()]
        self.named = dict(self.model.named_parameters())
        self.parameters = [*self.named.values()]
        self.trainable = {id(p) for p in self.parameters if p.requires_grad}
        self.optimised = self.trainable if optimised is None else {*optimised}
        self.tables: list[Mapping[str, Any]] = [
            table for module in self.modules for table in (module._parameters, module._modules)
        ]
        self.filled = [table for table in self.tables if table]
        self.short = self._in_short()
        self.known = self._entries(), self._kinds()

    def _in_short(self) -> tuple[list[int], list[torch.dtype]]:
        found = [*map(id, chain.from_iterable([table.values() for table in self.filled]))]
        return found, [p.dtype for p in self.parameters]

    def _entries(self) -> list[int]:
        return [id(part) for table in self.tables for part in table.values()]

    def _kinds(self) -> list[tuple[torch.dtype, torch.device, torch.Size]]:
        return [(p.dtype, p.device, p.shape) for p in self.parameters]

    def seems_same(self) -> bool:
        """Whether modules hold what they held, of the same types: what two or three microseconds tell."""
        return self._in_short() == self.short

    def same(self) -> bool:
        """Whether modules hold what they held, of the same types and shapes and on the same device."""
        return (self._entries(), self._kinds()) == self.known

    def wrong(self, hook: str) -> str:
        """What a call of a hook did to the model that its training, or the stored run, cannot follow.

        Parameters may be given before training, for the optimiser is made after that. Parts that hold the same
        parameters in another way, as torch's pruning does, change nothing of that.
        """
        if self.same() and not self._untrained():
            return ""
        found = self._other_kind(hook) or ("" if hook == "before_training" else self._other_parameters(hook))
        if not found:
            self.renew(self.optimised)
        return found

    def _untrained(self) -> bool:
        """Whether a parameter asks for a gradient by now that the optimiser does not change."""
        return any(p.requires_grad and id(p) not in self.optimised for p in self.parameters)

    def _other_kind(self, hook: str) -> str:
        before = dict(zip(map(id, self.parameters), self.known[1], strict=True))
        there = {kind[:2] for kind in self.known[1]}
        for name, p in self.model.named_parameters():
            if p.is_floating_point() and (p.dtype, p.device) not in there:
                return f"makes the parameter {name} {_plain(p.dtype)} on {p.device}, unlike the data; {AS_DATA}"
            if hook != "before_training" and id(p) in before and p.shape != before[id(p)][2]:
                return f"makes the parameter {name} one of shape {tuple(p.shape)} while it is trained; {AS_DATA}"
        return ""

    def _other_parameters(self, hook: str) -> str:
        now, ended = dict(self.model.named_parameters()), hook == "after_training"
        known, there = {id(p) for p in self.parameters}, {id(p) for p in now.values()}
        strange = [name for name, p in now.items() if id(p) not in (known if ended else self.optimised)]
        added = [name for name in strange if ended or now[name].requires_grad]
        gone = [name for name, p in self.named.items() if id(p) not in there]
        if added:
            what = "were not trained" if ended else "the optimiser does not change"
            return f"gives the model parameters that {what} ({_listed(added)}); {TRAINED if ended else TOO_LATE}"
        return f"takes parameters from the model ({_listed(gone)}); {TRAINED if ended else TOO_LATE}" if gone else ""


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
