"""Files as the libraries write them that people use: read to the same numbers, by independent readers."""

import gzip
import struct

import h5py
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.io
import scipy.sparse
import torch

import caelab
from caelab.data import load_dataset
from caelab.errors import CaelabError
from caelab.runs.recipes import recipe_config
from caelab.runs.run import dataset_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = np.arange(40) % 4 + 1
NAMES = np.array(["owl", "cat", "dog", "ant"])[Y - 1]
TABLE = pd.DataFrame(X, columns=list("abcdef")).assign(label=NAMES)


def matlab73(path, **matrices):
    """A file as MATLAB writes it with -v7.3: HDF5 behind 512 bytes of its own, every matrix with its axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in matrices.items():
            kind = {"f8": "double", "u1": "uint8", "b1": "logical"}[value.dtype.str[1:]]
            stored = value.astype("u1") if kind == "logical" else value
            file.create_dataset(name, data=stored.T).attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: now HDF5 schema 1.00 .".ljust(512, b" "))


def packed_double(name, values):
    """A file of version 5 whose matrix of doubles is stored in bytes, as MATLAB does; the format's tags by hand."""

    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = [
        element(6, struct.pack("<II", 6, 0)),  # flags: of class double
        element(5, struct.pack("<ii", *values.shape)),
        element(1, name.encode()),
        element(2, values.astype("u1").tobytes(order="F")),
    ]
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + element(14, b"".join(parts))


def equal(dataset, x, labels=None, names=None):
    np.testing.assert_array_equal(dataset.inputs.numpy(), np.asarray(x).reshape(len(x), -1).astype("float32"))
    if labels is not None:
        assert dataset.labels.tolist() == list(labels)
    assert dataset.label_names == names


