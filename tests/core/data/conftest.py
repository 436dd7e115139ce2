import gzip
import struct

import numpy as np
import pytest


@pytest.fixture
def idx_bytes():
    """The bytes of an IDX file, written here independently of the reader: ``idx_bytes(array)``."""

    def encode(array):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
        return header + bytes(int(value) for value in array.ravel())

    return encode


@pytest.fixture
def family(tmp_path, idx_bytes):
    """A small folder in the manner of MNIST, 12 images to train and 5 to test, and its arrays."""
    folder = tmp_path / "family"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("t10k", 5)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return folder, arrays
