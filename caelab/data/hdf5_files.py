"""Reading arrays of HDF5 files, by h5py; the size is known before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caelab.data.keys import Entry, LabelKey, input_key, label_key, library, split_key
from caelab.data.labels import labels_of
from caelab.data.memory import check_room
from caelab.data.reading import BLOCK, refuse_device, spread
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.data.shapes import as_samples, check_inputs
from caelab.errors import CaelabError, reason

MAGIC = b"\x89HDF"


@describes("as in the file", "as in the file", "one array of an HDF5 file; needs h5py: caelab[hdf5]", "FILE[#KEY]")
def hdf5(path: FilePath, examples: Examples = None, labels: LabelKey = None) -> Samples:
    """One array (n, ...) of an HDF5 file: that of the key in ``FILE#KEY`` (``FILE#group/x``), or the only one there.

    Without a key an array that is called ``x``, ``inputs`` or ``X`` is taken, or else the only one of more than one
    dimension. ``labels`` is the key of the labels, whole numbers or texts; by default an array beside the inputs that
    is called ``y``, ``labels``, ``label``, ``target`` or ``targets``, and false for none. Unsigned bytes are divided by
    255, all else is taken as it is; (n, height, width[, channels]) are images. ``examples`` reads so many, evenly
    spread over the file.
    """
    file, key = split_key(path)
    with opened(file, "hdf5") as stored:
        entries = entries_of(stored)
        key = input_key("hdf5", file, key, lambda: entries)
        of_labels = label_key(file, labels, key, entries)
        where, found = f"{file}, array {key}", stored[key]
        check_inputs(where, entries[key].shape, entries[key].dtype)
        inputs = read_rows(where, found, examples)
        if of_labels is None:
            return as_samples(inputs, None)
        return as_samples(inputs, *_labels(f"{file}, array {of_labels}", stored[of_labels], len(found), examples))


@contextmanager
def opened(file: Path, kind: str) -> Iterator[Any]:
    """The HDF5 file; what cannot be read there is told in a sentence."""
    h5py = library("h5py", "hdf5", kind)
    refuse_device(file)
    if not file.exists():
        raise CaelabError(f"no file at {file}; give the path of an HDF5 file")
    if not h5py.is_hdf5(file):
        with file.open("rb") as stream:
            raise CaelabError(
                f"{file} is no HDF5 file: expected it to begin with {MAGIC!r}, found {stream.read(4)!r}; write it "
                "with h5py"
            )
    try:
        with h5py.File(file, "r") as stored:
            yield stored
    except CaelabError:
        raise
    except Exception as error:  # the library fails in many ways on what is damaged, or packed by another filter
        raise CaelabError(f"{file} cannot be read ({reason(error)}); it may be truncated: write it again") from error


def entries_of(stored: Any) -> dict[str, Entry]:
    """Every array of the file, in groups too, by its key; links to other files are not followed."""
    h5py = library("h5py", "hdf5", "hdf5")
    found: dict[str, Entry] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name] = Entry(tuple(item.shape), item.dtype if item.dtype.kind in "buif" else None)

    stored.visititems(note)
    return found


def read_rows(where: str, stored: Any, examples: int | None, axis: int = 0) -> NDArray[Any]:
    """The array, or ``examples`` of it, evenly spread, read in blocks; the examples lie along an axis, which stays.

    Raises:
        CaelabError: it does not fit into the memory.
    """
    count = stored.shape[axis]
    kept = spread(count, examples)
    each = math.prod(stored.shape) // max(1, count)
    check_room(f"{where}, {tuple(stored.shape)} of {stored.dtype},", len(kept) * each, stored.dtype)
    out = np.empty([len(kept) if place == axis else side for place, side in enumerate(stored.shape)], stored.dtype)
    step = _step(stored, axis, each)
    for start in range(0, count, step):
        stop = min(start + step, count)
        first, last = np.searchsorted(kept, (start, stop)) if isinstance(kept, np.ndarray) else (start, stop)
        if last > first:
            block = stored[_along(axis, slice(start, stop))]
            chosen = kept[first:last] - start if isinstance(kept, np.ndarray) else slice(None)
            out[_along(axis, slice(first, last))] = block[_along(axis, chosen)]
    return out


def _step(stored: Any, axis: int, each: int) -> int:
    """So many examples that a block is of moderate size, and no packed part of the file is unpacked twice."""
    whole = stored.chunks[axis] if stored.chunks else 1
    return int(max(1, BLOCK // max(1, each * stored.dtype.itemsize) // whole) * whole)


def _along(axis: int, chosen: Any) -> tuple[Any, ...]:
    return (*[slice(None)] * axis, chosen)


def _labels(
    where: str, stored: Any, count: int, examples: int | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    check_room(f"{where},", math.prod(stored.shape), np.dtype(np.int64))
    values = np.asarray(stored.asstr()[()] if _is_text(stored) else stored[()])
    found, names = labels_of(where, values, count)
    return found[spread(count, examples)], names


def _is_text(stored: Any) -> bool:
    return library("h5py", "hdf5", "hdf5").check_string_dtype(stored.dtype) is not None
