"""Tables in memory, of pandas, polars, Arrow and Hugging Face: read as their files are."""

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
import torch

import caelab
from caelab.data import load_dataset
from caelab.data.given import as_dataset
from caelab.errors import CaelabError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
KINDS = np.array(["owl", "cat", "dog", "ant"])[np.arange(40) % 4]
TABLE = pd.DataFrame(X, columns=list("abc"))
CONFIG = {
    "label": "small",
    "seed": 0,
    "dataset": {"kind": "digits", "standardise": True},
    "model": {"kind": "autoencoder", "hidden": [2], "output": "identity"},
    "training": {
        "reconstruction": "squared-error",
        "optimizer": "adam",
        "epochs": 1,
        "learning_rate": 0.01,
        "batch_size": 50,
    },
}


@pytest.mark.parametrize("column", ["label", "Labels", "class", "target", "y"])
def test_a_table_with_a_column_of_labels_is_as_its_text_file(tmp_path, column):
    table = TABLE.assign(**{column: KINDS})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    found = as_dataset(table)
    for same in (load_dataset(tmp_path / "a.csv"), load_dataset(tmp_path / "a.parquet"), as_dataset((TABLE, KINDS))):
        assert same.content_hash == found.content_hash
    assert found.label_names == ("ant", "cat", "dog", "owl")
    assert found.inputs.shape == (40, 3)


def test_labels_that_are_given_count_more_than_a_column_of_that_name():
    table = TABLE.assign(y=RNG.normal(size=40))
    assert as_dataset((table, KINDS)).inputs.shape == (40, 4)
    assert as_dataset((table, None)).labels is None
    with pytest.raises(CaelabError, match=r"or give the inputs alone, as in \(table, None\)"):
        as_dataset(table)
    with pytest.raises(CaelabError, match="expected numbers in every column, but other holds others"):
        as_dataset(TABLE.assign(y=KINDS, other=KINDS))


@pytest.mark.parametrize("ordered", [True, False])
def test_categories_keep_their_order_if_they_have_one(ordered):
    order = ["owl", "dog", "cat", "ant", "unused"]
    kinds = pd.Categorical(KINDS, categories=order, ordered=ordered)
    for given in (TABLE.assign(y=kinds), (TABLE, pd.Series(kinds)), (X, kinds)):
        found = as_dataset(given)
        assert found.label_names == (tuple(order) if ordered else ("ant", "cat", "dog", "owl"))
        assert [found.label_names[label] for label in found.labels] == KINDS.tolist()
    numbers = pd.Categorical(np.arange(40) % 3 + 5, ordered=ordered)
    assert as_dataset((X, numbers)).labels.tolist() == (np.arange(40) % 3 + 5).tolist()
    kinds = pd.Series(kinds)
    kinds[3] = None
    with pytest.raises(CaelabError, match="label"):
        as_dataset((X, kinds))


def test_names_with_numbers_are_in_the_order_of_these():
    names = [f"class{place}" for place in (10, 9, 2)] * 10
    assert as_dataset((X[:30], names)).label_names == ("class2", "class9", "class10")


@pytest.mark.parametrize("make", [polars.from_pandas, pa.Table.from_pandas])
def test_tables_of_polars_and_arrow(make):
    table = TABLE.assign(label=KINDS)
    assert as_dataset(make(table)).content_hash == as_dataset(table).content_hash
    run = caelab.train(CONFIG, dataset=make(table))
    assert run.dataset.scaling.kind == "standardise"
    assert run.record["data"]["label_names"] == ["ant", "cat", "dog", "owl"]
    with pytest.raises(CaelabError, match=r"the table: expected numbers in the column other, but .*, as 'owl'"):
        as_dataset(make(table.assign(other=KINDS)))


def test_what_people_train_on_gives_one_data_set(tmp_path):
    """Arrays, tables, pairs, tensors, loaders and maps of the same numbers are the same examples."""
    numbers = np.arange(40) % 4
    single = X.astype("float32")
    np.save(tmp_path / "x.npy", single)
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(single), torch.from_numpy(numbers))
    given = [
        (single, numbers),
        (TABLE, pd.Series(numbers)),
        TABLE.assign(y=numbers),
        tensors,
        torch.utils.data.DataLoader(tensors, batch_size=7),
        (np.load(tmp_path / "x.npy", mmap_mode="r"), numbers),
    ]
    found = [caelab.train(CONFIG, dataset=each).dataset for each in given]
    for each in found[1:]:
        assert each.content_hash == found[0].content_hash
        torch.testing.assert_close(each.inputs, found[0].inputs)