def refused(name, *words, **options):
    with pytest.raises(CaelabError) as caught:
        load_dataset(str(name), **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


# --------------------------------------------------------------------------------------------------------- npz


def test_npz_by_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", first=X, second=X + 1, kinds=Y, words=NAMES)
    equal(load_dataset("npz:a.npz#second", labels="kinds"), X + 1, Y)
    equal(load_dataset("a.npz#first", labels="words"), X, *by_name(NAMES))
    assert load_dataset("npz:a.npz#first", labels=False).labels is None
    refused("npz:a.npz", "found first (40 x 6), second (40 x 6)", "as in npz:a.npz#first")
    refused("npz:a.npz#secnd", "unknown array 'secnd'; did you mean 'second'?")
    refused("npz:a.npz#first", "unknown array 'kind'; did you mean 'kinds'", labels="kind")
    refused("npz:a.npz#first", "expected 40 labels, one for each example, but the shape (40, 6)", labels="second")
    refused("npz:a.npz#words", "expected an array of real numbers")
    refused("npz:a.npz#", "expected a file and the key of an array in it")
    np.savez("one.npz", features=X, target=Y[:, None].astype(float))
    equal(load_dataset("one.npz"), X, Y)
    np.savez("x#1.npz", x=X)
    equal(load_dataset("x#1.npz"), X)


def by_name(names):
    kinds = sorted(set(names))
    return [kinds.index(name) for name in names], tuple(kinds)


def test_npy_takes_labels_of_another_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    equal(load_dataset("x.npy", labels="y.npy"), X, Y)
    equal(load_dataset("memmap:x.npy", labels="y.npy"), X, Y)
    equal(load_dataset("x.npy", labels="y.npy", examples=5), X[::8], Y[::8])
    np.save("short.npy", Y[:-1])
    refused("npy:x.npy", "short.npy: expected 40 labels", labels="short.npy")
    refused("npy:x.npy", "no file at none.npy", labels="none.npy")


# ------------------------------------------------------------------------------------------------------ memmap


@pytest.mark.parametrize("dtype", ["float32", "float64", ">i2", "uint8"])
def test_raw_values_are_mapped_by_the_type_and_shape_that_are_stated(tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    values = RNG.integers(0, 200, (30, 4, 3)).astype(dtype)
    (tmp_path / "x.dat").write_bytes(b"12345678" + values.tobytes())
    found = load_dataset("memmap:x.dat", dtype=dtype, shape=[-1, 4, 3], offset=8)
    assert found.mapped
    assert found.image_shape == (4, 3)
    equal(found, values / 255 if dtype == "uint8" else values)
    equal(load_dataset("memmap:x.dat", dtype=dtype, shape=[30, 12], offset=8), found.inputs)


def test_raw_files_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X.tofile("x.bin")
    refused("memmap:x.bin", "needs both dtype and shape", dtype="float32")
    refused("memmap:x.bin", "expected dtype as numpy calls numbers", dtype="object", shape=[-1, 6])
    refused("memmap:x.bin", "expected dtype as numpy calls numbers", dtype="float23", shape=[-1, 6])
    refused("memmap:x.bin", "[-1, 7] of float64 needs a multiple of", dtype="float64", shape=[-1, 7])
    refused("memmap:x.bin", "[41, 6] of float64 needs 1.922 KiB, but the file has 1.875 KiB", dtype="f8", shape=[41, 6])
    refused("memmap:x.bin", "expected shape as [n, d]", dtype="float64", shape=[40])
    refused("memmap:x.bin", "expected shape as [n, d]", dtype="float64", shape=[40, -1])
    refused("memmap:none.bin", "no file at none.bin", dtype="float64", shape=[-1, 6])
    refused("memmap:x.bin", "expected it to begin with")


# -------------------------------------------------------------------------------------------------------- hdf5


def test_hdf5_by_key_in_groups_and_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = RNG.integers(0, 256, (40, 4, 3), dtype=np.uint8)
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("train/x", data=X, chunks=(7, 6), compression="gzip")
        file["train/y"] = Y
        file["test/images"] = images
        file["test/words"] = [str(name) for name in NAMES]
        file["test/label"] = Y[:, None].astype("f4")
    equal(load_dataset("hdf5:a.h5"), X, Y)
    equal(load_dataset("a.h5#/train/x", examples=10), X[::4], Y[::4])
    found = load_dataset("hdf5:a.h5#test/images")
    equal(found, images / np.float32(255), Y)
    assert found.image_shape == (4, 3)
    equal(load_dataset("hdf5:a.h5#test/images", labels="test/words"), images / np.float32(255), *by_name(NAMES))
    refused("hdf5:a.h5#train/z", "unknown array 'train/z'; did you mean 'train/")
    refused("hdf5:a.h5#test/words", "expected an array of real numbers")
    refused("hdf5:a.h5#train/y", "expected the shape (n, d)")
    refused("hdf5:a.h5", "expected 40 labels", labels="test/images")


def test_a_frame_of_pandas_in_hdf5_and_two_candidates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("two.h5", "w") as file:
        file["b"], file["a"] = X, X
    refused("two.h5", "found a (40 x 6), b (40 x 6)", "as in hdf5:two.h5#a")
    with h5py.File("none.h5", "w"):
        pass
    refused("none.h5", "found none")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_damaged_hdf5_files_are_refused(tmp_path, monkeypatch, share):
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["x"] = np.zeros((500, 30))
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: int(share * len(content))])
    refused("a.h5", "cannot be read", "truncated")
    (tmp_path / "a.h5").write_bytes(b"no such thing")
    refused("a.h5", "is no HDF5 file", "found b'no s'")
    refused("hdf5:.", "cannot be read: expected a file, but it is a folder")
    refused("hdf5:none.h5", "no file at none.h5")


def test_more_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("big.h5", "w") as file:
        file.create_dataset("x", (10**9, 5000), "f4", chunks=(1, 5000))  # no bytes on the disk
    refused("big.h5", "would take", "--set dataset.examples=1000")


def test_a_missing_library_is_told_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"")
    refused(tmp_path / "a.h5", "needs the package h5py", "pip install 'caelab[hdf5]'")


# --------------------------------------------------------------------------------------------------------- mat


@pytest.mark.parametrize("version", ["4", "5", "5 packed", "7.3"])
def test_matlab_matrices_of_every_version(tmp_path, monkeypatch, version):
    monkeypatch.chdir(tmp_path)
    matrices = {"X": X, "y": Y[:, None].astype(float)}
    if version == "7.3":
        matlab73(tmp_path / "a.mat", **matrices)
    else:
        scipy.io.savemat("a.mat", matrices, format=version[0], do_compression=version.endswith("packed"))
    equal(load_dataset("mat:a.mat"), X, Y)  # 1 stays 1
    equal(load_dataset("a.mat#X", examples=8), X[::5], Y[::5])
    equal(load_dataset("a.mat", labels=False), X)
    refused("a.mat#x", "unknown array 'x'; did you mean 'X'")


