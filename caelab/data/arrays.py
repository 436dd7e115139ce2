"""Arrays that a user saved with numpy."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caelab.data.samples import FilePath, Samples, describes
from caelab.errors import CaelabError

MAGIC = {"npy": b"\x93NUMPY", "npz": b"PK"}
INPUTS, LABELS = ("x", "inputs", "X"), ("y", "labels")


@describes(
    "as in the file", "as in the file", "arrays x (or inputs, X) and, if any, y (or labels), by numpy.savez", "FILE"
)
def npz(path: FilePath) -> Samples:
    """Inputs under ``x``, ``inputs`` or ``X`` and perhaps labels under ``y`` or ``labels``, in one .npz file.

    Unsigned bytes are divided by 255, all else is taken as it is; (n, height, width[, channels]) are images.
    """
    file = Path(path).expanduser()
    with _opened(file, "npz") as archive:
        inputs = _member(file, archive, _key(file, archive.files, INPUTS))
        label_key = _key(file, archive.files, LABELS, needed=False)
        labels = _member(file, archive, label_key) if label_key else None
    return _samples(file, inputs, labels)


@describes("as in the file", "as in the file", "one array, by numpy.save", "FILE")
def npy(path: FilePath) -> Samples:
    """Inputs without labels in one .npy file; read like those of ``npz``."""
    file = Path(path).expanduser()
    with _opened(file, "npy") as array:
        return _samples(file, array, None)


@contextmanager
def _opened(file: Path, kind: str) -> Iterator[Any]:
    """What numpy finds in the file, which is closed behind the block whatever happens."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open("rb"))
            magic = stream.read(len(MAGIC[kind]))
            _check_magic(file, kind, magic)
            stream.seek(0)
            found = np.load(stream, allow_pickle=False)
        except FileNotFoundError as error:
            raise CaelabError(f"no file at {file}; give the path of a .{kind} file") from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(file, error) from error
        yield found


def _check_magic(file: Path, kind: str, magic: bytes) -> None:
    if magic != MAGIC[kind]:
        raise CaelabError(
            f"{file} is no .{kind} file: expected it to begin with {MAGIC[kind]!r}, found {magic!r}; "
            f"write it with numpy.save{'z' if kind == 'npz' else ''}"
        )


def _unreadable(file: Path, error: Exception) -> CaelabError:
    if "pickle" in str(error):
        return CaelabError(f"{file} holds Python objects, which are never loaded; save arrays of numbers instead")
    return CaelabError(f"{file} cannot be read ({error}); it may be truncated: write it again")


def _key(file: Path, there: Iterable[str], wanted: tuple[str, ...], *, needed: bool = True) -> str | None:
    found = [key for key in wanted if key in there]
    if len(found) > 1 or (needed and not found):
        raise CaelabError(
            f"{file}: expected one array named {' or '.join(wanted)}, "
            f"found {', '.join(found or there) or 'none'}; name it {wanted[0]}"
        )
    return found[0] if found else None


def _member(file: Path, archive: Any, key: str | None) -> NDArray[Any]:
    try:
        return np.asarray(archive[key])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(file, error) from error


def _samples(file: Path, inputs: NDArray[Any], labels: NDArray[Any] | None) -> Samples:
    if inputs.dtype.kind not in "buif":
        raise CaelabError(f"{file}: expected an array of real numbers, but {inputs.dtype} came; convert it")
    if not (inputs.ndim in (2, 3) or (inputs.ndim == 4 and inputs.shape[3] <= 4)):
        raise CaelabError(
            f"{file}: expected the shape (n, d), (n, height, width) or (n, height, width, channels), "
            f"but {inputs.shape} came; reshape it, or move the channels last"
        )
    shape = inputs.shape[1:] if inputs.ndim > 2 else None
    if shape and len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    flat = inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))
    return Samples(flat / np.float32(255) if inputs.dtype == np.uint8 else flat, labels, shape)
