"""IDX files, the format of MNIST and its family.

A file is the bytes ``0 0 8 k`` (8: unsigned bytes, k: the number of dimensions), the k sizes as big-endian 32-bit
numbers, and the values in row-major order; it may be gzipped (LeCun, Cortes and Burges, the MNIST database).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caelab.data.samples import FilePath, Samples, describes
from caelab.errors import CaelabError

GZIP_MAGIC = b"\x1f\x8b"


@describes("as in the files", "height x width", "the MNIST family's IDX files, gzipped or not", "FOLDER")
def idx(path: FilePath) -> Samples:
    """A folder of IDX files named as MNIST's: ``train-images-idx3-ubyte[.gz]``, ``train-labels-idx1-ubyte[.gz]``.

    Their companions ``t10k-...``, where they are there, are the official test part. Pixels are divided by 255.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise CaelabError(f"no folder at {folder}; give the folder that holds train-images-idx3-ubyte[.gz]")
    images, labels = _pair(folder, "train")
    held_out = 0
    if any(_find(folder, name) for name in _names("t10k")):
        test_images, test_labels = _pair(folder, "t10k", images.shape[1:])
        images, labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
        held_out = len(test_images)
    flat = images.reshape(len(images), -1) / np.float32(255)
    return Samples(flat, labels, images.shape[1:], official_test=held_out)


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _pair(folder: Path, part: str, shape: tuple[int, ...] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, height, width), of a given shape if any, and labels (n,)."""
    image_file, label_file = (_existing(folder, name) for name in _names(part))
    images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise CaelabError(
            f"expected one label for each image, but {image_file} holds {len(images)} images and "
            f"{label_file} {len(labels)} labels; replace the wrong one"
        )
    if shape and images.shape[1:] != shape:
        raise CaelabError(
            f"{image_file}: expected images of shape {shape}, as in the training part, but {images.shape[1:]} came"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # some copies are named train-images.idx3-ubyte
    found = (folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz"))
    return next((path for path in found if path.is_file()), None)


def _existing(folder: Path, name: str) -> Path:
    found = _find(folder, name)
    if found is None:
        raise CaelabError(f"{folder} lacks {name} (or {name}.gz); put it there, or give the folder that holds it")
    return found


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of one IDX file of unsigned bytes, gzipped or not.

    Raises:
        CaelabError: it cannot be read, its magic number is not that of so many dimensions, or its length is not
            what its header says.
    """
    content = _content(path)
    header = 4 + 4 * dimensions
    expected = 0x0800 + dimensions
    found = int.from_bytes(content[:4], "big")
    if len(content) < 4 or found != expected:
        raise CaelabError(
            f"{path} is no IDX file of unsigned bytes in {dimensions} dimension(s): expected the magic number "
            f"{expected}, found {found if len(content) >= 4 else f'{len(content)} bytes in all'}; get the file again"
        )
    if len(content) < header:
        raise CaelabError(f"{path} is truncated: expected a header of {header} bytes, found {len(content)} in all")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(sizes):
        raise CaelabError(
            f"{path} is {'truncated' if len(content) - header < math.prod(sizes) else 'too long'}: its header "
            f"{sizes} needs {math.prod(sizes)} bytes, found {len(content) - header}; get the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == GZIP_MAGIC else content
    except (OSError, EOFError, zlib.error) as error:
        raise CaelabError(f"{path} cannot be read ({error}): expected a whole IDX file; get it again") from error
