"""What each way through a chain of layers costs, J = D_L W_L ... D_1 W_1, so that ‖J‖_F² takes the cheapest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Order = Literal["rows", "columns"]
ORDERS: tuple[Order, Order] = ("rows", "columns")

PASS = 20  # multiplications in the time of a pass over one number, where matrices stay in pieces
RECORDED_PASS = 60  # of one that autograd keeps: fresh memory for every matrix
GRAM = 0.9  # time of W Wᵀ against a product of that size, of which it computes half
DOUBTS = 1.15  # so much cheaper another route has to be than the plain one
ROWS_TO_GATHER, COLUMNS_TO_GATHER = 12, 40  # multiplications in the time of taking out one number
CALLS = 1_000_000  # multiplications in the time of one layer's calls for one example


@dataclass(frozen=True)
class Route:
    """One way to ‖J‖_F² of a chain of L layers.

    Attributes:
        split: 0, J itself; p from 1 to L - 1, J = A B split behind p layers, with A (code, w_p) and B (w_p, input):
            ‖A B‖² = Σ (A G) ∘ A with G = B Bᵀ, which the examples share for p = 1, but for D_1; L, where the last
            layer is affine: ‖W_L B‖² in the same way with W_LᵀW_L.
        above: A, or J itself, pushed as rows from its output or as columns from its input.
        below: the same for B.
    """

    split: int
    above: Order = "rows"
    below: Order = "rows"


@dataclass(frozen=True)
class Cost:
    """Multiplications and numbers of temporaries, of one example."""

    multiplications: float = 0
    numbers: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.multiplications + other.multiplications, self.numbers + other.numbers)

    def time(self, recorded: bool) -> float:
        """In multiplications; a backward pass takes two of each product and three passes over each temporary."""
        if recorded:
            return 3 * self.multiplications + 4 * RECORDED_PASS * self.numbers
        return self.multiplications + 2 * PASS * self.numbers


def pushed(widths: Sequence[int], order: Order) -> Cost:
    """All matrices of a chain of these widths (from the input), each times the diagonal of its slopes, multiplied."""
    along = list(widths) if order == "columns" else list(widths)[::-1]
    count = along[0]
    steps = [Cost(count * inner * outer, count * outer) for inner, outer in pairwise(along[1:])]
    return sum(steps, Cost(0, count * along[1]))


def routes(widths: Sequence[int], ends_affine: bool = False) -> Iterator[Route]:
    """All routes for a chain of these widths, the plain ones first."""
    last = len(widths) - 1
    yield from (Route(0, order) for order in ORDERS)
    for split in range(1, last):
        for above in ORDERS if split < last - 1 else ORDERS[:1]:
            yield from (Route(split, above, below) for below in (ORDERS if split > 1 else ORDERS[:1]))
    if ends_affine:
        yield from (Route(last, "rows", below) for below in ORDERS)


def predicted(route: Route, widths: Sequence[int], batch: int, recorded: bool) -> float:
    """The time of a route for a batch, in multiplications."""
    last, p = len(widths) - 1, route.split
    if p == 0:
        return batch * pushed(widths, route.above).time(recorded)
    if p == last:
        below = pushed(widths[:-1], route.below)
        return batch * below.time(recorded) + _by_gram(batch * widths[0], widths[-2], widths[-1], recorded)
    above = pushed(widths[p:], route.above)
    if p == 1:
        return batch * above.time(recorded) + _by_gram(batch * widths[-1], widths[1], widths[0], recorded)
    below = pushed(widths[: p + 1], route.below)
    met = Cost(widths[p] ** 2 * (widths[0] + widths[-1]), widths[p] ** 2 + widths[p] * widths[-1])
    return batch * (above + below + met).time(recorded)


def _by_gram(rows: int, width: int, inner: int, recorded: bool) -> float:
    """‖C W‖² = Σ (C W Wᵀ) ∘ C for C (rows, width) and W (width, inner), with the gradient written out."""
    gram = GRAM * width**2 * inner
    if not recorded:
        return gram + rows * width**2 + 2 * PASS * rows * width
    back = width**2 * (GRAM * rows + inner)
    return gram + rows * width**2 + back + 5 * RECORDED_PASS * rows * width


def largest_matrix(route: Route, widths: Sequence[int]) -> int:
    """Numbers in the largest matrix of one example."""
    last, p = len(widths) - 1, route.split

    def largest(some: Sequence[int], order: Order) -> int:
        return (some[-1] if order == "rows" else some[0]) * max(some)

    if p == 0:
        return largest(widths, route.above)
    if p == last:
        return largest(widths[:-1], route.below)
    below = largest(widths[: p + 1], route.below) if p > 1 else 0
    return max(below, largest(widths[p:], route.above))


def cheapest_route(widths: Sequence[int], batch: int, recorded: bool, ends_affine: bool = False) -> Route:
    """The route that is predicted to take the least time.

    The plain route, rows or columns all the way, is left only for one that is cheaper by more than the prediction errs.

    >>> cheapest_route([784, 1000, 500, 30], 8, False)
    Route(split=0, above='rows', below='rows')
    >>> cheapest_route([2, 100, 100, 90], 8, False)
    Route(split=0, above='columns', below='rows')
    >>> cheapest_route([3072, 1024, 256, 64], 64, False).split
    1
    >>> cheapest_route([784, 1000, 30, 1000, 784], 8, False).split
    2
    """

    def time(route: Route) -> float:
        return predicted(route, widths, batch, recorded) * (DOUBTS if route.split else 1)

    return min(routes(widths, ends_affine), key=time)


def active_sets_pay(widths: Sequence[int], batch: int, active: Sequence[float]) -> bool:
    """Whether each example's active units alone, in every layer, cost less than all of them (values, no gradient).

    Args:
        widths: from the input to the code.
        batch: how many examples.
        active: how many units are active, on the average of the examples, in every layer.
    """
    above = sum(
        ROWS_TO_GATHER * up * width + COLUMNS_TO_GATHER * up * down
        for up, down, width in zip(active[1:], active[:-1], widths[1:-1], strict=True)
    )
    first = (ROWS_TO_GATHER * widths[1] + COLUMNS_TO_GATHER * active[0]) * active[0]
    products = active[-1] * (active[0] ** 2 + sum(a * b for a, b in pairwise(active[:-1])))
    taken = batch * (above + first + products + CALLS * len(active)) + widths[1] ** 2 * widths[0]
    all_units = cheapest_route(widths, batch, False)
    share = active[-1] / widths[-1] if all_units.split < 2 and all_units.above == "rows" else 1
    return taken * DOUBTS < share * predicted(all_units, widths, batch, False)
