"""Labels as they stand in files, as whole numbers and, where they are texts, the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caelab.data.samples import in_order_of_numbers
from caelab.errors import CaelabError

LARGEST = 2**63


def numbered(texts: Iterable[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The place of each text among the different ones, in their order, and these; 2 stands before 10.

    >>> numbered(["cat", "dog", "cat"])
    (array([0, 1, 0]), ('cat', 'dog'))
    """
    cells = [*texts]
    names = sorted(set(cells), key=in_order_of_numbers)
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[cell] for cell in cells], np.int64), tuple(names)


def labels_of(
    where: str, values: Any, count: int, option: str = "labels"
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """One label for each of ``count`` examples: whole numbers as they are, texts numbered, with their names.

    Args:
        where: how to call them in an error.
        values: an array, shape (count,), (count, 1) or (1, count).
        count: of the examples.
        option: of the data set, that chooses the labels.

    Raises:
        CaelabError: there are more or fewer, or they are neither whole numbers nor texts.
    """
    array = np.asarray(values)
    flat = array.reshape(-1) if array.size == max(array.shape, default=0) else array
    remedy = f"choose others by the option {option}, or none by --set dataset.{option}=false"
    if flat.shape != (count,):
        raise CaelabError(
            f"{where}: expected {count} labels, one for each example, but the shape {array.shape} came; {remedy}"
        )
    if flat.dtype.kind in "SUO" or isinstance(flat.dtype, np.dtypes.StringDType):
        return numbered([_text(where, cell) for cell in flat.tolist()])
    if flat.dtype.kind in "bui" and (flat.dtype != np.uint64 or flat.max() < LARGEST):
        return flat.astype(np.int64), None
    if flat.dtype.kind == "f" and (np.abs(flat) < LARGEST).all() and (flat == np.round(flat)).all():  # no NaN
        return flat.astype(np.int64), None
    wrong = flat[0] if flat.dtype.kind != "f" else flat[~(np.abs(flat) < LARGEST) | (flat != np.round(flat))][0]
    raise CaelabError(f"{where}: expected labels that are whole numbers or texts, but {wrong} came; {remedy}")


def _text(where: str, cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if not isinstance(cell, str):
        raise CaelabError(
            f"{where}: expected labels that are whole numbers or texts, but {cell!r} came; number the classes, or "
            "leave out examples without a label"
        )
    return cell
