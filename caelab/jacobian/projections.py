"""One number for each example and each of its own vectors, as ‖Jᵀ u‖² or uᵀ J u, within the memory budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from caelab.jacobian.blockwise import Blocks, Forgetful, Rows, own_leaves
from caelab.jacobian.context import Part
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.strategy import Strategy

EVERY = slice(None)
Vectors = Callable[[Part, slice], Tensor]
Number = Callable[[Strategy, Tensor], Tensor]


@dataclass(frozen=True)
class Projections:
    """A number of J and a vector, for every example and its own vectors.

    Attributes:
        jacobian: J at a batch of inputs.
        vectors: those of some examples (all: a full slice, or indices) and a range of samples, shape (examples,
            range, side), of the inputs' type.
        samples: how many vectors an example has.
        number: of J and vectors (examples, count, side), shape (examples, count).
    """

    jacobian: Strategy
    vectors: Vectors
    samples: int
    number: Number

    def in_pieces(self, budget: int) -> Tensor:
        """The numbers, shape (batch, samples); with a gradient, every piece's record is forgotten before the next.

        The gradient of pieces is that of their mean over the samples, or of any multiple of it.
        """
        parts = self._parts(budget)
        inputs = self.jacobian.inputs
        if len(parts) == 1 and len(parts[0][1]) == 1:
            return self._numbers(EVERY, EVERY, inputs)
        numbers = inputs.new_empty(len(inputs), self.samples)
        blocks = Blocks(partial(self._noted, numbers), parts)
        leaves = self._leaves(parts) if torch.is_grad_enabled() else []
        if leaves is None:
            refuse_beyond("the projections' record", self.jacobian.bytes_per_product() * numbers.numel(), budget)
            return self._numbers(EVERY, EVERY, inputs)
        if not leaves and not (torch.is_grad_enabled() and inputs.requires_grad):
            blocks.values(inputs.detach())
            return numbers
        total = cast(Tensor, Forgetful.apply(blocks, inputs, *leaves))  # type: ignore[no-untyped-call]
        return numbers + (total - total.detach())[:, None] / self.samples

    def _parts(self, budget: int) -> list[tuple[Tensor, list[Rows]]]:
        """Indices of examples that go together, with the ranges of samples that do."""
        count, samples = len(self.jacobian.inputs), self.samples
        each = self.jacobian.bytes_per_product()
        examples = pieces("one projection of one example", count, each, budget)
        together = pieces("one projection", samples, each * examples, budget)
        ranges = [(first, min(first + together, samples)) for first in range(0, samples, together)]
        every = torch.arange(count, device=self.jacobian.inputs.device)
        return [(part, ranges) for part in torch.split(every, examples)]

    def _leaves(self, parts: list[tuple[Tensor, list[Rows]]]) -> list[Tensor] | None:
        one = slice(0, 1)
        return own_leaves((partial(self._numbers, part, one), self.jacobian.inputs[part]) for part, _ in parts)

    def _noted(self, numbers: Tensor, columns: Rows, examples: Tensor, inputs: Tensor) -> Tensor:
        """Σ over a range of samples, shape (examples,); each is noted down for the standard error."""
        chosen = slice(*columns)
        found = self._numbers(examples, chosen, inputs)
        numbers[examples, chosen] = found.detach()
        return found.sum(dim=1)

    def _numbers(self, part: Part, chosen: slice, inputs: Tensor) -> Tensor:
        jacobian = self.jacobian if inputs is self.jacobian.inputs else self.jacobian.at(inputs, part)
        return self.number(jacobian, self.vectors(part, chosen))


def signs_of(coins: Tensor, dtype: torch.dtype) -> Vectors:
    """Signs ±1 from zeros and ones that are kept in a byte each, shape (batch, samples, side)."""
    return lambda part, chosen: coins[part][:, chosen].to(dtype).mul_(2).sub_(1)


def squared_pull(jacobian: Strategy, covectors: Tensor) -> Tensor:
    """‖Jᵀ u‖², shape (batch, count)."""
    return jacobian.vjp(covectors).square().sum(dim=2)


def squared_push(jacobian: Strategy, vectors: Tensor) -> Tensor:
    """‖J v‖², shape (batch, count)."""
    shaped = vectors.reshape(*vectors.shape[:2], *jacobian.inputs.shape[1:])
    return jacobian.jvp(shaped).square().sum(dim=2)


def quadratic_form(jacobian: Strategy, vectors: Tensor) -> Tensor:
    """uᵀ J u of a square J, shape (batch, count)."""
    return (jacobian.vjp(vectors) * vectors).sum(dim=2)
