"""Reading MATLAB's .mat files: versions 4 to 7 by scipy, version 7.3, which is HDF5, by h5py."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from caelab.data import hdf5_files
from caelab.data.keys import Entry, LabelKey, input_key, label_key, split_key
from caelab.data.labels import labels_of
from caelab.data.memory import check_room
from caelab.data.reading import refuse_device, spread
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.data.shapes import as_samples, check_inputs, flattened_by_columns
from caelab.errors import CaelabError, reason
from caelab.options import Count

V73 = b"MATLAB 7.3"
OWN = "#"  # in front of what MATLAB keeps for itself
INTEGERS = {name: name for kind in ("int", "uint") for name in (f"{kind}{bits}" for bits in (8, 16, 32, 64))}
TYPES = {"double": "float64", "single": "float32", "logical": "bool", "sparse": "float64", **INTEGERS}
IN_PARTS = "read it in MATLAB and save it with -v7.3, of which caelab reads parts by the option examples"


@describes("as in the file", "as in the file", "one matrix of MATLAB; v7.3 needs h5py: caelab[hdf5]", "FILE[#KEY]")
def mat(
    path: FilePath,
    examples: Examples = None,
    labels: LabelKey = None,
    axis: Literal["first", "last"] | None = None,
    image_shape: list[Count] | None = None,
    by_columns: bool = False,
) -> Samples:
    """One matrix of a .mat file: that of the key in ``FILE#KEY``, or ``x``, ``inputs`` or ``X``, or the only one.

    ``axis`` says whether the examples lie along the ``first`` or the ``last`` axis as MATLAB shows it; without it,
    along that which has as many entries as there are labels, or else along the rows of a matrix. More than two axes are
    images of MATLAB's height and width. ``image_shape`` says that each example of a matrix is an image, (height, width)
    or (height, width, channels), and ``by_columns`` that MATLAB flattened it by ``image(:)``, column by column.
    ``labels`` is the key of the labels, whole numbers (1 stays 1) or a cell array of texts; by default ``y``,
    ``labels``, ``label``, ``target`` or ``targets``, and false for none. uint8 is divided by 255, all else is taken
    as it is. ``examples`` reads so many, evenly spread over the file.
    """
    file, key = split_key(path)
    with _opened(file) as stored:
        entries = stored.entries
        key = input_key("mat", file, key, lambda: entries)
        of_labels = label_key(file, labels, key, entries)
        shape = entries[key].shape
        place = _axis(file, key, shape, axis, None if of_labels is None else math.prod(entries[of_labels].shape))
        where = f"{file}, array {key}"
        check_inputs(where, (shape[place], *shape[:place], *shape[place + 1 :]), entries[key].dtype)
        inputs = np.moveaxis(stored.read(key, place, examples), place, 0)
        found, names = (
            (None, None) if of_labels is None else labels_of(file.name, stored.labels(of_labels), shape[place])
        )
    kept = None if found is None else found[spread(shape[place], examples)]
    turned = flattened_by_columns(where, inputs, image_shape) if by_columns else inputs
    return as_samples(turned, kept, names, image_shape)


def _axis(file: Path, key: str, shape: tuple[int, ...], asked: str | None, labels: int | None) -> int:
    """Along which axis the examples lie, as MATLAB shows it.

    Raises:
        CaelabError: it cannot be told.
    """
    last = len(shape) - 1
    if asked is not None or last < 1:
        return last if asked == "last" else 0
    fits = [place for place in (0, last) if shape[place] == labels]
    if len(fits) == 1:
        return fits[0]
    if last > 1:
        raise CaelabError(
            f"{file}: the array {key} has the shape {shape} in MATLAB, so the examples may lie along its first or its "
            "last axis; say which, as in --set dataset.axis=last"
        )
    return 0


class Matrices(Protocol):
    """The matrices of a file, in MATLAB's order of the axes."""

    entries: dict[str, Entry]

    def read(self, key: str, axis: int, examples: int | None) -> NDArray[Any]:
        """A matrix, or ``examples`` of it, evenly spread along an axis."""

    def labels(self, key: str) -> Any:
        """The labels of all examples, numbers or texts."""


