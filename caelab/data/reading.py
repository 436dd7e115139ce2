"""Reading arrays from a stream block by block, so that what is not kept takes no memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from caelab.errors import CaelabError

BLOCK = 2**22  # bytes


@dataclass(frozen=True)
class Layout:
    """How an array lies in a file: its shape, the examples first, the type of its values, and their order."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool = False

    @property
    def size(self) -> int:
        """The bytes of all values; a Python number, which does not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize

    def values(self, examples: int | None = None) -> int:
        """How many values there are in so many examples, or in all."""
        return math.prod((len(spread(self.shape[0], examples)), *self.shape[1:]))


def spread(count: int, wanted: int | None) -> range | NDArray[np.int64]:
    """The places of ``wanted`` examples among ``count``, evenly spread; all of them, if there are not more.

    Evenly, since files are often sorted by label: the first ones would be of one class.

    >>> spread(10, 4).tolist(), spread(3, 5)
    ([0, 2, 5, 7], range(0, 3))
    """
    if wanted is None or wanted >= count:
        return range(count)
    return np.array([place * count // wanted for place in range(wanted)], np.int64)


def read_examples(stream: BinaryIO, layout: Layout, examples: int | None = None) -> NDArray[Any]:
    """The array, or ``examples`` of it, evenly spread.

    Raises:
        EOFError: the stream ends before the array does.
    """
    count, *rest = layout.shape
    kept = spread(count, examples)
    if layout.by_columns:  # the reversed axes, row by row
        turned = _selected(stream, math.prod(rest), count, layout.dtype, columns=kept)
        return turned.reshape(*reversed(rest), len(kept)).T
    return _selected(stream, count, math.prod(rest), layout.dtype, rows=kept).reshape(len(kept), *rest)


def _selected(
    stream: BinaryIO,
    count: int,
    width: int,
    dtype: np.dtype[Any],
    rows: range | NDArray[np.int64] | None = None,
    columns: range | NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Some rows, or some columns, of a (count, width) matrix that lies row by row in the stream."""
    out = np.empty((count if rows is None else len(rows), width if columns is None else len(columns)), dtype)
    for start, block in _blocks(stream, count, width, dtype):
        stop = start + len(block)
        if isinstance(rows, np.ndarray):
            first, last = np.searchsorted(rows, (start, stop))
            out[first:last] = block[rows[first:last] - start]
        else:
            out[start:stop] = block[:, columns] if isinstance(columns, np.ndarray) else block
    return out


def _blocks(stream: BinaryIO, count: int, width: int, dtype: np.dtype[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    size = width * dtype.itemsize
    step = max(1, BLOCK // max(size, 1))
    for start in range(0, count, step):
        rows = min(step, count - start)
        yield start, np.frombuffer(read_exactly(stream, rows * size), dtype).reshape(rows, width)


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read an exact number of bytes from a stream.

    Raises:
        EOFError: there are fewer.
    """
    content = stream.read(size)
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            raise EOFError(f"expected {size} more bytes, found {len(content)}")
        content += more
    return content


def refuse_device(file: Path) -> None:
    """Refuse what is there but no file: a folder, or a pipe, which would be waited for without end.

    Raises:
        CaelabError: it is none.
    """
    if file.exists() and not file.is_file():
        what = "a folder" if file.is_dir() else "a pipe or a device"
        raise CaelabError(f"{file} cannot be read: expected a file, but it is {what}; give the path of a file")
