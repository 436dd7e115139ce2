"""Leading singular triplets of J with certified errors: from the whole matrix, or by block Krylov from products alone.

The choice is by predicted cost in products, so that it is the same on every machine. The matrix takes min(code, input)
products. A search takes as many as the spectrum demands; it is given up once it has taken half as many as the matrix.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.active import ActiveRows
from caelab.jacobian.krylov import Plan, Triplets, leading_triplets
from caelab.jacobian.krylov_bounds import bounds, of_roots, rounding_of
from caelab.jacobian.krylov_space import Ritz
from caelab.jacobian.measured_rounding import relative_rounding
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.singular_values import RANK_TOLERANCE
from caelab.jacobian.spectrum_gradient import with_gradient
from caelab.jacobian.strategy import Method, Mode, Strategy
from caelab.jacobian.transformed import is_inside

log = logging.getLogger(__name__)

NARROW = 400  # smaller side up to which the matrix is cheaper in any case
UNASKED = 1e-4  # the tolerance of a search where none was asked for
_LOOKED_BEHIND = 8  # singular values behind those that are wanted, to see where a cluster ends
_MANY = 8  # examples from which on smaller blocks fill the machine
_USUAL = 60  # vectors that a search takes for each that is wanted, more often than not


@dataclass(frozen=True)
class Leading:
    """The leading singular values and right singular vectors of J, with bounds of their errors, for every example.

    It unpacks as the pair that ``tangents(k)`` returns without a tolerance: ``values, directions = found``.

    Attributes:
        values: (batch, k), descending, float64.
        directions: right singular vectors, ``(batch, k, *input)``, orthonormal, float64.
        value_error: a bound of each value's error, (batch, k).
        sine: a bound of the sine of the angle between the directions and the space that is promised, (batch,).
        promised: the dimension of that space, (batch,). It is spanned by the first ``promised`` true singular vectors:
            k of them, or more where values behind the k-th cannot be told from it. Then any directions within that
            space are as good as these. min(code, input) promises nothing.
        products: products with J, and as many with its transpose, that each example took, (batch,); the rows (or
            columns) of J where the matrix was computed.
        method: ``block Krylov, N products`` or ``matrix``.
    """

    values: Tensor
    directions: Tensor
    value_error: Tensor
    sine: Tensor
    promised: Tensor
    products: Tensor
    method: str

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.values, self.directions))


def checked_tolerance(tolerance: float | None, mode: Mode = "exact") -> float | None:
    """A tolerance above 0 and below 1, or None.

    Raises:
        CaelabError: it is anything else, or comes with a mode that has its own, or inside a transform of torch.func.
    """
    if tolerance is None:
        return None
    if mode != "exact":
        raise CaelabError(
            f"expected a tolerance or the mode {mode!r}, but both came; the mode has a tolerance of its own"
        )
    if is_inside():
        raise CaelabError(
            "expected no tolerance inside a transform of torch.func, where no value can be looked at, "
            f"but {tolerance!r} came; leave it out"
        )
    number = isinstance(tolerance, Real) and not isinstance(tolerance, bool)
    if not number or not math.isfinite(tolerance) or not 0 < tolerance < 1:
        raise CaelabError(
            f"expected a tolerance above 0 and below 1, but {tolerance!r} came; leave it out for exact values"
        )
    return float(tolerance)


def by_matrix(strategy: Strategy, count: int, tolerance: float | None, budget: int) -> bool:
    """Whether the matrix is cheaper than a search, as far as can be said before a product is taken.

    Without a tolerance, maps whose layers are known are asked for their matrices, which cost few products.
    """
    if isinstance(strategy, ActiveRows):
        return strategy.are_few or by_matrix(strategy.whole, count, tolerance, budget)
    if is_inside():
        return True
    if _exceeds(strategy, budget):
        return False
    narrow, block = min(strategy.shape), _block(len(strategy.inputs))
    known = bool(strategy.layers) or not hasattr(strategy, "encode")
    if narrow <= NARROW or (tolerance is None and known):
        return True
    return 4 * (count + 2 * block) > narrow // 4


def _exceeds(strategy: Strategy, budget: int) -> bool:
    """Whether the matrix of one example, once as it is and once in float64, is beyond the budget."""
    code, width = strategy.shape
    return code * width * (strategy.inputs.element_size() + 8) > budget


@torch.no_grad()
def leading(strategy: Strategy, count: int, tolerance: float | None, budget: int) -> Leading:
    """The leading triplets, by the route that is predicted to be cheaper.

    Args:
        strategy: of which they are.
        count: k.
        tolerance: of the values, against the largest, and of the sine; 1e-4 where a search is needed and none given.
        budget: bytes.

    Raises:
        CaelabError: a product, or the basis of the search, exceeds the budget.
    """
    wanted = UNASKED if tolerance is None else tolerance
    if by_matrix(strategy, count, tolerance, budget):
        rounding = 0.0 if strategy.layers else relative_rounding(strategy)  # layers are taken in float64
        return _named(_from_matrix(strategy, count, wanted, budget, rounding), "matrix")
    rounding = relative_rounding(strategy)
    found = _searched(strategy, count, wanted, budget, rounding)
    lacking = ~found.settled | _beyond(found, max(wanted, rounding, 5 * torch.finfo(strategy.inputs.dtype).eps))
    if not bool(lacking.any()):
        return _named(found, f"block Krylov, {int(found.products.max())} products")
    if _exceeds(strategy, budget):
        _warn(found, wanted)
        return _named(found, f"block Krylov, {int(found.products.max())} products")
    part = lacking.nonzero()[:, 0]
    rest = _from_matrix(strategy.at(strategy.inputs[part], part), count, wanted, budget, rounding)
    name = "matrix" if bool(lacking.all()) else f"block Krylov, {int(found.products.max())} products; matrix for some"
    return _named(_put(found, part, rest), name)


def _beyond(found: Triplets, reached: float) -> Tensor:
    """Where values are 0 or less well known than the matrix would tell them: squares of small ones lose digits."""
    largest = found.values[:, 0]
    return (found.values[:, -1] < RANK_TOLERANCE * largest) | (found.value_error > reached * largest[:, None]).any(
        dim=1
    )


def tangents(strategy: Strategy, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor, Leading | None]:
    """Values (batch, k) and directions (batch, k, input) without a tolerance: exact, unless only a search fits."""
    if mode != "exact" or by_matrix(strategy, count, None, budget):
        return *strategy.tangents(count, mode, budget), None
    found = leading(strategy, count, None, budget)
    return found.values, found.directions, found


def singular_values(
    strategy: Strategy, count: int, method: Method, budget: int, gradient: bool
) -> tuple[Tensor, Leading | None]:
    """The k largest singular values (batch, k) without a tolerance: exact, unless only a search fits."""
    if method == "svd" or by_matrix(strategy, count, None, budget):
        return strategy.singular_values(count, method, budget, gradient), None
    found = leading(strategy, count, None, budget)
    return (differentiable(strategy, found.values, found.directions) if gradient else found.values), found


def differentiable(strategy: Strategy, values: Tensor, directions: Tensor) -> Tensor:
    """The values with the gradient of ‖J v_k‖ along the directions that were found."""
    vectors = directions.to(strategy.inputs.dtype).reshape(*values.shape, *strategy.inputs.shape[1:])
    return with_gradient(values, strategy.jvp(vectors).norm(dim=2), max(strategy.shape))


def _warn(found: Triplets, wanted: float) -> None:
    log.warning(
        "%d of %d examples did not reach a tolerance of %g (sine up to %.2g, promised dimension up to %d), "
        "and the matrix exceeds the memory budget; their value_error and sine say what was reached",
        int((~found.settled).sum()), len(found.settled), wanted, float(found.sine.max()), int(found.promised.max()),
    )  # fmt: skip


def _named(found: Triplets, method: str) -> Leading:
    return Leading(
        found.values, found.directions, found.value_error, found.sine, found.promised, found.products, method
    )


def _put(found: Triplets, part: Tensor, rest: Triplets) -> Triplets:
    """Other triplets in the place of some examples; what the search took is counted with them."""
    changed: dict[str, Any] = {}
    for each in fields(Triplets):
        whole, own = getattr(found, each.name).clone(), getattr(rest, each.name)
        whole[part] = own + whole[part] if each.name == "products" else own
        changed[each.name] = whole
    return Triplets(**changed)


def _from_matrix(strategy: Strategy, count: int, tolerance: float, budget: int, relative: float) -> Triplets:
    """From the exact route, whose only error is rounding, of which so much is seen relative to s_1."""
    narrow = min(strategy.shape)
    more = min(narrow, count + _LOOKED_BEHIND)
    values, directions = strategy.tangents(more, "exact", budget)
    dtype, squares = strategy.inputs.dtype, values.square()
    rounding = rounding_of(squares[:, 0], 2 * relative * squares[:, 0], dtype, narrow)
    none = Ritz(squares, squares[:, :0, None], squares.new_zeros(*squares.shape, 1))
    known = bounds(none, count, tolerance, narrow, rounding)
    error = torch.minimum(known.value, _rounding_of_matrix(values[:, :count], narrow, dtype, relative))
    products = torch.full_like(known.promised, narrow)
    settled = torch.ones_like(known.settled)
    return Triplets(values[:, :count], directions[:, :count], error, known.sine, known.promised, settled, products)


def _rounding_of_matrix(values: Tensor, narrow: int, dtype: torch.dtype, relative: float) -> Tensor:
    """The matrix is off by rounding of its type, and eigenvalues of its Gram matrix by that of float64."""
    largest = values[:, :1]
    gram = 3 * max(20, narrow) * torch.finfo(torch.float64).eps * largest.square()
    return max(5 * torch.finfo(dtype).eps, relative) * largest + of_roots(values, gram)


def _searched(strategy: Strategy, count: int, tolerance: float, budget: int, rounding: float) -> Triplets:
    """By block Krylov, some examples at a time."""
    plan, at_once = _planned(strategy, count, tolerance, budget)
    plan = replace(plan, rounding=rounding)
    every = torch.arange(len(strategy.inputs), device=strategy.inputs.device)
    parts = [_searched_at_once(_part(strategy, part), plan) for part in torch.split(every, at_once)]
    return Triplets(**{each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Triplets)})


def _searched_at_once(strategy: Strategy, plan: Plan) -> Triplets:
    template = strategy.inputs.flatten(1)[:, :1]
    return leading_triplets(
        strategy.kept(), lambda which: _part(strategy, which).kept(), template, strategy.shape, plan
    )


def _block(batch: int) -> int:
    """More vectors in a step need more products in all; fewer do not fill the machine."""
    return 2 if batch >= _MANY else 4


def _planned(strategy: Strategy, count: int, tolerance: float, budget: int) -> tuple[Plan, int]:
    """What a search may take, and how many examples go at once."""
    (code, width), batch = strategy.shape, len(strategy.inputs)
    narrow, product = min(code, width), strategy.bytes_per_product()
    block = pieces("a search in products with the Jacobian of one example", _block(batch), 2 * product, budget)
    # a basis vector, its image, the way between where codes are narrower; the largest matrix of coordinates
    kept = strategy.inputs.element_size()
    row = (8 + kept) * narrow + (kept * width if code < width else 0)
    most = 4 * narrow if _exceeds(strategy, budget) else narrow // 4
    usual = min(narrow, max(_USUAL * count, 200))
    least = Plan(count, tolerance, block, most, 0).least_capacity
    refuse_beyond(f"the basis of a search for {count} directions", 2 * row * min(least, narrow), budget)
    at_once = max(1, min(batch, (budget // 2) // (row * usual), (budget // 2) // (block * max(1, product))))
    capacity = (budget // 2) // (row * at_once)
    return Plan(count, tolerance, block, most, capacity), at_once


def _part(strategy: Strategy, which: Tensor) -> Strategy:
    """The same for some of the examples."""
    return strategy if len(which) == len(strategy.inputs) else strategy.at(strategy.inputs[which], which)
