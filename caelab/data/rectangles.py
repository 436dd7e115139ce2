"""The rectangles of Larochelle et al. (2007): images of 28 x 28 pixels; is the rectangle tall or wide?

Height and width are uniform among the pairs that are admitted, half of the examples tall and half wide, and the corner
is uniform among the places where the rectangle fits into the image. Admitted for outlines are sides of 3 to 28 pixels
that differ by at least 3; for rectangles of photographs, sides of at least 10 pixels that differ by at least 5, and an
area of 25 to 75 % of the image.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from caelab.data.memory import check_room
from caelab.data.patches import cut_patches
from caelab.data.samples import Published, Samples, Seed, describes
from caelab.data.variations import stream
from caelab.options import Count

SIDE = 28
NAMES = ("wide", "tall")
SIZE, SHAPE = "any (5 000)", f"{SIDE} x {SIDE}"
PUBLISHED_OUTLINES = Published((1_000, 200, 50_000), {"samples": 51_200})
PUBLISHED_PATCHES = Published((10_000, 2_000, 50_000), {"samples": 62_000})

Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]


@describes(SIZE, SHAPE, "generated: outlines of rectangles, tall or wide", published=PUBLISHED_OUTLINES)
def rect(samples: Count = 5000, sampling_seed: Seed = 0) -> Samples:
    """White outlines of rectangles, one pixel thick, on black; the label is 1 for a tall one and 0 for a wide one."""
    check_count("rect", samples)
    labels = balanced_labels(stream(sampling_seed, "labels of outlines"), samples)
    inside, outline = drawn(stream(sampling_seed, "outlines"), labels, admitted(3, 3, (0.0, 1.0)))
    return Samples((outline & inside).astype(np.float32).reshape(samples, -1), labels, (SIDE, SIDE), label_names=NAMES)


@describes(SIZE, SHAPE, "generated: rectangles of one photograph before another", published=PUBLISHED_PATCHES)
def rect_img(samples: Count = 5000, sampling_seed: Seed = 0) -> Samples:
    """Rectangles filled with one patch of a photograph, on another patch; the label is 1 for a tall one, else 0."""
    check_count("rect-img", samples)
    labels = balanced_labels(stream(sampling_seed, "labels of filled rectangles"), samples)
    inside, _ = drawn(stream(sampling_seed, "filled rectangles"), labels, admitted(10, 5, (0.25, 0.75)))
    front = cut_patches(stream(sampling_seed, "patches in rectangles"), samples, SIDE)
    behind = cut_patches(stream(sampling_seed, "patches behind rectangles"), samples, SIDE)
    made = np.where(inside, front, behind) / np.float32(255)
    return Samples(made.reshape(samples, -1), labels, (SIDE, SIDE), label_names=NAMES)


def check_count(kind: str, samples: int) -> None:
    """Refuse more images than the memory holds.

    Raises:
        CaelabError: they would not fit.
    """
    check_room(
        f"data set {kind!r}, {samples} images,", samples * SIDE**2, np.dtype(np.float32), "ask for fewer samples"
    )


def balanced_labels(rng: Generator, count: int) -> Whole:
    """As many ones as zeros, one more zero where the count is odd, in random order; shape (count,)."""
    return rng.permutation(np.arange(count) % 2)


def admitted(least: int, apart: int, share: tuple[float, float]) -> Whole:
    """The longer and the shorter side of all rectangles that are admitted, shape (pairs, 2).

    Args:
        least: pixels of the shorter side.
        apart: pixels that the sides differ by at least.
        share: the least and the greatest area, as shares of the image's.
    """
    long, short = (sides.ravel() for sides in np.meshgrid(np.arange(SIDE + 1), np.arange(SIDE + 1)))
    low, high = (limit * SIDE**2 for limit in share)
    kept = (short >= least) & (long - short >= apart) & (long * short >= low) & (long * short <= high)
    return np.stack([long[kept], short[kept]], axis=1)


def drawn(rng: Generator, labels: Whole, pairs: Whole) -> tuple[Mask, Mask]:
    """Rectangles of those sides, tall where the label is 1, at random places.

    Returns:
        The pixels of each rectangle, and those of its border (with others outside of it), (n, 28, 28) both.
    """
    long, short = pairs[rng.integers(len(pairs), size=len(labels))].T
    sides = np.where(labels == 1, (long, short), (short, long))
    corners = rng.integers(SIDE - sides + 1)
    at = np.arange(SIDE) - corners[:, :, None]  # rows and columns, counted from the corner
    last = sides[:, :, None] - 1
    (rows, columns), (top, left) = (at >= 0) & (at <= last), (at == 0) | (at == last)
    return rows[:, :, None] & columns[:, None, :], top[:, :, None] | left[:, None, :]
