"""The variations of MNIST (Larochelle et al. 2007), made from any data set of square grey images with labels.

A digit is turned by an angle that is uniform in [0, 2 pi), put before a background, or both, turned first. A pixel is
the greater of the digit's and the background's; that is caelab's choice, for want of a published formula. Pixels have
256 levels, as MNIST's, and are rounded to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from caelab.data.patches import cut_patches
from caelab.data.reading import spread
from caelab.data.samples import Examples, Published, Samples, Seed, describes
from caelab.errors import CaelabError

PUBLISHED_DIGITS = Published((10_000, 2_000, 50_000), {"pooled": True})
SIZE, SHAPE = "as the source (5 000)", "as the source (28 x 28)"
BLOCK = 100  # images that are turned at once

Images = NDArray[np.float64]
Levels = NDArray[np.uint8]
Source = str | dict[str, Any]
"""The name of a data set, or a block with its options, as ``{kind: idx, path: FOLDER}``."""


@describes(SIZE, SHAPE, "generated from mnist5k or a source: digits turned by any angle", published=PUBLISHED_DIGITS)
def mnist_rot(
    source: Source = "mnist5k", examples: Examples = None, pooled: bool = False, sampling_seed: Seed = 0
) -> Samples:
    """Digits turned by an angle that is uniform in [0, 2 pi), bilinear, with zeros around.

    ``source`` is any data set of square grey images with labels, as ``mnist`` or ``idx:FOLDER``; ``examples`` takes so
    many of either part of it, evenly spread. Its official test part stays the test part, so that no test digit trains;
    ``pooled`` makes one pool of both, as the published 10 000 / 2 000 / 50 000 need (``splits: published``).
    """
    return _varied("mnist-rot", source, examples, pooled, lambda digits: turned_by_chance(digits, sampling_seed))


@describes(SIZE, SHAPE, "generated from mnist5k or a source: digits before noise", published=PUBLISHED_DIGITS)
def mnist_bg_rand(
    source: Source = "mnist5k", examples: Examples = None, pooled: bool = False, sampling_seed: Seed = 0
) -> Samples:
    """Digits before noise: every pixel of the background is uniform among the 256 levels. Options as ``mnist-rot``."""
    return _varied(
        "mnist-bg-rand", source, examples, pooled, lambda digits: before_noise(levels(digits), sampling_seed)
    )


@describes(SIZE, SHAPE, "generated from mnist5k or a source: digits before photographs", published=PUBLISHED_DIGITS)
def mnist_bg_img(
    source: Source = "mnist5k", examples: Examples = None, pooled: bool = False, sampling_seed: Seed = 0
) -> Samples:
    """Digits before patches of the photographs that scikit-learn ships. Options as ``mnist-rot``."""
    return _varied(
        "mnist-bg-img", source, examples, pooled, lambda digits: before_patches(levels(digits), sampling_seed)
    )


@describes(
    SIZE, SHAPE, "generated from mnist5k or a source: turned digits before photographs", published=PUBLISHED_DIGITS
)
def mnist_bg_img_rot(
    source: Source = "mnist5k", examples: Examples = None, pooled: bool = False, sampling_seed: Seed = 0
) -> Samples:
    """Digits of ``mnist-rot`` before the backgrounds of ``mnist-bg-img`` of the same seed. Options as ``mnist-rot``."""

    def both(digits: NDArray[Any]) -> Levels:
        return before_patches(turned_by_chance(digits, sampling_seed), sampling_seed)

    return _varied("mnist-bg-img-rot", source, examples, pooled, both)


def _varied(
    name: str, source: Source, examples: int | None, pooled: bool, change: Callable[[NDArray[Any]], Levels]
) -> Samples:
    found = _digits(name, source)
    held_out = found.official_test
    kept = _kept(len(found.inputs), held_out, examples)
    digits = found.inputs.numpy()[kept].reshape(len(kept), *found.image_shape)
    made = change(digits).reshape(len(kept), -1) / np.float32(255)
    tests = 0 if pooled else int((kept >= len(found.inputs) - held_out).sum())
    return Samples(made, found.labels[kept], found.image_shape, None, tests, found.label_names)


def _kept(count: int, held_out: int, examples: int | None) -> NDArray[np.int64]:
    """The places of so many examples of the part to learn from, and of as many of the official test part."""
    rest = count - held_out
    return np.concatenate([np.asarray(spread(rest, examples)), rest + np.asarray(spread(held_out, examples))]).astype(
        np.int64
    )


def _digits(name: str, source: Source) -> Any:
    """The checked samples of the source."""
    from caelab.data.dataset import load_samples

    found = load_samples(source)
    shape = found.image_shape
    low, high = (float(end) for end in found.inputs.aminmax())
    wrong = (
        "it has no images" if shape is None
        else "its images are in colour" if len(shape) == 3
        else f"its images are {shape[0]} x {shape[1]}" if shape[0] != shape[1]
        else "it has no labels" if found.labels is None
        else f"its pixels lie in [{low:.4g}, {high:.4g}]" if low < 0 or high > 1
        else ""
    )  # fmt: skip
    if wrong:
        raise CaelabError(
            f"data set {name!r}: expected a source of square grey images with labels, pixels in [0, 1], but of "
            f"{source!r} {wrong}; name another source, as mnist5k or idx:FOLDER"
        )
    return found


def stream(seed: int, name: str) -> Generator:
    """A generator of its own for every name, so that one more draw in one place changes nothing elsewhere."""
    from caelab.streams import stream_seed

    return np.random.default_rng(stream_seed(seed, name))


def levels(pixels: NDArray[Any]) -> Levels:
    """Pixels in [0, 1] as the nearest of the levels 0 to 255."""
    return np.asarray(np.rint(255 * pixels), np.uint8)


def turned_by_chance(digits: NDArray[Any], seed: int) -> Levels:
    """Each image turned by an angle of its own, uniform in [0, 2 pi); shape (n, side, side)."""
    angles = 2 * np.pi * stream(seed, "angles of digits").random(len(digits))
    out = np.empty(digits.shape, np.uint8)
    for start in range(0, len(digits), BLOCK):
        block = slice(start, start + BLOCK)
        out[block] = levels(turned(digits[block].astype(np.float64), angles[block]))
    return out


def before_noise(digits: Levels, seed: int) -> Levels:
    """Each image before uniform noise, shape (n, side, side)."""
    noise = stream(seed, "noise behind digits").integers(256, size=digits.shape, dtype=np.uint8)
    return np.maximum(digits, noise)


def before_patches(digits: Levels, seed: int) -> Levels:
    """Each image before a patch of a photograph, shape (n, side, side)."""
    return np.maximum(digits, cut_patches(stream(seed, "patches behind digits"), len(digits), digits.shape[1]))


def turned(images: Images, angles: NDArray[np.float64]) -> Images:
    """Images turned anticlockwise about their centre, bilinear, with zeros around.

    The value at a pixel is that of the image where the pixel comes from, between the four pixels around.

    Args:
        images: shape (n, side, side).
        angles: in radians, shape (n,).

    Returns:
        Shape (n, side, side), float64.
    """
    side = images.shape[1]
    offset = np.arange(side) - (side - 1) / 2
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    rows = cosine * offset[:, None] + sine * offset + (side - 1) / 2
    columns = cosine * offset - sine * offset[:, None] + (side - 1) / 2
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))  # zeros around, so that every neighbour is there
    wide = side + 3
    top, left = (np.clip(np.floor(at), -1, side) for at in (rows, columns))
    down, right = np.clip(rows - top, 0, 1), np.clip(columns - left, 0, 1)
    first = wide**2 * np.arange(len(images))[:, None, None]
    at = first + ((top + 1) * wide + left + 1).astype(np.int64)  # in all images, one after the other
    above = (1 - right) * padded.take(at) + right * padded.take(at + 1)
    below = (1 - right) * padded.take(at + wide) + right * padded.take(at + wide + 1)
    return np.asarray((1 - down) * above + down * below)
