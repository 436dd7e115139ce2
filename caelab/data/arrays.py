"""Reading arrays that were saved with numpy (.npy, .npz)."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from caelab.data.memory import check_room, sized
from caelab.data.reading import Layout, read_exactly, read_examples, refuse_device
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.errors import CaelabError

MAGIC = {"npy": b"\x93NUMPY", "npz": b"PK"}
INPUTS, LABELS = ("x", "inputs", "X"), ("y", "labels")
LONGEST_HEADER = 10_000  # bytes, as numpy has it
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)


@describes(
    "as in the file", "as in the file", "arrays x (or inputs, X) and, if any, y (or labels), by numpy.savez", "FILE"
)
def npz(path: FilePath, examples: Examples = None) -> Samples:
    """Inputs under ``x``, ``inputs`` or ``X`` and perhaps labels under ``y`` or ``labels``, in one .npz file.

    Unsigned bytes (uint8) are divided by 255, all else is taken as it is; (n, height, width[, channels]) are images.
    ``examples`` reads so many, evenly spread over the file.
    """
    file = Path(path).expanduser()
    with _opened(file, "npz") as stream, zipfile.ZipFile(stream) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        key, label_key = _key(file, names, INPUTS), _key(file, names, LABELS, needed=False)
        with _member(file, archive, key or "") as stored:
            _check_inputs(stored)
            inputs = stored.read(examples)
        return _samples(inputs, _labels(file, archive, label_key, stored.layout.shape[0], examples))


@describes("as in the file", "as in the file", "one array, by numpy.save", "FILE")
def npy(path: FilePath, examples: Examples = None) -> Samples:
    """Inputs without labels in one .npy file; read like those of ``npz``."""
    file = Path(path).expanduser()
    with _opened(file, "npy") as stream:
        stored = _stored(str(file), stream, file.stat().st_size)
        _check_inputs(stored)
        return _samples(stored.read(examples), None)


@describes("as in the file", "as in the file", "one array, by numpy.save, that may be larger than memory", "FILE")
def memmap(path: FilePath) -> Samples:
    """Inputs without labels in one .npy file, which stay there until a batch of them is needed.

    An array in another type than float32 is written to a temporary file once, unsigned bytes divided by 255.
    """
    from caelab.data.mapped import in_float32

    file = Path(path).expanduser()
    with _opened(file, "npy") as stream:
        stored = _stored(str(file), stream, file.stat().st_size)
        _check_inputs(stored)
        stored.check_size()
    values = np.load(file, mmap_mode="r")
    return Samples(in_float32(values), None, _image_shape(values.shape))


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
def _opened(file: Path, kind: str) -> Iterator[BinaryIO]:
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


def _key(file: Path, there: Iterable[str], wanted: tuple[str, ...], *, needed: bool = True) -> str | None:
    found = [name for name in there if name in wanted]  # a name may stand twice in an archive
    if len(found) > 1 or (needed and not found):
        raise CaelabError(
            f"{file}: expected one array named {' or '.join(wanted)}, "
            f"found {', '.join(found or there) or 'none'}; name it {wanted[0]}"
        )
    return found[0] if found else None


@contextmanager
def _member(file: Path, archive: zipfile.ZipFile, key: str) -> Iterator[Stored]:
    member = archive.getinfo(f"{key}.npy" if f"{key}.npy" in archive.namelist() else key)
    with archive.open(member) as stream:
        yield _stored(f"{file}, array {key}", cast(BinaryIO, stream), member.file_size)


def _labels(
    file: Path, archive: zipfile.ZipFile, key: str | None, count: int, examples: int | None
) -> NDArray[Any] | None:
    """The labels of that many inputs, or of some of them."""
    if key is None:
        return None
    with _member(file, archive, key) as stored:
        if stored.layout.shape != (count,):
            raise CaelabError(
                f"{file}: expected {count} labels, one for each example, but the array {key} has the shape "
                f"{stored.layout.shape}"
            )
        return stored.read(examples)


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


def _check_inputs(stored: Stored) -> None:
    where, layout, shape = stored.where, stored.layout, stored.layout.shape
    if layout.dtype.kind not in "buif":
        raise CaelabError(f"{where}: expected an array of real numbers, but {layout.dtype} came; convert it")
    if not (len(shape) in (2, 3) or (len(shape) == 4 and shape[3] <= 4)):
        raise CaelabError(
            f"{where}: expected the shape (n, d), (n, height, width) or (n, height, width, channels), "
            f"but {shape} came; reshape it, or move the channels last"
        )
    if 0 in shape:
        raise CaelabError(f"{where}: expected at least one example of at least one value, but the shape {shape} came")


def _samples(inputs: NDArray[Any], labels: NDArray[Any] | None) -> Samples:
    flat = inputs.reshape(len(inputs), -1)
    return Samples(flat / np.float32(255) if inputs.dtype == np.uint8 else flat, labels, _image_shape(inputs.shape))


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of an image in an array (n, height, width[, channels]); None where there is none."""
    if len(shape) == 2:
        return None
    return shape[1:3] if len(shape) == 4 and shape[3] == 1 else shape[1:]
