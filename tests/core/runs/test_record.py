"""A run whose ``run.json`` was changed: from before there were checksums, or robbed of them."""

import json
import re
import shutil

import pandas as pd
import pytest

from caelab import CaelabError, load_run, recipe_config, train
from caelab.analysis.base import analyse
from caelab.runs.config import hash_of
from caelab.runs.record import bears_its_name, fingerprints_in
from caelab.storage.checksums import FILES, SEAL

DATA = {"kind": "digits", "splits": [100, 30, 30]}
NEWER = ("outputs", "model", "split_hash", "fingerprints", "data", "added")  # what the oldest records lack


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a sigmoid network, and a table of it."""
    out = tmp_path_factory.mktemp("trained")
    run = train(recipe_config("ae", ["training.epochs=1", "model.hidden=[3]"], dataset=DATA), out=out)
    analyse(run, "jacobian_norm")
    return run.path


def older(trained, tmp_path, name=None, without=(), **changed):
    """A copy of the run without checksums; keys such as ``record.outputs`` or ``config.seed`` are changed."""
    folder = shutil.copytree(trained, tmp_path / (name or trained.name))
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del facts[FILES], facts[SEAL]
    for key in without:
        facts["record"].pop(key, None)
    for path, value in changed.items():
        place, *rest = facts, *path.split("__")
        for part in rest[:-1]:
            place = place[part]
        place[rest[-1]] = value
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


WRONG = {
    "outputs": ["x", 3, [], {"code": "x"}, {"code": []}, {"code": [[1.0], [1.0, 2.0]]}, {"other": [[1.0]]}],
    "data_hash": [3, None, ["x"]],
    "split_hash": [3],
    "model": ["x", [], {"repr": 3}],
    "fingerprints": ["x", {"a": 1}],
    "sources": ["x", {"a": 1}],
    "versions": [[], {"torch": 2}],
    "added": [3, "x", [3], {}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_record_of_another_shape_is_damaged_and_the_key_is_named(key, value, trained, tmp_path):
    folder = older(trained, tmp_path, **{f"record__{key}": value})
    with pytest.raises(CaelabError, match=rf"is damaged \(run.json: record\.{key}[^;]*; delete"):
        load_run(folder)


@pytest.mark.parametrize("value", [[], "x", 3, None])
def test_a_record_or_config_that_is_no_object_is_damaged(value, trained, tmp_path):
    for key in ("record", "config"):
        folder = older(trained, tmp_path / key, **{key: value})
        with pytest.raises(CaelabError, match=rf"is damaged \(run.json: .*; delete {re.escape(str(folder))}"):
            load_run(folder)


def test_what_is_missing_is_named_and_nobody_is_asked_to_set_it(trained, tmp_path):
    with pytest.raises(CaelabError, match=r"\(run.json: record.data_hash is missing\)"):
        load_run(older(trained, tmp_path, without=["data_hash"]))


@pytest.mark.parametrize("without", [(), NEWER])
def test_a_sound_run_from_before_there_were_checksums_is_read_and_so_is_its_table(without, trained, tmp_path, caplog):
    folder = older(trained, tmp_path, without=without)
    (beside,) = folder.glob("tables/*.sha256")
    beside.unlink()
    (table,) = folder.glob("tables/*.parquet")
    pd.read_parquet(table).assign(mark=7).to_parquet(table)
    assert set(analyse(load_run(folder), "jacobian_norm")["mark"]) == {7}
    assert not caplog.records


@pytest.mark.parametrize(
    "changed", [{"config__model__activation": "tanh"}, {"config__seed": 1}, {"config__label": "x"}]
)
def test_another_config_than_the_folder_is_named_by_is_refused(changed, trained, tmp_path):
    folder = older(trained, tmp_path, without=NEWER, **changed)
    if "config__label" in changed:
        assert load_run(folder).label == "x"  # a label is only a name
        return
    with pytest.raises(
        CaelabError, match=r"is damaged \(run.json: it has no checksum, and its config and data are not"
    ):
        load_run(folder)


def test_a_run_without_checksums_in_a_renamed_folder_is_told_of_and_its_tables_do_not_count(trained, tmp_path, caplog):
    folder = older(trained, tmp_path, name="mine", without=NEWER, config__model__activation="tanh")
    before = analyse(load_run(trained), "jacobian_norm")
    run = load_run(folder)
    assert "nothing tells if it is whole" in caplog.text
    found = analyse(run, "jacobian_norm")
    assert not found.equals(before)
    assert found.equals(analyse(run, "jacobian_norm"))


def test_a_run_with_checksums_may_be_renamed(trained, tmp_path, caplog):
    folder = shutil.copytree(trained, tmp_path / "other-0123456789ab")
    assert load_run(folder).seed == 0
    assert not caplog.records


def test_the_hash_in_the_name_follows_from_what_is_stored(trained):
    facts = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    assert (
        trained.name == f"ae-{hash_of(facts['config'], facts['record']['data_hash'], facts['record']['fingerprints'])}"
    )


def test_fingerprints_are_read_under_their_earlier_name(trained, tmp_path):
    facts = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    used = {"regularizer mine": "0123"}
    name = f"ae-{hash_of(facts['config'], facts['record']['data_hash'], used)}"
    folder = older(trained, tmp_path, name, without=["fingerprints"], record__sources=used)
    assert bears_its_name(folder, json.loads((folder / "run.json").read_text(encoding="utf-8"))) is True
    assert fingerprints_in({"fingerprints": used}) == fingerprints_in({"sources": used}) == used
    assert fingerprints_in({}) is None
