"""Jacobians whose last step sets most units to 0: only the rows of active units are computed, the others are zero.

J = D W J_front with D = diag(s'(z)), which is zero for inactive units (ReLU, TopK, a threshold): with the active units
a of one example, everything that is asked comes from the rows s'_a W_a J_front. A sparse code has tens of them among
thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from caelab.jacobian.activations import RELU
from caelab.jacobian.active_front import Front, own_rows
from caelab.jacobian.blockwise import Blocks, Forgetful, own_leaves
from caelab.jacobian.chain_kernels import squared_row_norms
from caelab.jacobian.context import Part
from caelab.jacobian.engines import OwnProducts
from caelab.jacobian.layers import Layer
from caelab.jacobian.linalg import eigenvalues, gram
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.singular_values import checked_finite, differentiated_on_demand, roots, tangents_of_one
from caelab.jacobian.strategy import Method, Mode, Strategy


@dataclass(frozen=True)
class ActiveRows:
    """The Jacobian of a map whose last step sets units to 0, from the rows of its active units.

    Where many units are active, or where autograd records and that is cheaper, ``whole`` answers.

    Attributes:
        whole: the strategy for the same map that knows nothing of active units.
        front: the last step and what comes before it.
        outputs: the code, where it is known.
    """

    whole: Strategy
    front: Front
    outputs: Tensor | None = None

    @property
    def inputs(self) -> Tensor:
        """x, shape ``(batch, *input)``."""
        return self.whole.inputs

    @property
    def method(self) -> str:
        """How it is computed."""
        if self.whole.layers or not self.are_few:
            return self.whole.method
        return f"{self.whole.method}, rows of active units"

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J."""
        return self.whole.shape

    @property
    def layers(self) -> Sequence[Layer]:
        """Those of the whole map, where it is a chain of them."""
        return self.whole.layers

    def slopes(self) -> list[Tensor]:
        """Those of the whole map's layers."""
        return self.whole.slopes()

    def at(self, inputs: Tensor, part: Part) -> ActiveRows:
        """The Jacobian of the same map elsewhere."""
        return ActiveRows(self.whole.at(inputs, part), self.front.at(inputs, part))

    def kept(self) -> OwnProducts:
        """Many products without gradients."""
        return OwnProducts(self)

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes."""
        return self.whole.bytes_per_product()

    @cached_property
    def slope(self) -> Tensor:
        """s'(z), shape (batch, code), without a gradient: it is constant where the active units stay the same."""
        with torch.no_grad():
            return self.front.slope(self.outputs)

    @cached_property
    def active(self) -> tuple[Tensor, ...]:
        """The active units of every example, in ascending order."""
        places = self.slope.nonzero()
        return torch.split(places[:, 1], self._counts.tolist())

    @cached_property
    def _counts(self) -> Tensor:
        return torch.count_nonzero(self.slope, dim=1)

    @property
    def are_few(self) -> bool:
        """Whether at most half of the units are active in every example."""
        return 2 * self._most <= self.slope.shape[1]

    @property
    def _most(self) -> int:
        return int(self._counts.max())

    @property
    def _pays_to_look(self) -> bool:
        """Whether a cheap answer is worth a pass forward to look for active units: not for ReLU, half of which are."""
        return self.front.is_layer or self.front.activation is not RELU

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F² = Σ_{j active} s'_j² ‖row j of W J_front‖², shape (batch,)."""
        if self.front.is_layer:
            return self.whole.squared_norm(budget) if torch.is_grad_enabled() else self._from_row_norms()
        if (self.whole.layers and not self._pays_to_look) or not self.are_few:
            return self.whole.squared_norm(budget)
        parts = self._parts(budget)
        blocks = Blocks(self._squared_rows, [(self._numbers(part), [(0, self._most)]) for part in parts])
        leaves = self._leaves(parts) if len(parts) > 1 and torch.is_grad_enabled() else None
        if leaves is None:
            return blocks.values(self.inputs)
        found: Tensor = Forgetful.apply(blocks, self.inputs, *leaves)  # type: ignore[no-untyped-call]
        return found

    def _numbers(self, part: slice) -> Tensor:
        return torch.arange(part.start, part.stop, device=self.inputs.device)

    def _leaves(self, parts: Sequence[slice]) -> list[Tensor] | None:
        """What the rows depend on, so that pieces of the batch can be differentiated one by one."""
        return own_leaves((self.front.before, self.inputs[part]) for part in parts)

    def _from_row_norms(self) -> Tensor:
        if 2 * int(self._counts.sum()) > self.slope.shape[1]:
            return self.slope.square() @ squared_row_norms(self.front.weight)
        owners, units = self.slope.nonzero().unbind(1)
        terms = own_rows(self.front.weight, units).square_().sum(dim=1) * self.slope[owners, units].square()
        return terms.new_zeros(len(self.slope)).index_add_(0, owners, terms)

    def _squared_rows(self, _: tuple[int, int], which: Tensor, inputs: Tensor) -> Tensor:
        part = slice(int(which[0]), int(which[-1]) + 1)
        rows = self.front.at(inputs, part).rows(*self._padded(part))
        return rows.square().flatten(1).sum(dim=1)

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        if torch.is_grad_enabled() or not self.are_few:
            return self.whole.dense(budget)
        entries = len(self.inputs) * self.shape[0] * self.shape[1]
        refuse_beyond("the dense Jacobian", entries * self.inputs.element_size(), budget)
        found = self.inputs.new_zeros(len(self.inputs), *self.shape)
        for example, units, rows in self._rows(budget):
            found[example].index_copy_(0, units, rows.to(found.dtype))
        return found

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v for one or many vectors per example, shape ``(batch, [count,] *input)`` to (batch, [count,] code)."""
        if not self._multiplies():
            return self.whole.jvp(vectors)
        many = vectors.ndim > self.inputs.ndim
        pushed = self.front.pushed(vectors if many else vectors[:, None])
        if not self.are_few:
            found = (pushed @ self.front.weight.T) * self.slope[:, None]
            return found if many else found[:, 0]
        found = pushed.new_zeros(*pushed.shape[:2], self.slope.shape[1])
        for units, slope, into, out in zip(self.active, self.slope, pushed, found, strict=True):
            out[:, units] = (into @ own_rows(self.front.weight, units).T) * slope[units]
        return found if many else found[:, 0]

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u for one or many covectors per example, shape (batch, [count,] code) to (batch, [count,] input)."""
        if not self._multiplies():
            return self.whole.vjp(covectors)
        many = covectors if covectors.ndim == 3 else covectors[:, None]
        found = self.front.pulled(self._through_weight(many))
        return found if covectors.ndim == 3 else found[:, 0]

    def _through_weight(self, covectors: Tensor) -> Tensor:
        """Wᵀ D u, shape (batch, count, code) to (batch, count, width of f)."""
        if not self.are_few:
            return (covectors * self.slope[:, None]) @ self.front.weight
        each = zip(self.active, self.slope, covectors, strict=True)
        return torch.stack([(u[:, a] * slope[a]) @ own_rows(self.front.weight, a) for a, slope, u in each])

    def _multiplies(self) -> bool:
        """Whether products go through the rows of active units."""
        return self._pays_to_look and self.front.has_weight and not torch.is_grad_enabled()

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The largest singular values, shape (batch, count), float64; at most as many as units are active are not 0."""

        def values() -> Tensor:
            if not self.are_few:
                return self.whole.singular_values(count, method, budget, gradient=False)
            found = self.inputs.new_zeros(len(self.inputs), count, dtype=torch.float64)
            for example, _, rows in self._rows(budget, double=True):
                few = _spectrum(rows, method)[:count]
                found[example, : len(few)] = few
            return found

        return differentiated_on_demand(self, values, count, budget, gradient)

    @torch.no_grad()
    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values (batch, count) and right singular vectors (batch, count, input), exact."""
        if not self.are_few:
            return self.whole.tangents(count, mode, budget)
        pairs = [tangents_of_one(_filled(rows, count), count) for _, _, rows in self._rows(budget, double=True)]
        values, directions = zip(*pairs, strict=True)
        return torch.stack(values), torch.stack(directions)

    def _rows(self, budget: int, double: bool = False) -> list[tuple[int, Tensor, Tensor]]:
        """Each example, its active units, and their rows of J, (active, input); of all examples, as they are few."""
        needed = sum(len(units) for units in self.active) * self.shape[1] * (16 if double else 4)
        refuse_beyond("the rows of active units", needed, budget)
        front = self.front.in_double() if double else self.front
        found = []
        for part in self._parts(budget):
            rows = checked_finite(front.at(front.inputs[part], part).rows(*self._padded(part)))
            units = self.active[part]
            found += [(part.start + n, u, r[: len(u)]) for n, (u, r) in enumerate(zip(units, rows, strict=True))]
        return [(n, u, r.double()) for n, u, r in found] if double else found

    def _padded(self, part: slice) -> tuple[Tensor, Tensor]:
        """The active units of some examples, (examples, most), and their slopes, which are 0 where there are fewer."""
        units = torch.nn.utils.rnn.pad_sequence(list(self.active[part]), batch_first=True)
        slope = self.slope[part].gather(1, units)
        for row, own in zip(slope, self.active[part], strict=True):
            row[len(own) :] = 0
        return units, slope

    def _parts(self, budget: int) -> list[slice]:
        """Examples whose active rows fit into the budget at once."""
        each = self._most * self.front.bytes_per_row()
        at_once = pieces("the rows of active units of one example", len(self.inputs), each, budget)
        count = len(self.inputs)
        return [slice(first, min(first + at_once, count)) for first in range(0, count, at_once)]


def _spectrum(rows: Tensor, method: Method) -> Tensor:
    """All singular values of one matrix (rows, input), descending."""
    if not len(rows):
        return rows.new_zeros(0)
    if method == "svd":
        values: Tensor = torch.linalg.svdvals(rows)
        return values
    return roots(eigenvalues(gram(rows.mT if len(rows) < rows.shape[1] else rows)))


def _filled(rows: Tensor, count: int) -> Tensor:
    """The matrix with rows of zeros, so that it has at least so many singular values."""
    lacking = max(0, count - len(rows))
    return torch.cat([rows, rows.new_zeros(lacking, rows.shape[1])]) if lacking else rows
