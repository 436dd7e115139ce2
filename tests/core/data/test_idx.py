import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from caelab.data import load_dataset
from caelab.data.downloads import DEBIAN_FASHION_MNIST
from caelab.data.idx import idx, read_idx
from caelab.errors import CaelabError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(array=arrays(np.uint8, array_shapes(max_dims=4, max_side=5)), packed=st.booleans())
def test_any_array_comes_back(array, packed, tmp_path, idx_bytes):
    content = idx_bytes(array)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


def test_a_folder_is_read_whole_with_its_official_test_part_last(family):
    folder, arrays = family
    dataset = load_dataset(f"idx:{folder}", splits=(6, 4, 5))
    pixels = np.concatenate([arrays[IMAGES], arrays["t10k-images-idx3-ubyte"]]).reshape(17, 12)
    np.testing.assert_array_equal(dataset.inputs.numpy(), (pixels / 255).astype("float32"))
    assert dataset.labels.tolist() == [*arrays[LABELS], *arrays["t10k-labels-idx1-ubyte"]]
    assert dataset.image_shape == (4, 3)
    assert sorted(dataset.test.tolist()) == [12, 13, 14, 15, 16]


def test_unpacked_dotted_and_lone_training_files_are_read(family, tmp_path, idx_bytes):
    folder, arrays = family
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "train-images.idx3-ubyte").write_bytes(idx_bytes(arrays[IMAGES]))
    (bare / LABELS).write_bytes(idx_bytes(arrays[LABELS]))
    samples = idx(str(bare))
    np.testing.assert_array_equal(samples.inputs, idx(str(folder)).inputs[:12])
    assert samples.official_test == 0


def refused(folder):
    with pytest.raises(CaelabError) as caught:
        idx(str(folder))
    return str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    assert f"no folder at {tmp_path / 'none'}" in refused(tmp_path / "none")


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_missing_file_is_named(family, part, kind):
    folder, _ = family
    (folder / f"{part}-{kind}-ubyte.gz").unlink()
    assert f"{folder} lacks {part}-{kind}-ubyte" in refused(folder)


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (0, "expected the magic number 2051, found 0 bytes in all"),
        (3, "expected the magic number 2051, found 3 bytes in all"),
        (10, "is truncated: expected a header of 16 bytes, found 10 in all"),
        (16, "is truncated: its header (12, 4, 3) needs 144 bytes, found 0"),
        (159, "is truncated: its header (12, 4, 3) needs 144 bytes, found 143"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_file_is_refused(family, idx_bytes, cut, sentence, packed):
    folder, arrays = family
    content = idx_bytes(arrays[IMAGES])[:cut]
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(content) if packed else content)
    message = refused(folder)
    assert sentence in message
    assert f"{IMAGES}.gz" in message


def test_a_file_that_is_too_long_is_refused(family, idx_bytes):
    folder, arrays = family
    (folder / f"{IMAGES}.gz").write_bytes(idx_bytes(arrays[IMAGES]) + b"\0")
    assert "is too long: its header (12, 4, 3) needs 144 bytes, found 145" in refused(folder)


def test_huge_sizes_in_a_header_are_refused_before_any_memory_is_taken(family):
    folder, _ = family
    (folder / f"{IMAGES}.gz").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    assert "is truncated: its header (4294967295, 4294967295, 4294967295)" in refused(folder)


@pytest.mark.parametrize("magic", [2049, 0x0A03, 0x08030000])
def test_a_wrong_magic_number_is_refused(family, idx_bytes, magic):
    folder, arrays = family
    (folder / f"{IMAGES}.gz").write_bytes(magic.to_bytes(4, "big") + idx_bytes(arrays[IMAGES])[4:])
    assert f"expected the magic number 2051, found {magic}" in refused(folder)


def test_labels_in_the_place_of_images_are_refused(family):
    folder, _ = family
    (folder / f"{IMAGES}.gz").write_bytes((folder / f"{LABELS}.gz").read_bytes())
    assert "expected the magic number 2051, found 2049" in refused(folder)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:-8] + bytes(8), lambda b: b[:20] + b"\xff" * 30])
def test_a_damaged_gzip_is_refused(family, damage):
    folder, _ = family
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert f"{path} cannot be read" in refused(folder)


def test_images_and_labels_must_be_as_many(family, idx_bytes):
    folder, arrays = family
    (folder / f"{LABELS}.gz").write_bytes(idx_bytes(arrays[LABELS][:-1]))
    message = refused(folder)
    assert "holds 12 images" in message
    assert "11 labels" in message


def test_both_parts_must_have_images_of_one_shape(family, idx_bytes):
    folder, _ = family
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((5, 3, 4), np.uint8)))
    assert "expected images of shape (4, 3), as in the training part, but (3, 4) came" in refused(folder)


@pytest.mark.skipif(not Path(DEBIAN_FASHION_MNIST).is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_all_seventy_thousand_images_of_debians_fashion_mnist():
    dataset = load_dataset("fashion-mnist")
    assert dataset.inputs.shape == (70_000, 784)
    assert dataset.image_shape == (28, 28)
    assert dataset.labels.bincount().tolist() == [7000] * 10
    assert dataset.labels[dataset.test].bincount().tolist() == [1000] * 10
    assert dataset.value_range == (0.0, 1.0)
    assert dataset.labels[:5].tolist() == [9, 0, 0, 3, 0]  # ankle boot, T-shirt, T-shirt, dress, T-shirt
