"""Reading arrays that were saved with numpy (.npy, .npz)."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from caelab.data.keys import Entry, LabelKey, input_key, label_key, split_key
from caelab.data.labels import labels_of
from caelab.data.memory import check_room, sized
from caelab.data.reading import Layout, read_exactly, read_examples, refuse_device
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.data.shapes import as_samples, check_inputs
from caelab.errors import CaelabError

Labels = tuple[NDArray[Any] | None, tuple[str, ...] | None]
MAGIC = {"npy": b"\x93NUMPY", "npz": b"PK"}
LONGEST_HEADER = 10_000  # bytes, as numpy has it
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)


@describes("as in the file", "as in the file", "arrays of numpy.savez, and perhaps labels among them", "FILE[#KEY]")
def npz(path: FilePath, examples: Examples = None, labels: LabelKey = None) -> Samples:
    """One array of an .npz file: that of the key in ``FILE#KEY``, or ``x``, ``inputs`` or ``X``, or the only one.

    ``labels`` is the key of the labels, whole numbers or texts; by default ``y``, ``labels``, ``label``, ``target`` or
    ``targets``, and false for none. Unsigned bytes (uint8) are divided by 255, all else is taken as it is; (n, height,
    width[, channels]) are images. ``examples`` reads so many, evenly spread over the file.
    """
    file, key = split_key(path)
    with opened(file, "npz") as stream, zipfile.ZipFile(stream) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        _refuse_twins(file, names)
        key = input_key("npz", file, key, lambda: _entries(file, archive, names))
        of_labels = label_key(file, labels, key, dict.fromkeys(names))
        with _member(file, archive, key) as stored:
            stored.check_inputs()
            inputs = stored.read(examples)
        count = stored.layout.shape[0]
        return as_samples(inputs, *_labels(file, archive, of_labels, count, examples))


@describes("as in the file", "as in the file", "one array, by numpy.save", "FILE")
def npy(path: FilePath, examples: Examples = None, labels: FilePath | None = None) -> Samples:
    """Inputs in one .npy file, read like those of ``npz``; ``labels`` is another .npy file, of their labels."""
    with stored_in(Path(path).expanduser()) as stored:
        stored.check_inputs()
        return as_samples(stored.read(examples), *labels_in(labels, stored.layout.shape[0], examples))


def labels_in(path: str | None, count: int, examples: int | None = None) -> Labels:
    """The labels of so many examples in an .npy file, or those of some of them; none where there is no file.

    Raises:
        CaelabError: it cannot be read, or does not hold one label for each example.
    """
    if path is None:
        return None, None
    file = Path(path).expanduser()
    with stored_in(file) as stored:
        return _read_labels(str(file), stored, count, examples)


@contextmanager
def stored_in(file: Path) -> Iterator[Stored]:
    """The array of an .npy file, of which the header was read."""
    with opened(file, "npy") as stream:
        yield _stored(str(file), stream, file.stat().st_size)


@dataclass(frozen=True)
class Stored:
    """An array in a file, of which the header was read.

    Args:
        where: how to call it in an error.
        stream: it stands at the first value.
        size: the bytes that are there for the values, as the file system or the archive has it.
        layout: what the header says.
    """

    where: str
    stream: BinaryIO
    size: int
    layout: Layout

    def read(self, examples: int | None) -> NDArray[Any]:
        """The array, or some examples of it, if the file and the memory hold what the header says."""
        layout = self.layout
        self.check_size()
        check_room(f"{self.where}, {layout.shape} of {layout.dtype},", layout.values(examples), layout.dtype)
        return read_examples(self.stream, layout, examples)

    def check_inputs(self) -> None:
        """Refuse an array that holds no inputs."""
        check_inputs(self.where, self.layout.shape, self.layout.dtype)

    def check_size(self) -> None:
        """Refuse a file that holds more or fewer bytes than its header says.

        Raises:
            CaelabError: it does.
        """
        layout = self.layout
        if self.size != layout.size:
            raise CaelabError(
                f"{self.where} cannot be read: it is {'truncated' if self.size < layout.size else 'too long'}, its "
                f"header {layout.shape} of {layout.dtype} needs {sized(layout.size)}, found {sized(self.size)}; "
                "write it again"
            )


@contextmanager
def opened(file: Path, kind: str) -> Iterator[BinaryIO]:
    """The file's bytes, closed behind the block whatever happens; what cannot be read there is told in a sentence."""
    refuse_device(file)
    try:
        with file.open("rb") as stream:
            _check_magic(file, kind, stream.read(len(MAGIC[kind])))
            stream.seek(0)
            yield stream
    except FileNotFoundError as error:
        raise CaelabError(f"no file at {file}; give the path of a .{kind} file") from error
    except UNREADABLE as error:
        raise CaelabError(f"{file} cannot be read ({error}); it may be truncated: write it again") from error


