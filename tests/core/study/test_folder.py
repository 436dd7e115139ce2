"""A study in its folder: frozen, recorded run by run, gone on with, collected, merged, verified."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars
import pytest
from safetensors.torch import load_file, save_file

import caelab
from caelab import CaelabError, load_run, run_study
from caelab.analysis.base import one_seed_per_run
from caelab.registry.catalogue import catalogue
from caelab.report.studies import publish_recorded
from caelab.storage.locks import one_writer
from caelab.study.estimates import estimated
from caelab.study.folder import asked_in, read_plan, status_of, write_asked
from caelab.study.making import loaded
from caelab.study.merging import merge
from caelab.study.records import entries_in, place_of, read_entry, states_in, target_of
from caelab.study.repairs import forget_failures
from caelab.study.results import ABOUT, collect, read_results
from caelab.study.study import RunsFailed
from caelab.study.verifying import damaged_runs, verified

SMALL = {"training.epochs": 1, "model.hidden": [6], "dataset.splits": [60, 30, 30]}
DIVERGES = {"recipe": "ae", "label": "wild", "set": {"training.learning_rate": 1e12, "training.epochs": 3}}


def study(out, **keys):
    return {
        "study": "tiny", "models": ["ae", "cae"], "datasets": ["digits"], "set": SMALL, "seeds": 2,
        "analyses": ["jacobian_norm", "filters"], "out": str(out), **keys,
    }  # fmt: skip


def carried_out(out, **keys):
    return run_study(study(out, **keys), executor="serial")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return carried_out(tmp_path_factory.mktemp("studies") / "tiny")


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def counted(monkeypatch):
    """The labels of the runs that are trained from now on."""
    trained = []
    fit = caelab.training.Trainer.fit

    def fitting(self):
        trained.append(self.config.label)
        return fit(self)

    monkeypatch.setattr(caelab.training.Trainer, "fit", fitting)
    return trained


def test_a_finished_study_says_what_became_of_each_run(finished):
    found = status_of(finished)
    assert found.succeeded
    assert [(each.model, each.seed) for each in found.plan] == [("ae", 0), ("ae", 1), ("cae", 0), ("cae", 1)]
    assert (
        {*states_in(finished)} == {each.run for each in found.plan} == {p.name for p in (finished / "runs").iterdir()}
    )
    assert found.missing == [] == list(found.running)


def test_what_is_finished_is_not_even_opened_again(folder, monkeypatch):
    monkeypatch.setattr("caelab.study.jobs.train", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr("caelab.study.jobs.measure_alone", lambda *_: pytest.fail("measured"))
    assert run_study(folder, executor="serial") == folder


def test_a_folder_goes_on_without_the_file(folder, monkeypatch):
    lost = read_plan(folder)[2]
    shutil.rmtree(folder / "runs" / lost.run)
    place_of(folder, lost.run, "done").unlink()
    assert status_of(folder).missing == [lost]
    trained = counted(monkeypatch)
    run_study(folder, executor="serial")
    assert trained == ["cae"]
    assert status_of(folder).succeeded


@pytest.mark.parametrize("damage", ["record", "run", "weights", "table"])
def test_what_was_changed_is_noticed_and_done_again(damage, folder, finished, monkeypatch):
    run = read_plan(folder)[1].run
    if damage == "record":
        place_of(folder, run, "done").write_text("{")
    elif damage == "run":
        shutil.rmtree(folder / "runs" / run)
    elif damage == "table":
        next((folder / "runs" / run / "tables").glob("jacobian_norm*.parquet")).write_bytes(b"")
    else:
        (folder / "runs" / run / "weights.safetensors").write_bytes(b"short")
    trained = counted(monkeypatch)
    if damage == "weights":  # a run that is damaged is told of, and put aside when it is tried again
        with pytest.raises(RunsFailed, match=r"1 of 4 runs failed.*ae, seed 1: the run .* is damaged"):
            run_study(folder, executor="serial")
        assert forget_failures(folder, read_plan(folder)) == 1
        assert [path.name for path in (folder / "damaged").iterdir()] == [run]
    run_study(folder, executor="serial")
    assert trained == (["ae"] if damage in ("run", "weights") else [])
    for name in ("runs", "jacobian_norm"):
        pd.testing.assert_frame_equal(read_results(folder, name), read_results(finished, name))


def test_a_run_that_fails_stops_no_other_and_is_tried_again_when_asked(tmp_path, monkeypatch):
    with pytest.raises(RunsFailed, match=r"2 of 4 runs failed, the others are stored: wild, seed 0: training diverged"):
        carried_out(tmp_path / "out", models=[DIVERGES, "ae"])
    found = status_of(tmp_path / "out")
    assert [found.states[each.run] for each in found.plan] == ["failed", "failed", "done", "done"]
    assert "wild" in (tmp_path / "out" / "report.html").read_text()
    assert list(pd.read_csv(tmp_path / "out" / "runs.csv")["model"]) == ["ae", "ae"]
    trained = counted(monkeypatch)
    with pytest.raises(RunsFailed, match="as before, see: caelab study retry"):
        carried_out(tmp_path / "out", models=[DIVERGES, "ae"])
    assert trained == []
    assert forget_failures(tmp_path / "out", found.plan) == 2
    with pytest.raises(RunsFailed):
        carried_out(tmp_path / "out", models=[DIVERGES, "ae"])
    assert trained == ["wild", "wild"]


def test_where_every_run_fails_the_first_reason_is_said(tmp_path):
    with pytest.raises(CaelabError, match=r"training diverged.*\(as did 1 others\)"):
        carried_out(tmp_path / "out", models=[DIVERGES])
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_study_that_changed_after_it_started_is_refused(folder):
    with pytest.raises(
        CaelabError, match=r"changed after its study started in .*: seeds was \[0, 1\] and is \[0, 1, 2\]"
    ):
        run_study(study(folder, seeds=3), executor="serial")
    assert len(status_of(folder).plan) == 4


def test_data_or_a_plugin_that_changed_after_the_start_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    (tmp_path / "mine.py").write_text(PLUGIN)
    data = tmp_path / "x.npz"
    np.savez(data, x=np.random.default_rng(0).random((120, 6)).astype("float32"))
    monkeypatch.chdir(tmp_path)
    keys = {"models": ["mine"], "plugins": ["mine.py"], "datasets": [f"npz:{data}"], "analyses": ["jacobian_norm"]}
    out = carried_out(tmp_path / "out", **keys)
    (tmp_path / "mine.py").write_text(f"{PLUGIN}\n# another\n")
    with pytest.raises(
        CaelabError, match=r"changed after its study started in .*: the plugin file mine\.py is another"
    ):
        carried_out(out, **keys)
    (tmp_path / "mine.py").write_text(PLUGIN)
    np.savez(data, x=np.random.default_rng(1).random((120, 6)).astype("float32"))
    with pytest.raises(CaelabError, match=r"the content of the data 'npz.*' is another"):
        carried_out(out, **keys)


def test_a_table_that_is_truncated_is_told_when_results_are_collected(folder):
    table = next((folder / "runs").glob("*/tables/jacobian_norm*.parquet"))
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(CaelabError, match=r"the table .*jacobian_norm.* is damaged .*measure it again with"):
        collect(folder)


def test_two_studies_share_runs_whatever_they_call_them(tmp_path, monkeypatch):
    carried_out(tmp_path / "one", runs=str(tmp_path / "runs"))
    trained = counted(monkeypatch)
    models = [{"recipe": "ae", "label": "plain"}, {"recipe": "cae", "set": {"contractive.weight": 0.5}}]
    carried_out(tmp_path / "two", models=models, runs=str(tmp_path / "runs"))
    assert trained == ["cae", "cae"]
    assert set(read_results(tmp_path / "two", "jacobian_norm")["model"]) == {"plain", "cae"}
    one, two = (pd.read_csv(tmp_path / name / "runs.csv") for name in ("one", "two"))
    np.testing.assert_array_equal(one["mean norm"][:2], two["mean norm"][:2])


def test_a_run_that_another_process_is_at_is_running(folder):
    lost = read_plan(folder)[0].run
    place_of(folder, lost, "done").unlink()
    assert list(status_of(folder).running) == []
    with one_writer(target_of(folder, lost)):
        assert list(status_of(folder).running) == [lost]


def test_results_are_tidy_and_of_one_schema(finished):
    files = collect(finished)
    assert {*files} == {"runs", "jacobian_norm", "filters"}
    for path in files.values():
        table = pd.read_parquet(path)
        assert tuple(table.columns[: len(ABOUT)]) == ABOUT
        assert (table["study"] == "tiny").all()
        assert (table["dataset"] == "digits").all()
        assert (table["split"] == table["seed"]).all()
    rows, norms = (pd.read_parquet(files[name]) for name in ("runs", "jacobian_norm"))
    run = load_run(finished / "runs" / rows["run"][3])
    measured = caelab.analysis.base.analyse(run, "jacobian_norm")
    mine = norms[norms["run"] == rows["run"][3]].reset_index(drop=True)
    np.testing.assert_array_equal(mine["norm"], measured["norm"])
    assert rows["mean norm"][3] == pytest.approx(mine["norm"].mean(), rel=1e-12)


def test_columns_that_are_called_as_ours_stay_apart_and_repeated_splits_are_runs_of_their_own(tmp_path):
    out = carried_out(tmp_path / "out", analyses=["classification", "jacobian_norm"], models=["ae"], splits=2)
    table = read_results(out, "classification")
    assert {*table["split"]} == {0, 1}
    assert {*table["split_measured"]} == {"valid", "test"}
    rows = pd.read_csv(out / "runs.csv")
    assert list(zip(rows["split"], rows["seed"], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    stored = pd.read_parquet(out / "data" / "jacobian_norm.parquet")
    drawn = one_seed_per_run(stored)
    assert sorted(drawn["seed"].unique()) == [0, 1, 2, 3]
    means = drawn.groupby("seed")["norm"].mean()
    np.testing.assert_allclose(means, rows["mean norm"], rtol=1e-6)


def test_results_are_read_by_pandas_polars_and_duckdb_in_a_line(finished):
    path = finished / "results" / "runs.parquet"
    expected = pd.read_parquet(path).groupby("model")["mean norm"].mean()
    lazily = polars.read_parquet(path).group_by("model").agg(polars.col("mean norm").mean()).sort("model")
    queried = duckdb.sql(f"SELECT model, avg(\"mean norm\") FROM '{path}' GROUP BY model ORDER BY model").fetchall()
    np.testing.assert_allclose(lazily["mean norm"].to_numpy(), expected.to_numpy(), rtol=1e-12)
    np.testing.assert_allclose([value for _, value in queried], expected.to_numpy(), rtol=1e-12)


def test_results_say_what_they_mean(finished):
    import pyarrow.parquet as pq

    facts = json.loads(pq.read_schema(finished / "results" / "runs.parquet").metadata[b"caelab"])
    assert facts["conventions"]["reconstruction"] == "sum over the inputs' entries, mean over examples"
    assert facts["data"] == asked_in(finished).data


def test_only_the_claims_that_are_asked_for_are_judged(tmp_path):
    asked = {"models": ["ae", "cae"], "claims": ["rifai2011.smallest_norm"]}
    out = carried_out(tmp_path / "out", **asked)
    every = carried_out(tmp_path / "every", models=asked["models"], runs=str(out / "runs"))
    one, more = ((folder / "report.html").read_text().count('<article class="finding') for folder in (out, every))
    assert one == 1 < more


def test_collecting_twice_gives_the_same_bytes(folder):
    before = {path.name: path.read_bytes() for path in (folder / "results").iterdir()}
    collect(folder)
    assert {path.name: path.read_bytes() for path in (folder / "results").iterdir()} == before


def test_the_page_can_be_made_from_the_records_alone(folder, finished):
    for name in ("report.html", "comparison.json", "runs.csv"):
        (folder / name).unlink()
    list(publish_recorded(folder))
    pd.testing.assert_frame_equal(pd.read_csv(folder / "runs.csv"), pd.read_csv(finished / "runs.csv"))


PLUGIN = """
from dataclasses import dataclass
from caelab import hookimpl

