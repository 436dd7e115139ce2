"""Leading singular triplets of J from products alone, by block Krylov with a posteriori bounds, for a whole batch.

On the narrower side of J, of width n, the space spanned by X, G X, G² X, ... with G = J Jᵀ (or Jᵀ J) and a random
block X holds good approximations of the leading eigenvectors long before its dimension is n (Golub & Underwood 1977;
Musco & Musco 2015). All examples take their steps together; those that are settled are frozen.

A space that is invariant shows no residual, even where it misses an eigenvector (of a multiple eigenvalue, say, or one
that the start had no part in). Before anything counts as settled, two steps from fresh random vectors must not raise
any value beyond its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from caelab.jacobian.krylov_bounds import Bounds, bounds, rounding_of
from caelab.jacobian.krylov_space import Product, Ritz, Space, orthonormal

_GUARD_STEPS = 2
_GROWTH = 1.05  # of the space between two looks at its Ritz values
_RISE = 0.25  # of a residual: what fresh vectors may add to a value that is not wanted itself
_REGUARD = 1.25  # of the space between two guards, while some examples are not settled yet


class Products(Protocol):
    """J v and Jᵀ u at a batch of inputs."""

    def push(self, vectors: Tensor) -> Tensor:
        """J v, (batch, count, input) to (batch, count, code)."""
        ...

    def pull(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, (batch, count, code) to (batch, count, input)."""
        ...


@dataclass(frozen=True)
class Triplets:
    """Leading singular values and right singular vectors, and what is known of them; one entry for each example.

    Attributes:
        values: (batch, k), descending, float64.
        directions: right singular vectors, (batch, k, input), orthonormal.
        value_error: bounds of the values' errors, (batch, k).
        sine: bound of the sine between each direction and the space that is promised, (batch,).
        promised: the dimension of that space, (batch,): k, or more where a cluster of values reaches beyond k.
        settled: whether that is what was asked for, or as exact as rounding allows, (batch,).
        products: of J, and as many of its transpose, that each example took, (batch,).
    """

    values: Tensor
    directions: Tensor
    value_error: Tensor
    sine: Tensor
    promised: Tensor
    settled: Tensor
    products: Tensor


@dataclass(frozen=True)
class Plan:
    """What a search may take.

    Attributes:
        count: k.
        tolerance: of the values against the largest, and of the sine.
        block: vectors in a step.
        most: products of each example, there and as many back, after which it is given up.
        capacity: dimension at which the space is started anew from its Ritz vectors.
        rounding: ‖E‖ / s_1 of the error E that products have, where more is known of it than their type.
    """

    count: int
    tolerance: float
    block: int
    most: int
    capacity: int
    rounding: float = 0.0

    @property
    def pairs(self) -> int:
        """Ritz pairs that are looked at, to see where a cluster ends."""
        return self.count + max(8, 2 * self.block)

    @property
    def least_capacity(self) -> int:
        """Below which nothing is gained between two restarts."""
        return self.pairs + 4 * self.block


def leading_triplets(
    products: Products, part_of: Callable[[Tensor], Products], template: Tensor, shape: tuple[int, int], plan: Plan
) -> Triplets:
    """The k leading singular triplets of every example's J, shape (code, input).

    Args:
        products: with J of the whole batch.
        part_of: the same for some of the examples, given by their indices.
        template: a tensor (batch, ...) of the products' type, on their device.
        shape: (code, input).
        plan: what is wanted, and what may be taken.
    """
    return _Search(products, part_of, template, shape, plan).run()


