"""Data that stay in a file, against the same data in memory."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from caelab import CaelabError, load_dataset, load_run, recipe_config, train
from caelab.data.given import as_dataset
from caelab.data.mapped import in_float32

SPLITS = (60, 20, 20)


@pytest.fixture(params=["float32", "uint8", "float64"])
def saved(request, tmp_path):
    """Images in a file, and what they are in float32."""
    values = np.random.default_rng(0).random((100, 4, 5))
    values = (255 * values).astype("uint8") if request.param == "uint8" else values.astype(request.param)
    np.save(tmp_path / "x.npy", values)
    return tmp_path / "x.npy", (values / np.float32(255) if request.param == "uint8" else values).astype("float32")


def small(**more):
    return recipe_config("cae", ["model.hidden=[6]", "training.epochs=3", "training.batch_size=16"], **more)


def test_a_mapped_file_is_the_same_data_set(saved):
    path, values = saved
    mapped = load_dataset("memmap", path=str(path), splits=SPLITS)
    read = load_dataset("npy", path=str(path), splits=SPLITS)
    assert mapped.mapped
    assert not read.mapped
    assert mapped.content_hash == read.content_hash
    assert torch.equal(mapped.inputs, torch.from_numpy(values.reshape(100, 20)))
    assert mapped.image_shape == (4, 5)


def test_a_run_is_the_same_in_every_bit(saved, tmp_path):
    path, _ = saved
    runs = [
        train(small(dataset={"kind": f"{kind}:{path}", "splits": SPLITS}), out=tmp_path) for kind in ("npy", "memmap")
    ]
    for name, value in runs[0].model.state_dict().items():
        assert torch.equal(runs[1].model.state_dict()[name], value), name
    assert runs[0].history == runs[1].history
    assert load_run(runs[1].path).dataset.mapped


def test_an_array_that_is_mapped_in_python_stays_in_its_file(saved):
    path, values = saved
    data = as_dataset(np.load(path, mmap_mode="r")[10:], splits=(50, 20, 20))
    assert data.mapped
    assert torch.equal(data.inputs, torch.from_numpy(values[10:].reshape(90, 20)))


def test_what_is_written_into_the_data_does_not_reach_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10, 3), "float32"))
    in_float32(np.load(tmp_path / "x.npy", mmap_mode="r+"))[:] = 7
    assert (np.load(tmp_path / "x.npy") == 1).all()


class Stream(IterableDataset):
    """Batches that come once, in their order."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __iter__(self):
        return iter(self.inputs)


LOADERS = {
    "shuffled": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True),
    "in order": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=100),
    "alone": lambda x, y: DataLoader(TensorDataset(x), batch_size=7),
    "stream": lambda x, y: DataLoader(Stream(x), batch_size=7),
    "iterator": lambda x, y: zip(torch.split(x, 9), torch.split(y, 9), strict=True),
    "bytes": lambda x, y: iter([(255 * x).round().to(torch.uint8)]),
    "images": lambda x, y: DataLoader(TensorDataset(x.reshape(-1, 1, 4, 5), y), batch_size=8),
}


@pytest.mark.parametrize("name", LOADERS)
def test_what_yields_batches_is_a_data_set(name):
    x, y = torch.rand(100, 20, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3
    x = (255 * x).round() / 255
    data = as_dataset(LOADERS[name](x, y), splits=SPLITS)
    assert data.mapped
    torch.testing.assert_close(data.inputs, x, rtol=0, atol=1e-7)
    assert (data.labels is None) == (name in ("alone", "stream", "bytes"))
    assert data.labels is None or torch.equal(data.labels, y)
    assert data.image_shape == ((4, 5) if name == "images" else None)


def test_training_on_a_loader_is_training_on_its_arrays():
    x, y = torch.rand(100, 20, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3
    loader = DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)
    runs = [train(small(), dataset=data, splits=SPLITS) for data in (loader, (x, y))]
    assert torch.equal(runs[0].model.encode[0].weight, runs[1].model.encode[0].weight)


def test_colour_images_have_their_channels_last():
    x = torch.rand(30, 3, 4, 5)
    data = as_dataset(DataLoader(TensorDataset(x), batch_size=8), splits=(10, 10, 10))
    assert data.image_shape == (4, 5, 3)
    assert torch.equal(data.inputs, x.permute(0, 2, 3, 1).reshape(30, 60))


WRONG = {
    "no batch": (lambda: iter([]), "but no batch came"),
    "no array": (lambda: iter(["ab"]), "expected each batch as inputs (batch, ...), or as a pair of these and labels"),
    "one dimension": (lambda: iter([torch.zeros(3)]), "but Tensor came"),
    "two shapes": (lambda: iter([torch.zeros(3, 2), torch.zeros(3, 4)]), "but one of (4,) came after (2,)"),
    "labels of some": (
        lambda: iter([(torch.zeros(3, 2), torch.zeros(3).long()), torch.zeros(4, 2)]),
        "but 3 labels came for 7 examples",
    ),
    "not a number": (lambda: iter([torch.full((3, 2), torch.nan)]), "6 of 6 values are NaN or infinite, the first"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_batches_are_told(name):
    make, told = WRONG[name]
    with pytest.raises(CaelabError) as error:
        as_dataset(make(), splits=(1, 1, 1))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_told(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CaelabError, match="cannot be read: it is truncated"):
        load_dataset("memmap", path=str(path))


def test_a_temporary_folder_without_room_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(CaelabError, match="none cannot be"):
        as_dataset(iter([torch.zeros(3, 2)]), splits=(1, 1, 1))


LARGE = """
import re, sys
from caelab import hookimpl, recipe_config, train

def taken():
    return 1024 * int(re.search("RssAnon:\\s*(\\d+)", open("/proc/self/status").read())[1])

class Watch:
    most = 0

    @hookimpl
    def before_epoch(self, epoch):
        self.most = max(self.most, taken())

    @hookimpl
    def after_batch(self, epoch):
        self.most = max(self.most, taken())

settings = ["model.hidden=[4]", "training.epochs=1", "training.batch_size=1000"]
watch = Watch()
train(recipe_config("ae", settings, dataset={"kind": "digits"}), observers={"watch": watch})
before, watch.most = taken(), 0
splits = [90_000, 1000, 1000]
train(recipe_config("ae", settings, dataset={"kind": sys.argv[1], "splits": splits}), observers={"watch": watch})
print(watch.most - before)
"""


def grown(kind):
    """The memory that training takes more than with few data, in bytes."""
    return int(subprocess.run([sys.executable, "-c", LARGE, kind], check=True, capture_output=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_keeps_the_data_out_of_memory(tmp_path):
    """160 MB of data in a file: in memory they are there twice, once in the order of the epoch."""
    large = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (100_000, 400))
    large[:, 0] = 1
    large.flush()
    assert grown(f"npy:{tmp_path / 'x.npy'}") > 300e6
    assert grown(f"memmap:{tmp_path / 'x.npy'}") < 40e6