@dataclass(eq=False)
class SmallCode:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        return {"small-code": self.weight * code.square().sum(dim=1).mean()}

@hookimpl
def register_regularizers(register):
    register("small-code", SmallCode)

@hookimpl
def register_recipes(register):
    register("mine", {"regularizers": {"small-code": {"weight": 0.1}}})
"""


def test_an_outsider_adds_a_method_and_the_page_shows_paired_verdicts(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    monkeypatch.setattr(catalogue(), "files", list(catalogue().files), raising=False)
    (tmp_path / "mine.py").write_text(PLUGIN)
    assert len(PLUGIN.strip().splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    theirs = carried_out(tmp_path / "theirs", models=["mine"], plugins=["mine.py"], study="theirs")
    assert merge([finished, theirs], tmp_path / "both") == 6
    list(publish_recorded(tmp_path / "both"))
    rows = pd.read_csv(tmp_path / "both" / "runs.csv")
    assert list(rows["model"]) == ["ae", "ae", "cae", "cae", "mine", "mine"]
    pairs = pd.read_csv(tmp_path / "both" / "statistics.csv")
    assert ((pairs["first"] == "mine") | (pairs["second"] == "mine")).any()
    assert "mine" in (tmp_path / "both" / "report.html").read_text()
    assert all(each.same for each in verified(tmp_path / "both", 6, 0, lambda _: None))
    assert status_of(finished).succeeded  # and stays as it is
    with pytest.raises(CaelabError, match=r"was put together from .*tiny and .*theirs, and has no runs of its own"):
        run_study(tmp_path / "both", executor="serial")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {"digits": "0" * 64}}, "the data 'digits' of the first have the hash"),
        ({"conventions": {"reconstruction": "mean over everything"}}, "different conventions for"),
    ],
)
def test_studies_that_cannot_be_compared_are_not_merged(change, sentence, finished, folder, tmp_path):
    write_asked(folder, asked_in(folder).model_copy(update=change))
    with pytest.raises(CaelabError, match=sentence):
        merge([finished, folder], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_models_of_one_name_with_other_settings_are_not_merged(finished, tmp_path):
    other = carried_out(tmp_path / "other", set={**SMALL, "model.hidden": [5]})
    with pytest.raises(CaelabError, match="both have a model 'ae' on digits with seed 0, but with different settings"):
        merge([finished, other], tmp_path / "both")
    with pytest.raises(CaelabError, match="is one of the studies"):
        merge([finished, other.parent / "other"][:1] * 2, finished)
    with pytest.raises(CaelabError, match="at least two folders"):
        merge([finished], tmp_path / "both")


def test_other_options_of_an_analysis_are_not_merged(finished, tmp_path):
    other = carried_out(
        tmp_path / "other", models=[{"recipe": "ae", "label": "b"}], analyses={"jacobian_norm": {"examples": 7}}
    )
    with pytest.raises(CaelabError, match="measured the analysis 'jacobian_norm' with different options"):
        merge([finished, other], tmp_path / "both")


def test_runs_that_are_trained_again_are_the_same(finished):
    found = verified(finished, 2, 0, lambda _: None)
    assert len(found) == 2
    assert all(each.same and each.weights == 0 and each.numbers == 0 for each in found)
    assert not list(damaged_runs(finished))


def test_a_run_that_does_not_repeat_is_found(folder):
    run = read_plan(folder)[0].run
    weights = load_file(folder / "runs" / run / "weights.safetensors")
    first = next(iter(weights))
    save_file({**weights, first: weights[first] * 1.01}, folder / "runs" / run / "weights.safetensors")
    ((planned, why),) = damaged_runs(folder)
    assert planned.run == run
    assert "damaged" in why
    found = {each.planned.run: each for each in verified(folder, 4, 0, lambda _: None)}
    assert [name for name, each in found.items() if not each.same] == [run]


def test_a_number_that_does_not_repeat_is_found(folder):
    plan = read_plan(folder)
    entry = read_entry(folder, plan[0].run)
    from caelab.study.records import write_entry

    write_entry(folder, replace(entry, numbers={**entry.numbers, "mean norm": entry.numbers["mean norm"] * 1.15}))
    wrong = [each for each in verified(folder, 4, 0, lambda _: None) if not each.same]
    assert [each.planned for each in wrong] == [plan[0]]
    assert wrong[0].numbers == pytest.approx(0.15 / 1.15)
    assert "DIFFERENT" in str(wrong[0])


def test_what_is_left_is_estimated_from_what_ran(folder):
    jobs = loaded(folder).study.jobs()
    found = estimated(jobs)
    assert (found.runs, found.there, found.finished, found.failed, found.seconds) == (4, 4, 4, 0, 0)
    entries = entries_in(folder, [each.run for each in read_plan(folder)])
    mine = [entry for entry in entries.values() if entry.model == "cae"]
    shutil.rmtree(folder / "runs" / mine[0].run)
    left = estimated(jobs)
    assert left.there == 3
    assert left.seconds == pytest.approx(np.mean([entry.spent["seconds"] for entry in mine]))
    assert left.size == pytest.approx(np.mean([entry.spent["bytes"] for entry in mine]))


@pytest.mark.parametrize("name", ["empty", "foreign", "damaged"])
def test_a_folder_that_is_no_study_is_refused(name, tmp_path, folder):
    place = folder if name == "damaged" else tmp_path / name
    place.mkdir(exist_ok=True)
    if name == "foreign":
        (place / "thesis.tex").write_text("a chapter")
    if name == "damaged":
        (place / "study.json").write_text((place / "study.json").read_text().replace('"tiny"', '"other"'))
    with pytest.raises(CaelabError, match="damaged" if name == "damaged" else "holds no study"):
        status_of(place)
    if name == "foreign":
        with pytest.raises(CaelabError, match=r"holds files that caelab did not make, as thesis\.tex"):
            carried_out(place)
        assert [path.name for path in place.iterdir()] == ["thesis.tex"]