class _Search:
    """The steps of a batch; examples leave it when they are settled."""

    def __init__(
        self,
        products: Products,
        part_of: Callable[[Tensor], Products],
        template: Tensor,
        shape: tuple[int, int],
        plan: Plan,
    ) -> None:
        code, width = shape
        self.by_code, self.part_of, self.plan = code < width, part_of, plan
        there, back = self._ways(products)
        self.space = Space(there, back, template, (min(shape), max(shape)), keeps=self.by_code)
        self.left = torch.arange(len(template), device=template.device)
        self.finished: list[tuple[Tensor, Triplets]] = []
        self.guarded_at = 0

    def _ways(self, products: Products) -> tuple[Product, Product]:
        return (products.pull, products.push) if self.by_code else (products.push, products.pull)

    def run(self) -> Triplets:
        """Steps until all examples are settled, or enough was tried."""
        space, plan = self.space, self.plan
        block, looked_at = space.fresh(plan.block), 0
        while True:
            block = space.extended(block)
            spent = space.products >= plan.most
            if not (space.exhausted or spent or self._full or space.size >= _GROWTH * looked_at):
                continue
            if space.size <= plan.count and not space.exhausted:
                continue
            looked_at = space.size
            ritz, found = self._look()
            if space.exhausted or spent:
                settled = found.settled | space.exhausted
                self._finish(ritz, found, torch.ones_like(settled), settled)
                return self._gathered()
            if self._guard_is_due(found.settled):
                ritz, found, passed = self._guard(ritz, found)
                if space.exhausted:
                    passed = torch.ones_like(passed)
                self._finish(ritz, found, passed, passed)
                if bool(passed.all()):
                    return self._gathered()
                ritz = self._leave(~passed, ritz)
                block = self._continued(ritz)
            if self._full:
                block, looked_at = self._restarted(ritz), 0

    @property
    def _full(self) -> bool:
        steps = (1 + _GUARD_STEPS) * self.plan.block
        return not self.space.exhausted and self.space.size + steps > max(self.plan.capacity, self.plan.least_capacity)

    def _look(self) -> tuple[Ritz, Bounds]:
        ritz = self.space.ritz(self.plan.pairs)
        seen = torch.maximum(self.space.asymmetry, 2 * self.plan.rounding * ritz.values[:, 0])  # of Jᵀ J
        rounding = rounding_of(ritz.values[:, 0], seen, self.space.dtype, self.space.narrow)
        return ritz, bounds(ritz, self.plan.count, self.plan.tolerance, self.space.narrow, rounding)

    def _guard_is_due(self, settled: Tensor) -> bool:
        half = int(settled.sum()) * 2 >= len(settled)
        return bool(settled.all()) or (half and self.space.products >= _REGUARD * self.guarded_at)

    def _guard(self, ritz: Ritz, found: Bounds) -> tuple[Ritz, Bounds, Tensor]:
        """Two steps from fresh random vectors, and for which examples they raise nothing."""
        before = self._upper(ritz, found)
        block = self.space.fresh(self.plan.block)
        for _ in range(_GUARD_STEPS):
            if block.shape[1]:
                block = self.space.extended(block)
        self.guarded_at = self.space.products
        again, bound = self._look()
        raised = self._raised(before, again, found.promised)
        passed: Tensor = found.settled & bound.settled & ~raised & (found.promised == bound.promised)
        return again, bound, passed

    def _upper(self, ritz: Ritz, found: Bounds) -> Tensor:
        """What the Ritz values may be at most, if nothing was missed, (batch, pairs)."""
        values, rounding, count = ritz.values.clamp(min=0), found.rounding[:, None], self.plan.count
        upper: Tensor = values + _RISE * ritz.residuals.norm(dim=2)
        upper[:, :count] = (values[:, :count].sqrt() + found.value).square()
        return upper + rounding

    def _raised(self, upper: Tensor, again: Ritz, promised: Tensor) -> Tensor:
        """Whether a value of the promised space, or the next behind it, is larger than was known, (batch,)."""
        pairs = upper.shape[1]
        matters = torch.arange(pairs, device=upper.device) <= promised[:, None]
        above: Tensor = again.values[:, :pairs] > upper
        return (above & matters).any(dim=1)

    def _continued(self, ritz: Ritz) -> Tensor:
        """The wanted pairs' largest residuals, which is where a Krylov space would go on."""
        residuals = ritz.residuals[:, : self.plan.count + 1]
        order = residuals.norm(dim=2).argsort(dim=1, descending=True)[:, : self.plan.block]
        chosen = residuals.gather(1, order[:, :, None].expand(-1, -1, residuals.shape[2]))
        lacking = self.plan.block - chosen.shape[1]
        if lacking > 0:
            chosen = torch.cat([chosen, self.space.fresh(lacking)], dim=1)
        return self.space.outside(chosen, ritz.values[:, :1, None] * torch.ones_like(chosen[:, :, :1]))

    def _restarted(self, ritz: Ritz) -> Tensor:
        self.space.restart(ritz)
        return self._continued(ritz)

    def _finish(self, ritz: Ritz, found: Bounds, done: Tensor, settled: Tensor) -> None:
        if not bool(done.any()):
            return
        count = self.plan.count
        values = ritz.values[:, :count].clamp(min=0).sqrt()
        directions, sine = self._directions(ritz, values, found)
        products = torch.full_like(found.promised, self.space.products)
        whole = Triplets(values, directions, found.value, sine, found.promised, settled, products)
        self.finished.append((self.left[done], _each(whole, lambda tensor: tensor[done])))

    def _directions(self, ritz: Ritz, values: Tensor, found: Bounds) -> tuple[Tensor, Tensor]:
        """Right singular vectors, and the sine of their angle to what is promised.

        A left singular vector's Jᵀ u / s is as near to the right ones: J damps what is not leading.
        """
        space, rotation = self.space, ritz.rotation[:, : self.plan.count]
        if space.halfway is None:
            return unit_rows(space.basis.combined(rotation)), found.sine
        directions = space.halfway.combined(rotation)
        tangent = found.sine / (1 - found.sine.square()).clamp(min=1e-30).sqrt()
        rounding = 5 * torch.finfo(space.dtype).eps * values[:, 0] / values[:, -1].clamp(min=1e-300)
        sine = torch.where(found.promised >= space.narrow, found.sine, tangent + rounding).clamp(max=1)
        return unit_rows(directions), sine

    def _leave(self, stay: Tensor, ritz: Ritz) -> Ritz:
        """Go on with some of the examples; their products alone are taken from now on."""
        if bool(stay.all()):
            return ritz
        self.left = self.left[stay]
        there, back = self._ways(self.part_of(self.left))
        self.space.narrow_to(stay, there, back)
        return Ritz(ritz.values[stay], ritz.rotation[stay], ritz.residuals[stay])

    def _gathered(self) -> Triplets:
        """The examples in their order."""
        order = torch.cat([places for places, _ in self.finished]).argsort()
        parts = [found for _, found in self.finished]
        joined = {each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Triplets)}
        return Triplets(**{name: tensor[order] for name, tensor in joined.items()})


def _each(found: Triplets, change: Callable[[Tensor], Tensor]) -> Triplets:
    return Triplets(**{each.name: change(getattr(found, each.name)) for each in fields(found)})


def unit_rows(rows: Tensor) -> Tensor:
    """Rows made orthonormal in their order; where they are 0, any that are orthogonal to the others."""
    return orthonormal(rows / rows.norm(dim=2, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny))
