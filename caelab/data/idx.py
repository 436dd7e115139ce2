"""Reading IDX files, the format of MNIST and its family.

A file is the bytes ``0 0 t k`` (t: the type of the values, k: the number of dimensions), the k sizes as big-endian
32-bit numbers, and the values, big-endian, in row-major order; it may be gzipped (LeCun, Cortes and Burges, the MNIST
database). The types are 8: unsigned bytes, 9: signed bytes, B, C: integers of 16 and 32 bits, D, E: floating-point
numbers of 32 and 64 bits.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from caelab.data.memory import check_room, sized
from caelab.data.reading import Layout, read_examples
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.errors import CaelabError

GZIP_MAGIC = b"\x1f\x8b"
MOST_PACKED = 1032  # no gzip file holds more than so many times its size
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
BYTES = 0x08


@describes("as in the files", "height x width", "the MNIST family's IDX files, gzipped or not", "FOLDER")
def idx(path: FilePath, examples: Examples = None) -> Samples:
    """A folder of IDX files named as MNIST's: ``train-images-idx3-ubyte[.gz]``, ``train-labels-idx1-ubyte[.gz]``.

    Their companions ``t10k-...``, where they are there, are the official test part. Unsigned bytes are divided by 255,
    values of the format's other types are taken as they are. ``examples`` reads so many of either part, evenly spread.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise CaelabError(f"no folder at {folder}; give the folder that holds train-images-idx3-ubyte[.gz]")
    images, labels = _pair(folder, "train", examples)
    held_out = 0
    if any(_find(folder, name) for name in _names("t10k")):
        test_images, test_labels = _pair(folder, "t10k", examples, images)
        images, labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
        held_out = len(test_images)
    flat = images.reshape(len(images), -1)
    return Samples(
        flat / np.float32(255) if flat.dtype == np.uint8 else flat, labels, images.shape[1:], official_test=held_out
    )


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _pair(
    folder: Path, part: str, examples: int | None, like: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images (n, height, width), in shape and type as others if there are any, and labels (n,)."""
    image_file, label_file = (_existing(folder, name) for name in _names(part))
    images, labels = read_idx(image_file, 3, examples), read_idx(label_file, 1, examples)
    image_count, label_count = _read_layout(image_file, 3).shape[0], _read_layout(label_file, 1).shape[0]
    if image_count != label_count:
        raise CaelabError(
            f"expected one label for each image, but {image_file} holds {image_count} images and "
            f"{label_file} {label_count} labels; replace the wrong one"
        )
    if like is not None and images.shape[1:] != like.shape[1:]:
        raise CaelabError(
            f"{image_file}: expected images of shape {like.shape[1:]}, as in the training part, "
            f"but {images.shape[1:]} came"
        )
    if like is not None and images.dtype != like.dtype:
        raise CaelabError(
            f"{image_file}: expected values of type {like.dtype.name}, as in the training part, "
            f"but {images.dtype.name} came"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path | None:
    """The file of that name, or with a full stop before ``idx``, or of another type (``...-idx3-float``), if any."""
    dotted = name.replace("-idx", ".idx")  # some copies are named train-images.idx3-ubyte
    found = [folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz")]
    for stem in (name, dotted):
        others = folder.glob(f"{stem.removesuffix('-ubyte')}*")
        found += sorted(path for path in others if path.suffix in ("", ".gz") or path.suffix.startswith(".idx"))
    return next((path for path in found if path.is_file()), None)


def _existing(folder: Path, name: str) -> Path:
    found = _find(folder, name)
    if found is None:
        raise CaelabError(f"{folder} lacks {name} (or {name}.gz); put it there, or give the folder that holds it")
    return found


def _read_layout(path: Path, dimensions: int) -> Layout:
    """The shape and the type of the values of an IDX file, gzipped or not, by its header.

    Raises:
        CaelabError: it cannot be read, or its magic number is not that of so many dimensions.
    """
    with _opened(path) as stream:
        return _layout(path, stream, dimensions)


def read_idx(path: Path, dimensions: int, examples: int | None = None) -> NDArray[Any]:
    """The array of one IDX file, gzipped or not, or ``examples`` of it, evenly spread.

    Raises:
        CaelabError: it cannot be read, its magic number is not that of so many dimensions, its length is not
            what its header says, or the memory does not hold what it says.
    """
    with _opened(path) as stream:
        layout = _layout(path, stream, dimensions)
        if 4 + 4 * dimensions + layout.size > _most(path):
            raise _truncated(path, layout)
        check_room(f"{path}, {layout.shape} of {layout.dtype.name},", layout.values(examples), layout.dtype)
        try:
            found = read_examples(stream, layout, examples)
        except EOFError as error:
            raise _truncated(path, layout) from error
        if more := len(stream.read(2**16)):
            length = f"{'at least ' * (more == 2**16)}{layout.size + more}"
            raise _wrong_length(path, "too long", layout, length)
    return found


def _layout(path: Path, stream: BinaryIO, dimensions: int) -> Layout:
    start = stream.read(4)
    kind = start[2] if len(start) == 4 and start[:2] == b"\0\0" and start[2] in TYPES else BYTES
    expected, found = (kind << 8) + dimensions, int.from_bytes(start, "big")
    if len(start) < 4 or found != expected:
        raise CaelabError(
            f"{path} is no IDX file of {dimensions} dimension(s): expected the magic number {expected}, "
            f"found {found if len(start) == 4 else f'{len(start)} bytes in all'}; give an IDX file of that shape"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise CaelabError(
            f"{path} is truncated: expected a header of {4 + 4 * dimensions} bytes, found {4 + len(sizes)} in all"
        )
    layout = Layout(struct.unpack(f">{dimensions}I", sizes), np.dtype(TYPES[kind]))
    if 0 in layout.shape:
        raise CaelabError(f"{path} holds no examples: its header says {layout.shape}; give a file with some")
    return layout


def _truncated(path: Path, layout: Layout) -> CaelabError:
    """The error for a file that is shorter than its header says; where it cannot even be unpacked, that one."""
    return _wrong_length(path, "truncated", layout, str(_length(path) - 4 - 4 * len(layout.shape)))


def _wrong_length(path: Path, how: str, layout: Layout, found: str) -> CaelabError:
    big = f" ({sized(layout.size)})" if layout.size > 2**20 else ""
    return CaelabError(
        f"{path} is {how}: its header {layout.shape} needs {layout.size} bytes{big}, found {found}; get the file again"
    )


def _packed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def _most(path: Path) -> int:
    """The most bytes that the file can hold once it is unpacked."""
    return path.stat().st_size * (MOST_PACKED if _packed(path) else 1)


def _length(path: Path) -> int:
    """The bytes that the file holds once it is unpacked, counted block by block up to 1 GiB."""
    with _opened(path) as stream:
        return sum(len(stream.read(2**20)) for _ in range(2**10))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with gzip.open(path) if _packed(path) else path.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except (OSError, EOFError, zlib.error) as error:
        raise CaelabError(f"{path} cannot be read ({error}): expected a whole IDX file; get it again") from error