@contextmanager
def _opened(file: Path) -> Iterator[Matrices]:
    refuse_device(file)
    if not file.exists():
        raise CaelabError(f"no file at {file}; give the path of a .mat file")
    with file.open("rb") as stream:
        start = stream.read(512)
    if start.startswith((V73, b"\x89HDF")):
        with hdf5_files.opened(file, "mat") as stored:
            yield Recent(file, stored)
        return
    try:
        yield Classic(file)
    except CaelabError:
        raise
    except Exception as error:  # the library fails in many ways on what is damaged, or no such file
        raise CaelabError(
            f"{file} is no .mat file that can be read ({reason(error)}); it may be truncated, or of another program: "
            "write it again"
        ) from error


class Classic:
    """A file of version 4 to 7, read by scipy a matrix at a time."""

    def __init__(self, file: Path) -> None:
        from scipy.io import whosmat

        self.file = file
        self.kinds = {name: kind for name, _, kind in whosmat(str(file))}
        self.entries: dict[str, Entry] = {
            name: Entry(tuple(shape), _type(kind)) for name, shape, kind in whosmat(str(file))
        }

    def read(self, key: str, axis: int, examples: int | None) -> NDArray[Any]:
        """The whole matrix is read, whose size its header says, and then chosen from."""
        entry = self.entries[key]
        kind = entry.dtype or np.dtype("f8")
        check_room(f"{self.file}, {entry.shape} of {kind},", math.prod(entry.shape), kind, IN_PARTS)
        values = self._loaded(key)
        found: NDArray[Any] = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
        return found if examples is None else found.take(spread(found.shape[axis], examples), axis)

    def labels(self, key: str) -> Any:
        """Numbers, texts, or the text in each cell of a cell array."""
        values = self._loaded(key)
        if values.dtype.kind == "U":
            return np.char.strip(values)  # a matrix of characters, each row filled up with blanks
        return np.array([str(np.squeeze(cell)) for cell in values.flat]) if values.dtype == object else values

    def _loaded(self, key: str) -> Any:
        from scipy.io import loadmat

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                # numbers as MATLAB holds them: it stores those that are small and whole in fewer bytes
                return loadmat(str(self.file), variable_names=[key], mat_dtype=True)[key]
        except np.exceptions.ComplexWarning as error:
            raise CaelabError(
                f"{self.file}, array {key}: expected an array of real numbers, but complex numbers came; save "
                "abs(z), or [real(z) imag(z)]"
            ) from error


class Recent:
    """A file of version 7.3, read by h5py in parts; HDF5 has the axes in the opposite order."""

    def __init__(self, file: Path, stored: Any) -> None:
        found = hdf5_files.entries_of(stored)
        self.file, self.stored = file, stored
        self.entries = {
            name: Entry(entry.shape[::-1], _type(self._kind(name), entry.dtype))
            for name, entry in found.items()
            if not name.startswith(OWN) and "MATLAB_empty" not in stored[name].attrs
        }

    def read(self, key: str, axis: int, examples: int | None) -> NDArray[Any]:
        """The axes are turned back."""
        stored = self.stored[key]
        found = hdf5_files.read_rows(f"{self.file}, array {key}", stored, examples, stored.ndim - 1 - axis).T
        return found.astype(bool) if self._kind(key) == "logical" else found

    def labels(self, key: str) -> Any:
        """Numbers, or the text in each cell of a cell array, to which HDF5 refers."""
        stored = self.stored[key]
        check_room(f"{self.file}, array {key},", math.prod(stored.shape), np.dtype(np.int64))
        if self._kind(key) == "cell":
            return np.array([_characters(self.stored[cell]) for cell in stored[()].T.flat])
        if self._kind(key) == "char":
            return np.array(["".join(map(chr, row)).strip() for row in stored[()].T])
        return stored[()].T

    def _kind(self, key: str) -> str:
        kind = self.stored[key].attrs.get("MATLAB_class", b"")
        return kind.decode() if isinstance(kind, bytes) else str(kind)


def _characters(stored: Any) -> str:
    return "" if "MATLAB_empty" in stored.attrs else "".join(map(chr, stored[()].T.flat))


def _type(kind: str, found: np.dtype[Any] | None = None) -> np.dtype[Any] | None:
    """The type of what MATLAB calls so; None where it holds no numbers."""
    return np.dtype(TYPES[kind]) if kind in TYPES else None if kind else found