@pytest.mark.parametrize("recent", [False, True])
def test_images_whose_examples_lie_along_matlabs_last_axis(tmp_path, monkeypatch, recent):
    """As those of the street view house numbers: X is (height, width, channels, n), y is (n, 1)."""
    monkeypatch.chdir(tmp_path)
    images = RNG.integers(0, 256, (5, 4, 3, 12), dtype=np.uint8)
    matrices = {"X": images, "y": np.arange(1.0, 13)[:, None]}
    matlab73(tmp_path / "a.mat", **matrices) if recent else scipy.io.savemat("a.mat", matrices)
    found = load_dataset("a.mat")
    assert found.image_shape == (5, 4, 3)
    equal(found, np.moveaxis(images, 3, 0) / np.float32(255), range(1, 13))
    equal(load_dataset("a.mat", examples=4), np.moveaxis(images, 3, 0)[::3] / np.float32(255), range(1, 13, 3))
    refused("a.mat", "may lie along its first or its last axis", "dataset.axis=last", labels=False)
    equal(load_dataset("a.mat", labels=False, axis="last"), np.moveaxis(images, 3, 0) / np.float32(255))


def test_a_matrix_whose_columns_are_the_examples_is_turned_by_its_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scipy.io.savemat("a.mat", {"X": X.T, "y": Y})
    equal(load_dataset("a.mat"), X, Y)
    equal(load_dataset("a.mat", labels=False, axis="last"), X)


def test_images_that_matlab_flattened_by_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = RNG.random((10, 5, 4, 3))
    flat = np.stack([image.ravel(order="F") for image in images])
    scipy.io.savemat("a.mat", {"X": flat})
    found = load_dataset("a.mat", image_shape=[5, 4, 3], by_columns=True)
    assert found.image_shape == (5, 4, 3)
    equal(found, images)
    assert load_dataset("a.mat", image_shape=[5, 4, 3]).image_shape == (5, 4, 3)
    refused("a.mat", "by_columns needs a matrix", image_shape=[5, 4], by_columns=True)


def test_whole_numbers_that_matlab_packs_into_bytes_are_no_bytes(tmp_path, monkeypatch):
    """MATLAB stores a double that is whole and small as a byte, which must not be divided by 255; nor is a logical."""
    monkeypatch.chdir(tmp_path)
    whole = RNG.integers(0, 200, (20, 3)).astype(float)
    (tmp_path / "a.mat").write_bytes(packed_double("X", whole))
    assert scipy.io.loadmat("a.mat")["X"].dtype == np.uint8
    equal(load_dataset("a.mat"), whole)
    matlab73(tmp_path / "b.mat", X=whole > 100)
    equal(load_dataset("b.mat"), whole > 100)
    scipy.io.savemat("c.mat", {"X": whole > 100})
    equal(load_dataset("c.mat"), whole > 100)


def test_texts_sparse_matrices_and_what_is_no_matrix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = np.array([str(name) for name in NAMES], object)[:, None]
    scipy.io.savemat("a.mat", {"X": scipy.sparse.csc_matrix(np.round(X)), "y": cells, "z": X + 1j, "s": {"f": 1}})
    equal(load_dataset("a.mat#X"), np.round(X), *by_name(NAMES))
    scipy.io.savemat("b.mat", {"X": X, "y": np.array([str(name) for name in NAMES])})
    equal(load_dataset("b.mat"), X, *by_name(NAMES))
    refused("a.mat#z", "expected an array of real numbers, but complex numbers")
    refused("a.mat#s", "expected an array of real numbers")


