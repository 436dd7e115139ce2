"""Data that stay in a file, against the same data in memory."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)
from torch.utils.data import Dataset as TorchDataset

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
    assert runs[0].metrics == runs[1].metrics
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


def test_changes_of_the_users_own_are_in_the_data(tmp_path):
    """numpy's copy-on-write: what is written into the array is not in its file."""
    np.save(tmp_path / "x.npy", np.ones((10, 3), "float32"))
    values = np.load(tmp_path / "x.npy", mmap_mode="c")
    values[2:4] = 7
    assert torch.equal(as_dataset(values, splits=(4, 3, 3)).inputs, torch.from_numpy(np.array(values)))


@pytest.mark.parametrize("how", ["renamed", "deleted", "replaced"])
def test_a_mapped_array_outlives_the_name_of_its_file(how, tmp_path):
    place, values = tmp_path / "x.npy", np.random.default_rng(0).random((10, 3)).astype("float32")
    np.save(place, values)
    mapped = np.load(place, mmap_mode="r")
    place.rename(tmp_path / "y.npy") if how == "renamed" else place.unlink()
    if how == "replaced":
        np.save(place, values + 1)
    data = as_dataset(mapped, splits=(4, 3, 3))
    assert data.mapped
    assert torch.equal(data.inputs, torch.from_numpy(values))


def test_a_file_that_was_shortened_after_it_was_mapped_is_told(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10_000, 3), "float32"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(CaelabError, match=r"x.npy is shorter than the array \(10000, 3\) that was mapped from it"):
        as_dataset(mapped)


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
    "batches itself": lambda x, y: DataLoader([*zip(x.split(9), y.split(9), strict=True)], batch_size=None),
    "data set": lambda x, y: Subset(TensorDataset(x, y), range(100)),
    "sampler of all": lambda x, y: DataLoader(TensorDataset(x, y), 9, sampler=SubsetRandomSampler(range(100))),
    "empty batch": lambda x, y: iter([(x[:40], y[:40]), (x[:0], y[:0]), (x[40:], y[40:])]),
    "sparse": lambda x, y: iter([(x.to_sparse(), y)]),
    "float labels": lambda x, y: iter([(x, y.double()[:, None])]),
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


def sampled(x, y, **how):
    return DataLoader(TensorDataset(x, y), **({"batch_size": 7} | how))


CHOSEN = {
    "sampler": lambda x, y, few: sampled(x, y, sampler=SubsetRandomSampler(few)),
    "batches of a sampler": lambda x, y, few: sampled(
        x, y, batch_size=1, batch_sampler=BatchSampler(SubsetRandomSampler(few), 4, drop_last=False)
    ),
    "own sampler": lambda x, y, few: sampled(x, y, sampler=few),
    "subset": lambda x, y, few: DataLoader(Subset(TensorDataset(x, y), few), batch_size=7, shuffle=True),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_sampler_chooses_the_examples(name):
    """So are training examples told from test examples in much code: none of the others may come in."""
    x, y = torch.rand(100, 20, generator=torch.Generator().manual_seed(0)), torch.arange(100)
    few = torch.randperm(100, generator=torch.Generator().manual_seed(1))[:30].tolist()
    data = as_dataset(CHOSEN[name](x, y, few), splits=(10, 10, 10))
    assert torch.equal(data.labels, torch.tensor(few))
    assert torch.equal(data.inputs, x[few])


def test_a_sampler_that_draws_again_and_again_is_followed():
    x = torch.arange(100.0)[:, None] / 100
    drawn = RandomSampler(x, replacement=True, num_samples=40, generator=torch.Generator().manual_seed(0))
    data = as_dataset(DataLoader(TensorDataset(x), batch_size=7, sampler=drawn), splits=(20, 10, 10))
    assert len(data.inputs) == 40
    assert len(data.inputs.unique()) < 40


def test_labels_that_are_texts_are_numbered():
    x, words = torch.rand(90, 4), np.array(["b", "a", "c"])[np.arange(90) % 3]
    data = as_dataset(zip(x.split(20), np.split(words, [20, 40, 60, 80]), strict=True), splits=(30, 30, 30))
    assert data.label_names == ("a", "b", "c")
    assert data.labels[:4].tolist() == [1, 0, 2, 1]


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


def failing():
    yield torch.zeros(3, 2)
    yield torch.zeros(3, 2)
    raise OSError("the disk is gone")


class Broken(TorchDataset):
    """A data set whose examples cannot be had."""

    def __len__(self):
        return 3

    def __getitem__(self, place):
        raise KeyError("lost")


WRONG = {
    "no batch": (lambda: iter([]), "but no batch came"),
    "no array": (lambda: iter(["ab"]), "expected each batch as inputs (batch, ...), or as a pair of these and labels"),
    "one dimension": (lambda: iter([torch.zeros(3)]), "but Tensor of torch.float32 (3,) came"),
    "three parts": (lambda: iter([(torch.zeros(3, 2),) * 3]), "but tuple of 3 came"),
    "texts": (
        lambda: iter([np.array([["1", "2"]])]),
        "real numbers in at most 4 dimensions, but ndarray of <U1 (1, 2)",
    ),
    "complex": (lambda: iter([torch.zeros(3, 2).to(torch.complex64)]), "but ndarray of complex64 (3, 2) came"),
    "two types": (
        lambda: iter([torch.zeros(3, 2), torch.zeros(3, 2).to(torch.uint8)]),
        "all of one shape and type, but one of (2,) of unsigned bytes came after (2,)",
    ),
    "labels of another shape": (
        lambda: iter([(torch.zeros(3, 2), torch.eye(3))]),
        "but labels of shape (3, 3) came for 3 examples",
    ),
    "labels that are no numbers": (
        lambda: iter([(torch.zeros(3, 2), torch.tensor([0.5, 1, 2]))]),
        "expected labels that are whole numbers, or texts, but ndarray of float32 (3,) came",
    ),
    "fails": (lambda: failing(), "what yields the batches failed after 2 of them: OSError: the disk is gone"),
    "fails when it is collated": (
        lambda: DataLoader([torch.zeros(2), torch.zeros(3)], batch_size=2),
        "what yields the batches failed after 0 of them: RuntimeError: stack expects each tensor to be equal size",
    ),
    "examples fail": (lambda: Broken(), "what yields the batches failed after 0 of them: KeyError: 'lost'"),
    "two shapes": (
        lambda: iter([torch.zeros(3, 2), torch.zeros(3, 4)]),
        "all of one shape and type, but one of (4,) came after (2,)",
    ),
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
splits, scaled = [90_000, 1000, 1000], dict.fromkeys(sys.argv[2:], True)
large = {"kind": sys.argv[1], "splits": splits, **scaled}
train(recipe_config("ae", settings, dataset=large), observers={"watch": watch})
print(watch.most - before)
"""


def grown(kind, *scaled):
    """The memory that training takes more than with few data, in bytes."""
    return int(subprocess.run([sys.executable, "-c", LARGE, kind, *scaled], check=True, capture_output=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_keeps_the_data_out_of_memory(tmp_path):
    """160 MB of data in a file: in memory they are there twice, once in the order of the epoch."""
    large = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (100_000, 400))
    large[:, 0] = 1
    large.flush()
    assert grown(f"npy:{tmp_path / 'x.npy'}") > 300e6
    assert grown(f"memmap:{tmp_path / 'x.npy'}") < 40e6
    assert grown(f"memmap:{tmp_path / 'x.npy'}", "minmax") < 80e6
