"""What the page says of single runs."""

import json

import numpy as np
import pandas as pd
import pytest

from caelab.report import run_pages as module
from caelab.report.run_pages import run_pages
from caelab.runs.recipes import recipe_config
from tests.core.invented import a_problem, invented_rows

ROWS = invented_rows(seeds=2)


def write_run(folder, name="ae-0", losses=None, **record):
    place = folder / "runs" / name
    place.mkdir(parents=True)
    facts = {"config": recipe_config("ae").as_dict(), "record": {"seconds": 2.5, "versions": {"torch": "2"}, **record}}
    (place / "run.json").write_text(json.dumps(facts))
    table = pd.DataFrame({"epoch": [1, 2], "train_reconstruction": [3.14159265, np.nan]}) if losses is None else losses
    table.to_parquet(place / "history.parquet")
    return place


def test_a_run_has_its_config_versions_and_losses(tmp_path):
    write_run(tmp_path, data_hash="abc")
    found, problems = run_pages(tmp_path, ROWS, {})
    assert (len(found), problems) == (14, [])
    first = found[0]
    assert (first["name"], first["title"]) == ("ae-0", "AE, seed 0")
    assert first["config"] == recipe_config("ae").as_dict()
    assert first["versions"] == {"torch": "2"}
    assert first["facts"] == {"seconds": 2.5, "data_hash": "abc"}
    assert first["losses"] == {"epoch": [1, 2], "train_reconstruction": [3.14159, None]}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"config": 1}', '{"record": 3, "config": {}}'])
def test_what_cannot_be_read_of_a_run_is_left_out(tmp_path, content):
    place = write_run(tmp_path)
    (place / "run.json").write_text(content)
    (place / "history.parquet").write_bytes(b"no table")
    found, _ = run_pages(tmp_path, ROWS, {})
    assert found[0].keys() == found[1].keys() == {"name", "model", "title", "problems", "pictures", "reduced"}


def test_data_set_and_split_stand_in_the_title(tmp_path):
    rows = ROWS.head(1).assign(dataset="digits", split=3)
    assert run_pages(tmp_path, rows, {})[0][0]["title"] == "AE, seed 0, dataset digits, split 3"


def test_problems_of_a_model_stand_with_its_runs(tmp_path):
    found, _ = run_pages(tmp_path, ROWS, {}, [a_problem("dots", "ae", "it fails"), a_problem("x", "all", "none works")])
    by_name = {each["name"]: each["problems"] for each in found}
    assert by_name["ae-1"] == ["dots: it fails", "x: none works"]
    assert by_name["cae-0"] == ["x: none works"]


def test_of_many_epochs_even_ones_are_kept_with_the_first_and_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", len(ROWS) * 60)
    write_run(tmp_path, losses=pd.DataFrame({"epoch": range(1, 1001), "a": np.arange(1000.0)}))
    first = run_pages(tmp_path, ROWS, {})[0][0]
    assert (len(first["losses"]["a"]), first["epochs"]) == (30, 1000)
    assert (first["losses"]["epoch"][0], first["losses"]["epoch"][-1]) == (1, 1000)
    assert set(np.diff(first["losses"]["epoch"])) <= {34, 35}


def test_runs_without_names_have_no_pages(tmp_path):
    assert run_pages(tmp_path, ROWS.drop(columns="run"), {}) == ([], [])


def test_numbers_that_json_lacks_become_texts(tmp_path):
    write_run(tmp_path)
    path = tmp_path / "runs" / "ae-0" / "run.json"
    path.write_text(path.read_text().replace('"momentum": 0.0', '"momentum": NaN'))
    assert run_pages(tmp_path, ROWS, {})[0][0]["config"]["training"]["momentum"] == "nan"
