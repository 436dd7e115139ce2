"""Unbiased estimates of ‖J‖_F² from random projections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from caelab.jacobian.blockwise import Blocks, Forgetful, Rows, own_leaves
from caelab.jacobian.context import Part
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.strategy import Strategy
from caelab.streams import for_examples

EVERY = slice(None)


class Estimate(NamedTuple):
    """An unbiased estimate with its error.

    Attributes:
        value: shape (batch,).
        standard_error: of each value, from the spread among its samples, shape (batch,); NaN for one sample.
    """

    value: Tensor
    standard_error: Tensor


def projected_squared_norm(
    jacobian: Strategy, samples: int, budget: int, generator: torch.Generator | None = None
) -> Estimate:
    """Mean of ‖Jᵀ u‖² over random signs u, or of ‖J v‖² where the input is the narrower side; and its standard error.

    E‖Jᵀ u‖² = tr(J Jᵀ) = ‖J‖_F² for entries ±1, whose variance 2 Σ_{i≠j} (J Jᵀ)_ij² is the least among
    independent entries. Differentiable; for chains of layers without double backward.
    Hutchinson (1989), Communications in Statistics 18(3).

    Args:
        jacobian: J at a batch of inputs.
        samples: how many projections of every example.
        budget: bytes. The signs are drawn at once, so that they do not depend on it; the products are taken in pieces.
        generator: on the inputs' device.

    Returns:
        One estimate for each example.

    Raises:
        CaelabError: the signs alone, or one product, exceed the budget.
    """
    inputs, (code, width) = jacobian.inputs, jacobian.shape
    shape = (len(inputs), samples, min(code, width))
    refuse_beyond("a set of random signs", 2 * shape[0] * shape[1] * shape[2], budget)

    def signs(count: int) -> Tensor:
        size = (count, *shape[1:])
        return torch.randint(0, 2, size, generator=generator, device=inputs.device, dtype=torch.int8)

    coins = for_examples(signs, len(inputs), generator)
    projections = _Projections(jacobian, coins, code)
    squares = projections.in_pieces(budget - coins.numel())
    error = squares.detach().std(dim=1) / samples**0.5 if samples > 1 else torch.full_like(squares[:, 0], torch.nan)
    return Estimate(squares.mean(dim=1), error.detach())


@dataclass(frozen=True)
class _Projections:
    """‖Jᵀ u‖² or ‖J v‖² of every example for its own random signs.

    Attributes:
        jacobian: J at a batch of inputs.
        coins: zeros and ones, shape (batch, samples, code or input, whichever is narrower).
        code: how many units the code has.
    """

    jacobian: Strategy
    coins: Tensor
    code: int

    def in_pieces(self, budget: int) -> Tensor:
        """The squares, shape (batch, samples); with a gradient, every piece's record is forgotten before the next.

        The gradient of pieces is that of their mean over the samples, and passes through the first column.
        """
        parts = self._parts(budget)
        inputs = self.jacobian.inputs
        if len(parts) == 1 and len(parts[0][1]) == 1:
            return self._squares(self.coins, inputs, EVERY)
        squares = inputs.new_empty(self.coins.shape[:2])
        blocks = Blocks(lambda columns, examples, x: self._noted(squares, columns, examples, x), parts)
        leaves = self._leaves(parts) if torch.is_grad_enabled() else []
        if leaves is None:
            refuse_beyond("the projections' record", self.jacobian.bytes_per_product() * squares.numel(), budget)
            return self._squares(self.coins, inputs, EVERY)
        if not leaves and not (torch.is_grad_enabled() and inputs.requires_grad):
            blocks.values(inputs.detach())
            return squares
        total = cast(Tensor, Forgetful.apply(blocks, inputs, *leaves))  # type: ignore[no-untyped-call]
        return squares + (total - total.detach())[:, None] / squares.shape[1]

    def _parts(self, budget: int) -> list[tuple[Tensor, list[Rows]]]:
        """Indices of examples that go together, with the ranges of samples that do."""
        count, samples, _ = self.coins.shape
        each = self.jacobian.bytes_per_product()
        examples = pieces("one projection of one example", count, each, budget)
        together = pieces("one projection", samples, each * examples, budget)
        ranges = [(first, min(first + together, samples)) for first in range(0, samples, together)]
        return [(part, ranges) for part in torch.split(torch.arange(count, device=self.coins.device), examples)]

    def _leaves(self, parts: list[tuple[Tensor, list[Rows]]]) -> list[Tensor] | None:
        coin = self.coins[:1, :1]
        return own_leaves(
            (partial(self._squares, coin.expand(len(part), -1, -1), part=part), self.jacobian.inputs[part])
            for part, _ in parts
        )

    def _noted(self, squares: Tensor, columns: Rows, examples: Tensor, inputs: Tensor) -> Tensor:
        """Σ over a range of samples, shape (examples,); each is noted down for the standard error."""
        chosen = slice(*columns)
        found = self._squares(self.coins[examples, chosen], inputs, examples)
        squares[examples, chosen] = found.detach()
        return found.sum(dim=1)

    def _squares(self, coins: Tensor, inputs: Tensor, part: Part) -> Tensor:
        jacobian = self.jacobian if inputs is self.jacobian.inputs else self.jacobian.at(inputs, part)
        signs = coins.to(inputs.dtype).mul_(2).sub_(1)
        if self.code <= inputs[0].numel():
            return jacobian.vjp(signs).square().sum(dim=2)
        return jacobian.jvp(signs.reshape(*signs.shape[:2], *inputs.shape[1:])).square().sum(dim=2)
