"""The data of charts: what is first shown of a table, which drop-downs there are, and which rows the page holds."""

import gzip
from base64 import b64decode
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from caelab.analysis.columns import Column
from caelab.report import explorer as module
from caelab.report.explorer import explorer, explorers, thinned

RUNS = pd.DataFrame({"model": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1]})


def every_run(**columns):
    """Rows of each run, with these columns."""
    rows = pd.DataFrame(columns)
    return pd.concat([rows.assign(model=model, seed=seed) for model, seed in RUNS.to_numpy()], ignore_index=True)


def rows_of(found):
    return pd.read_csv(StringIO(gzip.decompress(b64decode(found.data)).decode()))


def test_a_column_that_every_run_has_alike_is_x_of_lines():
    found = explorer("mine", every_run(rank=[1, 2, 3], value=[0.3, 0.2, 0.1]), RUNS)
    assert (found.x, found.y, found.kind) == ("rank", "value", "line")
    assert found.selectors == {"seed": ["0", "1"]}


def test_two_numbers_of_each_run_are_points():
    table = RUNS.assign(norm=[1.0, 2.0, 3.0, 4.0], error=[4.0, 3.0, 2.0, 2.0])
    found = explorer("mine", table, RUNS)
    assert (found.x, found.y, found.kind) == ("norm", "error", "points")


def test_numbers_of_examples_stand_in_boxes():
    table = every_run(norm=[1.0, 2.0, 3.0, 4.0])
    table["norm"] += np.arange(len(table)) / 100
    found = explorer("mine", table, RUNS)
    assert (found.x, found.y, found.kind) == ("model", "norm", "box")


def test_what_differs_within_a_run_starts_with_the_value_that_has_most_to_draw():
    table = every_run(role=["example", "tangent", "tangent", "tangent"], rank=[0, 1, 2, 3], value=[np.nan, 3, 2, 1.0])
    family = table.assign(family=table["model"] + "!", flag=[True, False] * 8)
    found = explorer("mine", family, RUNS)
    assert found.first == {"role": "tangent", "flag": "False"}
    assert found.selectors["family"] == ["a!", "b!"]
    assert found.selectors["flag"] == ["True", "False"]
    assert set(rows_of(found)["flag"].astype(str)) == {"True", "False"}


def test_data_sets_and_splits_are_columns_as_any_other():
    runs = pd.concat([RUNS.assign(dataset=d, split=s) for d in ("x", "y") for s in (0, 1)], ignore_index=True)
    found = explorer("mine", runs.assign(rank=1, norm=np.arange(16.0), error=np.arange(16.0)[::-1]), runs)
    assert found.selectors == {"seed": ["0", "1"], "dataset": ["x", "y"], "split": ["0", "1"]}
    assert found.first == {}


def test_headings_are_those_of_the_columns_where_numbers_are_shown_as_they_are():
    said = [Column(name="norm", heading="mean\nnorm"), Column(name="share", heading="share (%)", factor=100)]
    found = explorer("mine", RUNS.assign(norm=[1.0, 2, 3, 4], share=[0.1, 0.2, 0.3, 0.4]), RUNS, said)
    assert {name: heading for name, heading, _ in found.columns}["norm"] == "mean norm"
    assert {name: heading for name, heading, _ in found.columns}["share"] == "share"


def test_a_table_without_numbers_has_none_and_lists_are_left_out():
    assert explorer("mine", RUNS.assign(word="x"), RUNS) is None
    assert explorer("mine", RUNS.assign(value=1.0).head(0), RUNS) is None
    found = explorer("mine", RUNS.assign(norm=[1.0, 2, 3, 4], pixels=[[0.0, 1.0]] * 4), RUNS)
    assert found.left_out == ["pixels"]
    assert "data/mine.parquet" in found.note
    assert "pixels" not in rows_of(found)


def test_the_page_has_every_digit_of_a_small_table():
    chance = np.random.default_rng(0)
    table = every_run(value=chance.normal(size=50), tiny=chance.random(50) * 1e-300, word=["a,b", 'say "x"'] * 25)
    found = explorer("mine", table, RUNS)
    assert (found.rows, found.shown, found.note) == (200, 200, "")
    read = gzip.decompress(b64decode(found.data)).decode()
    assert_frame_equal(pd.read_csv(StringIO(read)), table)


def test_of_a_large_table_each_run_keeps_the_same_places():
    table = every_run(place=range(500), parity=[0, 1] * 250)
    kept = thinned(table, ["model", "seed"], 400)
    places = [sorted(rows["place"]) for _, rows in kept.groupby(["model", "seed"])]
    assert len(kept) == 400
    assert all(each == places[0] and len(each) == 100 for each in places)
    assert 20 < kept["parity"].sum() / 4 < 80
    assert_frame_equal(thinned(table, ["model", "seed"], 400), kept)
    assert len(thinned(table, [], 30)) == 30
    assert len(thinned(table, ["place"], 30)) == 30


def test_what_is_left_out_is_told(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 40)
    found = explorer("mine", every_run(value=np.arange(50.0)), RUNS)
    assert (found.rows, found.shown) == (200, 40)
    assert "40 of 200 rows" in found.note
    assert "The whole table is data/mine.parquet" in found.note


@pytest.mark.parametrize("budget", [3_000, 10_000])
def test_all_tables_together_keep_to_the_budget(budget, monkeypatch):
    chance = np.random.default_rng(0)
    tables = {f"large{n}": every_run(value=chance.normal(size=500)) for n in range(3)}
    tables["small"] = RUNS.assign(norm=[1.0, 2, 3, 4])
    monkeypatch.setattr(module, "BUDGET", budget)
    found = explorers(tables, RUNS)
    assert sum(len(each.data) for each in found) <= budget
    shown = {each.name: each.shown for each in found}
    assert shown["small"] == 4
    assert all(100 * budget / 10_000 < shown[f"large{n}"] < 2000 for n in range(3))
    assert all(len(rows_of(each)) == each.shown for each in found)
