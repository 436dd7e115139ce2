"""Square patches of natural images: the two photographs that scikit-learn ships, made grey.

Larochelle et al. (2007) cut their backgrounds at random from 20 images and left out patches of little texture. Here
the images are ``china.jpg`` and ``flower.jpg``, 427 x 640 pixels each, in grey by the luminance of ITU-R 601. A patch
has texture if the standard deviation of its pixels is at least ``TEXTURE`` of the range from black to white.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from caelab.errors import CaelabError

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
TEXTURE = 0.1

Bytes = NDArray[np.uint8]


@cache
def photographs() -> tuple[Bytes, ...]:
    """The photographs in 256 levels of grey, shape (height, width) each."""
    from sklearn.datasets import load_sample_image

    return tuple(_grey(load_sample_image(name)) for name in PHOTOGRAPHS)


def _grey(colours: Bytes) -> Bytes:
    """Luminance 0.299 R + 0.587 G + 0.114 B, rounded, in whole numbers: the same on every machine."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), 2, 0)
    return np.asarray((299 * red + 587 * green + 114 * blue + 500) // 1000, np.uint8)


def cut_patches(rng: Generator, count: int, side: int) -> Bytes:
    """Patches of texture, each place in the photographs that has one equally likely.

    Returns:
        Shape (count, side, side), values from 0 to 255.

    Raises:
        CaelabError: no place in the photographs has room for a patch.
    """
    places = textured_places(side)
    chosen = places[rng.integers(len(places), size=count)]
    patches = np.empty((count, side, side), np.uint8)
    for number, photograph in enumerate(photographs()):
        here = chosen[:, 0] == number
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side))
        patches[here] = windows[chosen[here, 1], chosen[here, 2]]
    return patches


@cache
def textured_places(side: int) -> NDArray[np.int64]:
    """Photograph, row and column of the upper left corner of every patch of texture, shape (places, 3)."""
    smallest = min(min(photograph.shape) for photograph in photographs())
    if side > smallest:
        raise CaelabError(
            f"expected images of at most {smallest} x {smallest} pixels, since the photographs behind them are no "
            f"higher, but {side} x {side} came; name a source of smaller images"
        )
    found = [np.argwhere(_has_texture(photograph, side)) for photograph in photographs()]
    return np.concatenate([np.insert(places, 0, number, axis=1) for number, places in enumerate(found)])


def _has_texture(photograph: Bytes, side: int) -> NDArray[np.bool_]:
    """Whether the patch at each place has a standard deviation of ``TEXTURE``, by sums of whole numbers."""
    values, size = photograph.astype(np.int64), side * side
    variance = size * _sums(values**2, side) - _sums(values, side) ** 2  # times size^2
    return np.asarray(variance >= (TEXTURE * 255 * size) ** 2)


def _sums(values: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The sum over the square at each place, from the sums over all that is above and left of a pixel."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return np.asarray(total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side])
