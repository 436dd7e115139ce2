"""Arrays that stay in their file: .npy files, and raw values of a type and a shape that the user states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from caelab.data.arrays import labels_in, stored_in
from caelab.data.memory import sized
from caelab.data.reading import refuse_device
from caelab.data.samples import FilePath, Samples, describes
from caelab.data.shapes import check_inputs, image_shape_in
from caelab.errors import CaelabError

Side = Annotated[int, Field(ge=-1)]


@describes("as in the file", "as in the file", "one array that may be larger than memory, .npy or raw", "FILE")
def memmap(
    path: FilePath,
    labels: FilePath | None = None,
    dtype: Annotated[str, Field(min_length=1)] | None = None,
    shape: list[Side] | None = None,
    offset: Annotated[int, Field(ge=0)] = 0,
) -> Samples:
    """Inputs in one file, which stay there until a batch of them is needed; ``labels`` is an .npy file of their labels.

    The file is an .npy file or, where ``dtype`` and ``shape`` are given, raw values row by row from the byte
    ``offset`` on, as ``tofile`` writes them: ``dtype`` as numpy calls it (float32, uint8, >i2), and -1 in ``shape``
    for the number of examples that the file holds. An array in another type than float32 is written to a
    temporary file once, unsigned bytes divided by 255.
    """
    from caelab.data.mapped import in_float32

    file = Path(path).expanduser()
    if (dtype is None) != (shape is None) or (offset and dtype is None):
        raise CaelabError(f"{file}: a raw file needs both dtype and shape, as in dtype=float32 and shape=[-1, 784]")
    values = _of_npy(file) if dtype is None or shape is None else _raw(file, dtype, shape, offset)
    found, names = labels_in(labels, len(values))
    return Samples(in_float32(values), found, image_shape_in(values.shape), label_names=names)


def _of_npy(file: Path) -> Any:
    with stored_in(file) as stored:
        stored.check_inputs()
        stored.check_size()
    return np.load(file, mmap_mode="r")


def _raw(file: Path, dtype: str, shape: list[int], offset: int) -> np.memmap[Any, Any]:
    refuse_device(file)
    if not file.exists():
        raise CaelabError(f"no file at {file}; give the path of a file of raw values")
    kind = _kind(file, dtype)
    sides = _sides(file, kind, shape, file.stat().st_size - offset)
    check_inputs(str(file), sides, kind)
    try:
        return np.memmap(file, kind, "r", offset, sides)
    except (OSError, ValueError, OverflowError) as error:
        raise CaelabError(f"{file} cannot be mapped ({error}); change its permissions, or the offset") from error


def _kind(file: Path, name: str) -> np.dtype[Any]:
    try:
        kind = np.dtype(name)
    except (TypeError, ValueError, SyntaxError) as error:
        kind, name = np.dtype(object), f"{name!r} ({error})"
    if kind.kind not in "buif" or kind.shape:
        raise CaelabError(f"{file}: expected dtype as numpy calls numbers, as float32, uint8 or >i2, but {name} came")
    return kind


def _sides(file: Path, kind: np.dtype[Any], shape: list[int], there: int) -> tuple[int, ...]:
    """The shape with its number of examples.

    Raises:
        CaelabError: it is not what the file holds.
    """
    first, *rest = shape if len(shape) > 1 else [0, 0]
    if min(rest) < 1:
        raise CaelabError(f"{file}: expected shape as [n, d] or [n, height, width], n perhaps -1, but {shape} came")
    each = math.prod(rest) * kind.itemsize
    count = there // each if first == -1 else first
    if there != count * each or count < 1:
        raise CaelabError(
            f"{file}: {shape} of {kind} needs {'a multiple of ' * (first == -1)}{sized(each * max(1, first))}, but the "
            f"file has {sized(max(0, there))} behind the offset; give another dtype, shape or offset"
        )
    return (count, *rest)
