"""Folders that ``datasets`` of Hugging Face wrote: read without it to the numbers that it was given."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caelab.data import load_dataset
from caelab.errors import CaelabError
from tests.core.data.saved_by_datasets.make import NAMES, numbers

SAVED = Path(__file__).parent / "saved_by_datasets"
HERE = numbers()
KINDS = [place % 3 for place in range(24)]


def loaded(name, **options):
    return load_dataset(f"hf:{SAVED / name}", **options)


def equal(found, inputs):
    np.testing.assert_array_equal(found.numpy(), inputs.reshape(len(inputs), -1))


def test_pictures_with_the_names_of_their_classes():
    found = loaded("images")
    assert found.image_shape == (4, 3)
    equal(found.inputs, HERE["images"] / np.float32(255))
    assert found.labels.tolist() == KINDS
    assert found.label_names == tuple(NAMES)  # in the order of the features, not of the alphabet
    colour = loaded("colour")
    assert colour.image_shape == (4, 3, 3)
    equal(colour.inputs, HERE["colour"] / np.float32(255))


def test_splits_are_the_parts_of_the_data():
    two = loaded("two")
    assert sorted(two.test.tolist()) == [*range(18, 24)]
    equal(two.inputs, HERE["images"] / np.float32(255))
    three = loaded("three")
    columns = np.column_stack([HERE["a"], HERE["b"]]).astype("float32")
    for part, rows in (("train", slice(8, 20)), ("valid", slice(3, 8)), ("test", slice(0, 3))):
        equal(getattr(three, f"{part}_inputs"), columns[rows])
    assert three.label_names == ("u", "v")
    assert [len(part) for part in (lambda d: (d.train, d.valid, d.test))(loaded("three", examples=10))] == [6, 3, 1]
    equal(loaded("three", split="validation", splits=(3, 1, 1)).inputs, columns[3:8])


def test_shards_arrays_and_columns_that_are_chosen():
    order = loaded("shuffled").inputs[:, 0].numpy()
    np.testing.assert_array_equal(np.sort(order), np.sort(HERE["a"].astype("float32")))
    assert not np.array_equal(order, HERE["a"].astype("float32"))
    arrays = loaded("arrays")
    assert arrays.image_shape == (4, 3)
    equal(arrays.inputs, HERE["arrays"] / np.float32(255))
    equal(loaded("vectors", inputs="v").inputs, HERE["vectors"])
    equal(loaded("arrays", examples=4, splits=(2, 1, 1)).inputs, HERE["arrays"][::3] / np.float32(255))


def refused(name, *words, **options):
    with pytest.raises(CaelabError) as caught:
        load_dataset(f"hf:{name}", **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_what_cannot_be_told_is_refused(tmp_path):
    refused(SAVED / "vectors", "expected numbers in the column id, but string came, as 'n0'", "dataset.inputs=[a,b]")
    refused(SAVED / "odd", "expected the splits train and test", "train, unsupervised came", "dataset.split=train")
    refused(SAVED / "two", "unknown split 'tst'; did you mean 'test'", split="tst")
    refused(SAVED / "images", "is not divided into splits", split="train")
    refused(SAVED, "holds neither state.json nor dataset_dict.json")
    refused(tmp_path / "none", "which does not exist")
    refused(SAVED / "make.py", "which is a file")


@pytest.mark.parametrize("damage", ["state.json", "dataset_info.json", "cut", "lost", "text"])
def test_damaged_folders_are_refused(tmp_path, damage):
    shutil.copytree(SAVED / "images", tmp_path / "saved")
    data = next((tmp_path / "saved").glob("*.arrow"))
    content = data.read_bytes()
    if damage.endswith("json"):
        (tmp_path / "saved" / damage).write_text("{")
    elif damage == "lost":
        data.unlink()
    else:
        data.write_bytes(content[: len(content) // 2] if damage == "cut" else b"hello, world, hello, world")
    refused(tmp_path / "saved", "saved")


def test_pictures_of_two_sizes_and_missing_ones_are_refused(tmp_path):
    import io

    import pyarrow as pa
    from PIL import Image

    def saved(cells):
        folder = tmp_path / "saved"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        table = pa.table({"image": pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))})
        with pa.OSFile(str(folder / "d.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "d.arrow"}], "_split": None}))
        (folder / "dataset_info.json").write_text(json.dumps({"features": {"image": {"_type": "Image"}}}))
        return folder

    def png(*shape):
        stream = io.BytesIO()
        Image.fromarray(np.zeros(shape, np.uint8)).save(stream, "png")
        return {"bytes": stream.getvalue(), "path": None}

    refused(saved([png(4, 3), png(5, 3)]), "expected images of one size", "is 5 x 3 and the first 4 x 3")
    refused(saved([png(4, 3), {"bytes": None, "path": None}]), "there is none")
    refused(saved([png(4, 3), {"bytes": b"no picture", "path": None}]), "is no image that can be read")
    refused(saved([None, png(4, 3)]), "column image")
    Image.fromarray(np.full((4, 3), 51, np.uint8)).save(tmp_path / "x.png")
    found = load_dataset(f"hf:{saved([{'bytes': None, 'path': str(tmp_path / 'x.png')}] * 5)}")
    assert found.value_range == pytest.approx((0.2, 0.2))


LIVE = """
import sys
from pathlib import Path
from tests.core.data.saved_by_datasets.make import made, write
import caelab
from caelab.data.given import as_dataset
folder = Path(sys.argv[1])
write(folder)
for name, given in made().items():
    if name in ("vectors", "odd"):
        continue
    stored = caelab.load_dataset(f"hf:{folder / name}", splits=None)
    known = caelab.load_dataset(f"hf:{sys.argv[2]}/{name}")
    here = as_dataset(given)
    assert stored.content_hash == here.content_hash == known.content_hash, name
    assert stored.test.sort().values.tolist() == here.test.sort().values.tolist(), name
import datasets
for wrong in (datasets.IterableDataset.from_generator(lambda: iter([{"a": 1}])), made()["vectors"]):
    try:
        as_dataset(wrong)
    except caelab.CaelabError as error:
        print(error)
cfg = {"label": "a", "seed": 0, "dataset": {"kind": "digits"}, "model": {"kind": "autoencoder", "hidden": [3]},
       "training": {"reconstruction": "squared-error", "epochs": 1, "optimizer": "adam", "learning_rate": 0.01,
                    "batch_size": 9}}
print(caelab.train(cfg, dataset=made()["two"]).dataset.label_names)
"""


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is not installed")
def test_the_package_itself_writes_what_is_read_and_its_objects_are_taken(tmp_path):
    words = [sys.executable, "-W", "ignore", "-c", LIVE, str(tmp_path), str(SAVED)]
    environment = {**os.environ, "PYTHONWARNDEFAULTENCODING": ""}
    root = SAVED.parents[3]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "load it without streaming" in done.stdout
    assert "('owl', 'cat', 'dog')" in done.stdout