def test_cells_of_texts_in_version_73(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matlab73(tmp_path / "a.mat", X=X)
    with h5py.File("a.mat", "r+") as file:
        for place, name in enumerate(NAMES):
            file[f"#refs#/{place}"] = np.array([[ord(letter)] for letter in name], "u2")
            file[f"#refs#/{place}"].attrs["MATLAB_class"] = np.bytes_("char")
        references = [[file[f"#refs#/{place}"].ref for place in range(40)]]
        file.create_dataset("y", data=references, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
    equal(load_dataset("a.mat"), X, *by_name(NAMES))


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.9])
def test_damaged_mat_files_are_refused(tmp_path, monkeypatch, share):
    monkeypatch.chdir(tmp_path)
    scipy.io.savemat("a.mat", {"X": np.zeros((100, 9)), "y": Y}, do_compression=True)
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(content[: int(share * len(content))])
    refused("mat:a.mat", "a.mat")
    refused("mat:none.mat", "no file at none.mat")


# ---------------------------------------------------------------------------------------------- parquet, feather


def write(kind, table, path):
    table.to_parquet(path) if kind == "parquet" else table.to_feather(path)


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_a_table_of_pandas(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    write(kind, TABLE, f"a.{kind}")
    equal(load_dataset(f"{kind}:a.{kind}"), X, *by_name(NAMES))
    equal(load_dataset(f"a.{kind}", examples=8), X[::5], *by_name(NAMES[::5]))
    equal(load_dataset(f"a.{kind}", inputs=["c", "a"], divisor=2), X[:, [2, 0]].astype("float32") / 2, *by_name(NAMES))
    found = load_dataset(f"a.{kind}", image_shape=[2, 3])
    assert found.image_shape == (2, 3)
    refused(f"a.{kind}", "expected numbers in the column label, but", "'owl'", label=False)
    refused(f"a.{kind}", "unknown column of labels 'lable'; did you mean 'label'", label="lable")
    refused(f"a.{kind}", "unknown column 'g'", inputs="g")
    refused(f"a.{kind}", "the column a is named twice", inputs=["a", "a"])
    refused(f"a.{kind}", "the column label is named as label, too", inputs=["a", "label"])


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_a_table_of_polars(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    table = polars.DataFrame({**{name: TABLE[name].to_numpy() for name in "abc"}, "y": Y, "cats": NAMES.tolist()})
    table = table.with_columns(table["cats"].cast(polars.Categorical))
    table.write_parquet("a.parquet") if kind == "parquet" else table.write_ipc("a.feather")
    equal(load_dataset(f"a.{kind}", inputs=list("abc")), X[:, :3], Y)
    equal(load_dataset(f"a.{kind}", inputs=list("abc"), label="cats"), X[:, :3], *by_name(NAMES))


def test_ordered_categories_keep_their_order_and_others_are_sorted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = ["owl", "dog", "cat", "ant"]
    for ordered, expected in ((True, order), (False, sorted(order))):
        kinds = pd.Categorical(NAMES, categories=order, ordered=ordered)
        TABLE.assign(label=kinds).to_parquet("a.parquet", row_group_size=7)
        TABLE.assign(label=kinds).to_feather("a.feather")
        for file in ("a.parquet", "a.feather"):
            found = load_dataset(file)
            assert [found.label_names[label] for label in found.labels] == NAMES.tolist()
            assert list(found.label_names) == expected


def test_columns_of_lists_and_tensors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = RNG.integers(0, 256, (40, 4, 3), dtype=np.uint8)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    pyarrow.parquet.write_table(pa.table({"image": tensors, "label": Y}), "a.parquet")
    equal(load_dataset("a.parquet"), images / np.float32(255), Y)
    pyarrow.parquet.write_table(pa.table({"x": X.tolist(), "n": list(range(40))}), "b.parquet")
    equal(load_dataset("b.parquet"), np.column_stack([X, np.arange(40)]))
    nested = pa.table({"image": images.tolist(), "label": Y})
    pyarrow.parquet.write_table(nested, "c.parquet")
    assert load_dataset("c.parquet", divisor=255).image_shape == (4, 3)
    pyarrow.parquet.write_table(pa.table({"x": [[1.0, 2.0]] * 30 + [[1.0]]}), "d.parquet")
    refused("d.parquet", "expected as many values in each row of the column x")


def test_missing_values_in_columns_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pyarrow.parquet.write_table(pa.table({"a": [1.0, None] * 20, "b": [0.0] * 40}), "a.parquet")
    refused("a.parquet", "the column a misses 20 values")
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0] * 20, "y": ["u", None] * 20}), "b.parquet")
    refused("b.parquet", "column y: expected a label in each row, but 20 have none")
    pyarrow.parquet.write_table(pa.table({"a": [1.0, float("nan")] * 20}), "c.parquet")
    refused("c.parquet", "20 of 40 values are NaN or infinite")
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0], "y": [0.5, 1.0]}), "d.parquet")
    refused("d.parquet", "expected labels that are whole numbers or texts, but 0.5 came", "dataset.label=false")
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0], "y": [[1], [2]]}), "l.parquet")
    refused("l.parquet", "column y: expected labels that are whole numbers or texts, but list<")
    TABLE.iloc[:0].to_parquet("e.parquet")
    refused("e.parquet", "expected at least one row")


