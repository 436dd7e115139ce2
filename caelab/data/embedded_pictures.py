"""Pictures in a column of a table: the bytes of an image file in each row."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from caelab.data.columns import Rows
from caelab.data.pictures import contents, pixels
from caelab.errors import CaelabError

AT_ONCE = 256  # rows whose headers are looked at together
WHITE = 255


@dataclass(frozen=True)
class Embedded:
    """One picture in a table, which opens as a file does."""

    where: str
    content: bytes | None
    file: str | None

    def open(self, mode: str) -> BinaryIO:
        """Its bytes; where the table names a file in their place, this file's."""
        if self.content is not None:
            return io.BytesIO(self.content)
        if self.file is None:
            raise ValueError("there is none")
        return Path(self.file).open("rb")

    def __str__(self) -> str:
        return self.where


def picture_reader(rows: Rows, name: str) -> Callable[[Any], NDArray[Any]]:
    """What decodes a column of pictures: grey where all of the table are, colour otherwise."""
    known: list[tuple[bool, tuple[int, int]]] = []

    def read(column: Any) -> NDArray[Any]:
        if not known:
            known.append(_looked_through(rows, name))
        grey, (width, height) = known[0]
        out = np.empty((len(column), height, width, *([] if grey else [3])), np.uint8)
        for into, picture in zip(out, _pictures(rows.where, name, column), strict=True):
            (seen,) = pixels(picture, [0], grey, WHITE)
            if seen.shape != into.shape:
                raise CaelabError(
                    f"expected images of one size, but {picture} is {seen.shape[0]} x {seen.shape[1]} and the first "
                    f"{height} x {width} (height x width); scale or crop them"
                )
            into[:] = seen
        return out

    return read


def _looked_through(rows: Rows, name: str) -> tuple[bool, tuple[int, int]]:
    """Whether all pictures are grey, and the (width, height) of the first as it is seen."""
    grey, size = True, None
    for batch in rows.batches([name], AT_ONCE):
        for picture in _pictures(rows.where, name, batch.column(0)):
            if size is None:
                (seen,) = pixels(picture, [0], True, WHITE)
                size = (seen.shape[1], seen.shape[0])
            grey = grey and contents(picture).grey
    assert size is not None  # a table without rows is refused before
    return grey, size


def _pictures(where: str, name: str, column: Any) -> Iterator[Embedded]:
    for place, cell in enumerate(column.to_pylist()):
        found = cell if isinstance(cell, dict) else {"bytes": cell}
        yield Embedded(f"{where}, a picture of the column {name} ({place})", found.get("bytes"), found.get("path"))
