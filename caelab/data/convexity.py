"""White regions that are convex or not (Larochelle et al. 2007), images of 28 x 28 pixels.

The published definition: a convex region is the intersection of half-planes of uniform location and orientation, their
number geometric with parameter 0.195, of at least 19 pixels. A region that is not convex is the union of 2 to 4 such
intersections, of at least 10 pixels each, their number of half-planes geometric with parameter 0.07; unions that are
convex are left out. In the published set both kinds have the same mean number of pixels.

Ours, where that leaves a choice: the border of a half-plane goes through a point that is uniform in the image, at a
uniform angle; of the regions that the borders cut out of the image each is as likely as any other, so that none is
empty; regions that fall into pieces on the grid of pixels are left out; half of the examples are convex; and a region
is convex if it has all pixels whose centres lie in the convex hull of its centres. Convex regions then have 112 pixels
on average, the others 120.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from caelab.data.rectangles import SIDE, balanced_labels, check_count
from caelab.data.samples import Published, Samples, Seed, describes
from caelab.data.variations import stream
from caelab.options import Count

NAMES = ("not convex", "convex")
OF_CONVEX, OF_UNION = 0.195, 0.07  # parameters of the geometric distributions
LEAST_CONVEX, LEAST_OF_UNION = 19, 10  # pixels
BLOCK = 4000  # candidates at once
ROWS = np.arange(SIDE)

Mask = NDArray[np.bool_]
Bounds = NDArray[np.float64]
"""The first and the last pixel of every row, shape (2, n, 28); in an empty row the last comes before the first."""


@describes(
    "any (5 000)",
    f"{SIDE} x {SIDE}",
    "generated: white regions, convex or not",
    published=Published((6_000, 2_000, 50_000), {"samples": 58_000}),
)
def convex(samples: Count = 5000, sampling_seed: Seed = 0) -> Samples:
    """White regions on black; the label is 1 for a convex one and 0 for one that is not."""
    check_count("convex", samples)
    labels = balanced_labels(stream(sampling_seed, "labels of regions"), samples)
    inputs = np.empty((samples, SIDE, SIDE), np.float32)
    inputs[labels == 1] = _enough(stream(sampling_seed, "convex regions"), int((labels == 1).sum()), convex_regions)
    inputs[labels == 0] = _enough(stream(sampling_seed, "unions of regions"), int((labels == 0).sum()), unions)
    return Samples(inputs.reshape(samples, -1), labels, (SIDE, SIDE), label_names=NAMES)


def _enough(rng: Generator, count: int, draw: Callable[[Generator], Mask]) -> Mask:
    """So many regions, in as many draws as that takes."""
    found = np.zeros((count, SIDE, SIDE), bool)
    done = 0
    while done < count:
        more = draw(rng)[: count - done]
        found[done : done + len(more)] = more
        done += len(more)
    return found


def convex_regions(rng: Generator) -> Mask:
    """Convex regions, as many as a block of candidates yields, (n, 28, 28)."""
    return _filled(intersections(rng, OF_CONVEX, LEAST_CONVEX))


def unions(rng: Generator) -> Mask:
    """Unions of 2 to 4 convex regions that are not convex, as many as some blocks of candidates yield, (n, 28, 28)."""
    parts = _filled(np.concatenate([intersections(rng, OF_UNION, LEAST_OF_UNION) for _ in range(4)], axis=1))
    sizes = rng.integers(2, 5, size=len(parts) // 2)
    sizes = sizes[np.cumsum(sizes) <= len(parts)]
    joined = np.logical_or.reduceat(parts[: int(sizes.sum())], np.cumsum(sizes) - sizes, axis=0)
    return joined[~are_convex(joined)]


def _filled(bounds: Bounds) -> Mask:
    first, last = bounds[..., None]
    return np.asarray((first <= ROWS) & (last >= ROWS))


def intersections(rng: Generator, parameter: float, least: int) -> Bounds:
    """Intersections of half-planes with at least so many pixels, of a block of candidates, in random order.

    Each half-plane is the side of its border on which a uniform pixel of the candidate lies. That finds a region as
    often as it has pixels, so it is kept with a probability of ``least`` over their number.
    """
    counts = rng.geometric(parameter, BLOCK)
    pixel = rng.integers(SIDE, size=(2, BLOCK))
    bounds = np.empty((2, BLOCK, SIDE))
    bounds[0], bounds[1] = 0, SIDE - 1
    found = []
    for number in range(1, int(counts.max()) + 1):
        _cut(rng, bounds, pixel)
        sizes = np.maximum(bounds[1] - bounds[0] + 1, 0).sum(axis=1)
        ready = counts == number
        found.append(bounds[:, ready & (sizes * rng.random(len(sizes)) < least) & (sizes >= least)])
        going = ~ready & (sizes >= least)
        counts, pixel, bounds = counts[going], pixel[:, going], bounds[:, going]
    regions = np.concatenate(found, axis=1)  # in the order of their numbers of half-planes
    return rng.permutation(regions[:, _in_one_piece(regions)], axis=1)


def _in_one_piece(bounds: Bounds) -> NDArray[np.bool_]:
    """Whether the rows of a region follow each other, and each touches the next, be it by a corner, shape (n,)."""
    first, last = bounds
    filled = first <= last
    begins = (filled[:, 1:] & ~filled[:, :-1]).sum(axis=1) + filled[:, 0]
    touches = (first[:, 1:] <= last[:, :-1] + 1) & (last[:, 1:] >= first[:, :-1] - 1)
    both = filled[:, 1:] & filled[:, :-1]
    return np.asarray((begins == 1) & (touches | ~both).all(axis=1))


def _cut(rng: Generator, bounds: Bounds, pixel: NDArray[np.int64]) -> None:
    """Take from each region what lies beyond a border through a uniform point, seen from the region's pixel."""
    angle, row, column = rng.random((3, len(counts := pixel[0])))
    slope = 1 / np.tan(np.pi * angle)  # columns for each row
    row, column = SIDE * row - 0.5, SIDE * column - 0.5  # a pixel is the unit square around its centre
    border = (column - slope * row)[:, None] + slope[:, None] * ROWS
    is_right = (column + slope * (counts - row) <= pixel[1])[:, None]
    np.maximum(bounds[0], np.ceil(border), out=bounds[0], where=is_right)
    np.minimum(bounds[1], np.floor(border), out=bounds[1], where=~is_right)


