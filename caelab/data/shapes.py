"""Arrays from files as samples: which shapes and types are inputs, and what their images are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caelab.data.samples import Samples
from caelab.errors import CaelabError


def check_inputs(where: str, shape: Sequence[int], dtype: np.dtype[Any] | None) -> None:
    """Refuse an array that holds no inputs, before it is read.

    Raises:
        CaelabError: it holds no real numbers, has an impossible shape, or no value.
    """
    if dtype is None or dtype.kind not in "buif":
        raise CaelabError(f"{where}: expected an array of real numbers, but {dtype or 'another kind'} came; convert it")
    if not (len(shape) in (2, 3) or (len(shape) == 4 and shape[3] <= 4)):
        raise CaelabError(
            f"{where}: expected the shape (n, d), (n, height, width) or (n, height, width, channels), "
            f"but {tuple(shape)} came; reshape it, or move the channels last"
        )
    if 0 in shape:
        raise CaelabError(
            f"{where}: expected at least one example of at least one value, but the shape {tuple(shape)} came"
        )


def as_samples(
    inputs: NDArray[Any],
    labels: NDArray[Any] | None,
    names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Samples:
    """Samples of an array (n, ...); unsigned bytes are divided by 255, and more than two dimensions are images."""
    flat = inputs.reshape(len(inputs), -1)
    scaled = flat / np.float32(255) if inputs.dtype == np.uint8 else flat
    shape = image_shape_in(inputs.shape) if image_shape is None else tuple(image_shape)
    return Samples(scaled, labels, shape, label_names=names)


def flattened_by_columns(where: str, inputs: NDArray[Any], image_shape: Sequence[int] | None) -> NDArray[Any]:
    """Images that were flattened column by column, (n, d), as (n, height, width[, channels]).

    Raises:
        CaelabError: the shape of an image is not given, or the inputs have another size.
    """
    if image_shape is None or inputs.ndim != 2 or math.prod(image_shape) != inputs.shape[1]:
        raise CaelabError(
            f"{where}: by_columns needs a matrix (n, d) and image_shape with height x width [x channels] = d, but "
            f"{inputs.shape} and image_shape {image_shape} came; give it, as in --set dataset.image_shape=[20,20]"
        )
    axes = range(len(image_shape), 0, -1)
    return inputs.reshape(len(inputs), *reversed(image_shape)).transpose(0, *axes)


def image_shape_in(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of an image in an array (n, height, width[, channels]); None where there is none."""
    if len(shape) == 2:
        return None
    return shape[1:3] if len(shape) == 4 and shape[3] == 1 else shape[1:]