def test_a_folder_of_parts_is_one_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    for place in range(4):  # part10 stands behind part2
        TABLE.iloc[place * 10 : place * 10 + 10].to_parquet(f"parts/part{[0, 2, 10, 11][place]}.parquet", index=False)
    (tmp_path / "parts" / "_SUCCESS").write_bytes(b"")
    equal(load_dataset("parquet:parts"), X, *by_name(NAMES))
    TABLE.drop(columns="f").to_parquet("parts/part12.parquet")
    refused("parquet:parts", "expected the same columns in each part, but part12.parquet differs by f")
    TABLE.to_parquet("by_label", partition_cols=["label"])
    found = load_dataset("parquet:by_label")
    assert [found.label_names[label] for label in found.labels] == sorted(NAMES)
    (tmp_path / "empty").mkdir()
    refused("parquet:empty", "is a folder without .parquet or .pq files")


def test_an_index_of_pandas_is_no_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.set_index(np.arange(100, 140)).to_parquet("a.parquet")
    equal(load_dataset("a.parquet"), X, *by_name(NAMES))


@pytest.mark.parametrize("kind", ["parquet", "feather"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
def test_damaged_tables_are_refused(tmp_path, monkeypatch, kind, share):
    monkeypatch.chdir(tmp_path)
    write(kind, TABLE, "a")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: int(share * len(content))])
    refused(f"{kind}:a", f"cannot be read as {kind}")
    refused(f"{kind}:none", "no file at none")


# --------------------------------------------------------------------------------------------------------- csv


def test_gzipped_text_is_read_as_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TABLE.to_csv("a.csv.gz", index=False)
    TABLE.to_csv("a.csv", index=False)
    plain, packed = load_dataset("a.csv"), load_dataset("a.csv.gz")
    assert plain.content_hash == packed.content_hash == load_dataset("csv:a.csv.gz").content_hash
    assert load_dataset("a.csv.gz", examples=8).content_hash == load_dataset("a.csv", examples=8).content_hash
    content = (tmp_path / "a.csv.gz").read_bytes()
    for damaged in (content[:-20], content[:300] + b"x" * 50 + content[350:]):
        (tmp_path / "a.csv.gz").write_bytes(damaged)
        refused("a.csv.gz", "cannot be read")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b""))
    refused("a.csv.gz", "cannot be read")


def test_the_column_of_labels_may_be_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"a": X[:, 0], "y": X[:, 1]}).to_csv("a.csv", index=False)
    refused("a.csv", "expected labels that are whole numbers")
    assert load_dataset("a.csv", label=False).inputs.shape == (40, 2)


# --------------------------------------------------------------------------------------------------- everywhere


def test_a_file_stands_wherever_a_data_set_is_named_and_a_change_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file["g/x"], file["g/y"] = X, Y
    small = {"training.epochs": 1, "training.reconstruction": "squared-error", "model.output": "identity"}
    config = recipe_config("cae", [f"{key}={value}" for key, value in small.items()], dataset={"kind": "a.h5#g/x"})
    run = caelab.train(config, out="runs")
    assert torch.equal(caelab.load_run(run.path).dataset.labels, torch.from_numpy(Y))
    before = dataset_of(config).content_hash
    with h5py.File("a.h5", "r+") as file:
        file["g/x"][0, 0] = 99
    assert dataset_of(config).content_hash != before
    with pytest.raises(CaelabError, match="have changed"):
        caelab.load_run(run.path)
