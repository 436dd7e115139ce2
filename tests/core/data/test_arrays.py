import numpy as np
import pytest

from caelab.data import load_dataset
from caelab.data.arrays import npy, npz
from caelab.errors import CaelabError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("key", ["x", "inputs", "X"])
@pytest.mark.parametrize("label_key", ["y", "labels", None])
def test_npz_finds_inputs_and_labels_by_their_usual_names(tmp_path, key, label_key):
    x, y = RNG.random((20, 6)), RNG.integers(0, 3, 20)
    np.savez(tmp_path / "a.npz", **{key: x, "meta": np.zeros(3)}, **({label_key: y} if label_key else {}))
    dataset = load_dataset(f"npz:{tmp_path / 'a.npz'}")
    np.testing.assert_array_equal(dataset.inputs.numpy(), x.astype("float32"))
    assert dataset.labels is None if label_key is None else dataset.labels.tolist() == y.tolist()
    assert dataset.image_shape is None


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((9, 5, 4), (5, 4)), ((9, 5, 4, 1), (5, 4)), ((9, 5, 4, 3), (5, 4, 3)), ((9, 7), None)],
)
def test_images_are_flattened_and_their_shape_is_kept(tmp_path, shape, image_shape):
    x = RNG.random(shape, dtype="float32")
    np.save(tmp_path / "x.npy", x)
    dataset = load_dataset(f"npy:{tmp_path / 'x.npy'}")
    assert dataset.image_shape == image_shape
    assert dataset.inputs.numpy().tobytes() == x.tobytes()  # row-major


@pytest.mark.parametrize("compressed", [np.savez, np.savez_compressed])
def test_unsigned_bytes_are_divided_by_255_and_nothing_else_is(tmp_path, compressed):
    bytes_, floats = np.array([[0, 51], [255, 1]], np.uint8), np.array([[0, 51], [255, 1]], np.float64)
    compressed(tmp_path / "b.npz", x=bytes_)
    compressed(tmp_path / "f.npz", x=floats)
    compressed(tmp_path / "i.npz", x=floats.astype(int))
    np.testing.assert_array_equal(npz(str(tmp_path / "b.npz")).inputs, (floats / 255).astype("float32"))
    np.testing.assert_array_equal(npz(str(tmp_path / "f.npz")).inputs, floats)
    np.testing.assert_array_equal(npz(str(tmp_path / "i.npz")).inputs, floats)


def test_values_outside_0_and_1_are_loaded_and_their_range_told(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[-3.0, 0], [1, 2], [0, 7]]))
    assert load_dataset(f"npy:{tmp_path / 'x.npy'}").value_range == (-3.0, 7.0)


def test_nan_is_refused_by_count_and_place(tmp_path):
    x = np.zeros((10, 2, 2))
    x[4, 1, 0] = np.nan
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(
        CaelabError, match=r"x.npz': .* 1 of 40 values are NaN or infinite, the first in example 4, input 2"
    ):
        load_dataset(f"npz:{tmp_path / 'x.npz'}")


def refused(loader, path, *words):
    with pytest.raises(CaelabError) as caught:
        loader(str(path))
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("loader", [npy, npz])
def test_a_missing_file_is_named(tmp_path, loader):
    refused(loader, tmp_path / "none", f"no file at {tmp_path / 'none'}")
    refused(loader, tmp_path, "cannot be read")


@pytest.mark.parametrize("loader", [npy, npz])
def test_other_files_are_refused_by_their_first_bytes(tmp_path, loader):
    path = tmp_path / "text"
    path.write_bytes(b"hello, world")
    refused(loader, path, "expected it to begin with", "found b'he")
    path.write_bytes(b"")
    refused(loader, path, "found b''")


def test_npy_and_npz_are_told_apart(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    refused(npz, tmp_path / "x.npy", "is no .npz file", "numpy.savez")
    np.savez(tmp_path / "x.npz", x=np.eye(3))
    refused(npy, tmp_path / "x.npz", "is no .npy file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path, share):
    np.save(tmp_path / "x.npy", np.zeros((50, 10)))
    np.savez(tmp_path / "x.npz", x=np.zeros((50, 10)))
    for loader, path in ((npy, tmp_path / "x.npy"), (npz, tmp_path / "x.npz")):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        refused(loader, path, "cannot be read", "truncated")


def test_a_damaged_member_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=RNG.random((50, 10)))
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    refused(npz, path, "cannot be read")


def test_python_objects_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    np.save(tmp_path / "x.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([[Trap()]], dtype=object))
    refused(npy, tmp_path / "x.npy", "Python objects, which are never loaded")
    refused(npz, tmp_path / "x.npz", "Python objects, which are never loaded")


def test_arrays_that_cannot_be_found_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.eye(3), other=np.eye(3))
    refused(
        npz,
        path,
        "expected one array named x or inputs or X",
        "found images (3 x 3), other (3 x 3)",
        "as in npz:x.npz#images",
    )
    np.savez(path, x=np.eye(3), X=np.eye(3))
    refused(npz, path, "found x (3 x 3), X (3 x 3)")
    np.savez(path, x=np.eye(3), y=np.arange(3), labels=np.arange(3))
    refused(npz, path, "found y, labels")
    np.savez(path)
    refused(npz, path, "found none")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(5), "but (5,) came"),
        (np.zeros(()), "but () came"),
        (np.zeros((5, 3, 32, 32)), "move the channels last"),
        (np.zeros((2, 2, 2, 2, 2)), "but (2, 2, 2, 2, 2) came"),
        (np.zeros((5, 2), complex), "real numbers, but complex128"),
        (np.array([["a"]]), "real numbers, but <U1"),
        (np.zeros((5, 2), "datetime64[s]"), "real numbers, but datetime64[s]"),
    ],
)
def test_arrays_of_other_shapes_and_types_are_refused(tmp_path, array, words):
    np.save(tmp_path / "x.npy", array)
    refused(npy, tmp_path / "x.npy", words)