def are_convex(regions: Mask) -> NDArray[np.bool_]:
    """Whether every pixel whose centre lies in the convex hull of a region's centres belongs to it, shape (n,)."""
    first = _hull_begins(regions)
    last = SIDE - 1 - _hull_begins(regions[:, :, ::-1])
    in_hull = np.maximum(last - first + 1, 0).sum(axis=1)
    return np.asarray(in_hull == regions.sum(axis=(1, 2)))


def _hull_begins(regions: Mask) -> NDArray[np.int64]:
    """The first pixel of each row that lies in the convex hull, or ``SIDE`` where none can, shape (n, 28).

    The hull's left side is made of lines from the first pixel of one row to the first pixel of another.
    """
    filled = np.asarray(regions.any(axis=2))
    first = np.where(filled, regions.argmax(axis=2), SIDE)
    begins = first.copy()
    for above in range(SIDE):
        for below in range(above + 2, SIDE):
            span, between = below - above, np.s_[:, above + 1 : below]
            line = span * first[:, above, None] + np.arange(1, span) * (first[:, below] - first[:, above])[:, None]
            ends = (filled[:, above] & filled[:, below])[:, None]
            begins[between] = np.minimum(begins[between], np.where(ends, -(-line // span), SIDE))
    return np.asarray(begins)