def _check_magic(file: Path, kind: str, magic: bytes) -> None:
    if magic != MAGIC[kind]:
        raise CaelabError(
            f"{file} is no .{kind} file: expected it to begin with {MAGIC[kind]!r}, found {magic!r}; "
            f"write it with numpy.save{'z' if kind == 'npz' else ''}"
        )


def _refuse_twins(file: Path, names: Sequence[str]) -> None:
    """A name may stand twice in an archive."""
    twins = [name for name in names if names.count(name) > 1]
    if twins:
        raise CaelabError(
            f"{file}: expected one array of each name, but found {', '.join(twins)}; write it again with numpy.savez"
        )


def _entries(file: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> dict[str, Entry]:
    """What the headers say; of what cannot be read, nothing but its name."""
    found: dict[str, Entry] = {}
    for name in names:
        found[name] = Entry((), None)
        with suppress(CaelabError, *UNREADABLE), _member(file, archive, name) as stored:
            found[name] = Entry(stored.layout.shape, stored.layout.dtype)
    return found


@contextmanager
def _member(file: Path, archive: zipfile.ZipFile, key: str) -> Iterator[Stored]:
    member = archive.getinfo(f"{key}.npy" if f"{key}.npy" in archive.namelist() else key)
    with archive.open(member) as stream:
        yield _stored(f"{file}, array {key}", cast(BinaryIO, stream), member.file_size)


def _labels(file: Path, archive: zipfile.ZipFile, key: str | None, count: int, examples: int | None) -> Labels:
    """The labels of that many inputs, or of some of them."""
    if key is None:
        return None, None
    with _member(file, archive, key) as stored:
        return _read_labels(f"{file}, array {key}", stored, count, examples)


def _read_labels(where: str, stored: Stored, count: int, examples: int | None) -> Labels:
    shape = stored.layout.shape
    if math.prod(shape) != count or len(shape) not in (1, 2) or count not in shape:
        raise CaelabError(
            f"{where}: expected {count} labels, one for each example, but the shape {shape} came; choose others by "
            "the option labels"
        )
    along = replace(stored, layout=replace(stored.layout, shape=(count,), by_columns=False))
    found = along.read(examples)
    return labels_of(where, found, len(found))


def _stored(where: str, stream: BinaryIO, size: int) -> Stored:
    """The array whose header comes next in the stream; nothing of what that says is trusted."""
    magic = read_exactly(stream, 8)
    major = magic[6]
    start = read_exactly(stream, 2 if major == 1 else 4)
    length = int.from_bytes(start, "little")
    if magic[:6] != MAGIC["npy"] or major not in (1, 2) or length > LONGEST_HEADER:
        raise ValueError(f"expected an array of numpy with a header of at most {LONGEST_HEADER} bytes")
    text = io.BytesIO(start + read_exactly(stream, length))
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = _parsed(read, text)
    if dtype.hasobject:
        raise CaelabError(f"{where} holds Python objects, which are never loaded; save arrays of numbers instead")
    if any(not 0 <= side < 2**63 for side in shape):
        raise ValueError(f"its header has the shape {shape}")
    return Stored(where, stream, max(0, size - 8 - len(start) - length), Layout(shape, dtype, by_columns))


def _parsed(read: Any, text: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        shape, by_columns, dtype = read(text, max_header_size=LONGEST_HEADER)
    except Exception as error:  # a damaged header has numpy and Python's parser fail in many ways
        raise ValueError(f"its header cannot be read: {' '.join(str(error).split())}") from error
    return shape, by_columns and len(shape) > 1, dtype
