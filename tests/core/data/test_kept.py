"""Data from memory that are kept in a folder: the same examples, labels, names, shapes and splits come back."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from caelab.data import Samples, load_dataset, make_dataset
from caelab.data.given import as_dataset, split_hash
from caelab.data.kept import keep
from caelab.errors import CaelabError

RNG = np.random.default_rng(0)
INPUTS = RNG.random((60, 12)).astype(np.float32)
NAMES = np.array(["cat", "dog"])[RNG.integers(0, 2, 60)]
TABLE = pd.DataFrame(INPUTS).rename(columns=str)
GIVEN = {
    "array": INPUTS,
    "bytes": (INPUTS * 255).astype(np.uint8),
    "images": INPUTS.reshape(60, 3, 4),
    "pair": (INPUTS, RNG.integers(0, 3, 60)),
    "names": (INPUTS, NAMES),
    "table": TABLE,
    "labelled table": (TABLE.assign(kind=NAMES), "kind"),
    "tensor": torch.as_tensor(INPUTS),
    "loader": DataLoader(TensorDataset(torch.as_tensor(INPUTS), torch.arange(60) % 2), batch_size=7),
    "own splits": make_dataset("mine", Samples(INPUTS, np.arange(60) % 2), splits=(30, 10, 20), seed=5),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_what_is_loaded_is_what_was_given(given, tmp_path):
    expected = as_dataset(given)
    found = load_dataset(keep(given, tmp_path))
    assert found.content_hash == expected.content_hash
    assert split_hash(found) == split_hash(expected)
    assert found.label_names == expected.label_names
    assert found.mapped == expected.mapped
    assert keep(given, tmp_path)["path"] == str(next(tmp_path.iterdir()))  # the same data lie there once


def test_sizes_of_splits_are_those_asked_for(tmp_path):
    block = keep(INPUTS, tmp_path, splits=(20, 10, 5))
    assert [len(load_dataset(block).train), len(load_dataset(block).test)] == [20, 5]
    assert split_hash(load_dataset(block, seed=3)) == split_hash(as_dataset(INPUTS, splits=(20, 10, 5), seed=3))


def test_a_law_that_no_file_keeps_is_refused(tmp_path):
    with pytest.raises(CaelabError, match="give its name instead"):
        keep(load_dataset("circle"), tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("spoil", ["about.json", "inputs.npy"])
def test_a_damaged_folder_is_told(spoil, tmp_path):
    block = keep((INPUTS, NAMES), tmp_path)
    (next(tmp_path.iterdir()) / spoil).write_bytes(b"{")
    with pytest.raises(CaelabError, match="holds no data that were kept"):
        load_dataset(block)
