"""Many runs: what is paired, what is reused, and what happens when an analysis or a run fails."""

import contextlib
import errno
import os
from concurrent.futures import Future
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from caelab import CaelabError, Study, hookimpl, recipe_config
from caelab.errors import NotApplicable
from caelab.registry.catalogue import Catalogue, Offer, catalogue
from caelab.report.publish import publish_comparison
from caelab.report.store import collect, load_comparison, save
from caelab.runs.run import dataset_of
from caelab.storage.checksums import unsealed
from caelab.storage.locks import lock_file, one_writer
from caelab.study.executors import SerialExecutor
from caelab.study.outcomes import run_rows
from caelab.study.study import RunsFailed
from caelab.study.workers import WorkerDied
from caelab.training import run_folder
from tests.core.faults import Disk

SMALL = ["training.epochs=1", "model.hidden=[6]"]
DATA = {"kind": "digits", "splits": [100, 30, 30]}


def small(recipe, *settings):
    return recipe_config(recipe, [*SMALL, *settings], dataset=DATA)


def analysis(measure, number="code mean"):
    def draw(table):
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot(table["value"])
        return figure

    return SimpleNamespace(measure=measure, draw=draw, summarise=lambda table: {number: table["value"].mean()})


measured = []


def works(run, streams):
    measured.append(run.label)
    return pd.DataFrame({"value": run.encode(run.dataset.valid_inputs).mean(dim=0).numpy()})


def raises(run, streams):
    raise KeyError("lost")


def raises_for_cae(run, streams):
    if run.label == "cae":
        raise ZeroDivisionError("no such")
    return works(run, streams)


GREY = "it asks for colour images, but these are grey"


def has_no_meaning(run, streams):
    raise NotApplicable(GREY)


def returns_nothing(run, streams):
    works(run, streams)


def returns_what_no_file_holds(run, streams):
    return pd.DataFrame({"value": [object(), 1.0]})


def sums_wrongly(summarise):
    return SimpleNamespace(measure=works, draw=analysis(works).draw, summarise=summarise)


class FailingPenalty:
    @hookimpl
    def penalty_terms(self, epoch):
        raise ArithmeticError("wrong sign")


class Offering:
    @hookimpl
    def register_analyses(self, register):
        for measure in (works, raises, raises_for_cae, has_no_meaning):
            number = "code mean" if measure is works else f"code mean of {measure.__name__}"
            register(measure.__name__, analysis(measure, number))
        register("works_again", analysis(works))
        register("takes_a_column", analysis(works, "run"))
        register("takes_the_split", analysis(works, "split"))
        for measure in (returns_nothing, returns_what_no_file_holds):
            register(measure.__name__, analysis(measure))
        register("no_summary", sums_wrongly(lambda table: 1 / 0))
        register("no_number", sums_wrongly(lambda table: {"value": "high"}))
        register("no_figure", SimpleNamespace(measure=works, draw=lambda table: None))

    @hookimpl
    def register_regularizers(self, register):
        register("failing", FailingPenalty)


@pytest.fixture(autouse=True)
def offers(monkeypatch):
    """The analyses above, in a catalogue that no other test sees."""
    more = Catalogue()
    more.add("test", Offering())
    monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})


def result_of(tmp_path, recipes, analyses, seeds=(0,)):
    study = Study([small(recipe) for recipe in recipes], seeds, {name: {} for name in analyses}, tmp_path / "runs")
    return study, study.run(executor="serial")


def test_an_analysis_that_raises_is_reported_and_the_others_go_on(tmp_path):
    _, result = result_of(tmp_path, ["ae", "cae"], ["raises", "works", "raises_for_cae", "has_no_meaning"])
    assert [(p.model, p.analysis, p.message, p.applies) for p in result.problems] == [
        ("ae", "raises", "the analysis 'raises' failed on 'ae': KeyError: 'lost'", True),
        ("ae", "has_no_meaning", GREY, False),
        ("cae", "raises", "the analysis 'raises' failed on 'cae': KeyError: 'lost'", True),
        ("cae", "raises_for_cae", "the analysis 'raises_for_cae' failed on 'cae': ZeroDivisionError: no such", True),
        ("cae", "has_no_meaning", GREY, False),
    ]  # fmt: skip
    tables = result.tables()
    assert set(tables) == {"works", "raises_for_cae"}
    assert list(tables["works"]["model"].unique()) == ["ae", "cae"]
    assert list(tables["raises_for_cae"]["model"].unique()) == ["ae"]


def test_the_published_comparison_tells_of_it_and_draws_the_rest(tmp_path):
    study, result = result_of(tmp_path, ["ae"], ["raises", "works"])
    save(collect("caelab compare ae", study.configs, study.seeds, result), tmp_path)
    said = "\n".join(publish_comparison(tmp_path))
    assert "KeyError: 'lost'" in said + (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "works.png").is_file()
    assert not (tmp_path / "figures" / "raises.png").exists()
    assert load_comparison(tmp_path).problems == result.problems


FAILS_DEEP = """
from types import SimpleNamespace
from caelab import hookimpl

def deeper():
    raise IndexError("lost")

def measure(run, streams):
    deeper()

@hookimpl
def register_analyses(register):
    register("deep", SimpleNamespace(measure=measure, draw=measure))
"""

BROKEN = {
    "returns_nothing": "measure of the analysis 'returns_nothing' returns NoneType, but a pandas.DataFrame is expected",
    "returns_what_no_file_holds": "the analysis 'returns_what_no_file_holds' returns a table that cannot be stored",
    "no_summary": "the analysis 'no_summary' failed in summarise: ZeroDivisionError: division by zero",
    "no_number": "summarise of the analysis 'no_number' returns {'value': 'high'}, but {column: number} is expected",
    "no_figure": "draw of the analysis 'no_figure' returns NoneType, but a matplotlib Figure is expected",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_analysis_is_named_and_the_others_are_reported_and_drawn(name, tmp_path):
    study, result = result_of(tmp_path, ["ae", "cae"], [name, "works"])
    save(collect("caelab compare ae", study.configs, study.seeds, result), tmp_path)
    said = "\n".join(publish_comparison(tmp_path))
    assert BROKEN[name] in said
    assert "code mean mean" in pd.read_csv(tmp_path / "summary.csv")
    assert (tmp_path / "figures" / "works.png").is_file()
    drawn_all_the_same = name in ("no_summary", "no_number")  # their tables are sound
    assert (tmp_path / "figures" / f"{name}.png").exists() == drawn_all_the_same
    assert name in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", BROKEN)
def test_caelab_analyse_ends_in_that_sentence(name, tmp_path):
    from caelab import train
    from caelab.analysis.standalone import analyse_runs

    run = train(small("ae"), out=tmp_path / "runs")
    with pytest.raises(CaelabError) as told:
        list(analyse_runs([run], [name], [], tmp_path / "out"))
    assert str(told.value).startswith(BROKEN[name])


def test_caelab_analyse_says_the_numbers_of_each_run(tmp_path):
    from caelab import train
    from caelab.analysis.standalone import analyse_runs

    runs = [train(small("ae")), train(small("cae")), train(small("ae").with_seed(1))]
    said = list(analyse_runs(runs, ["works"], [], tmp_path))
    means = [float(run.encode(run.dataset.valid_inputs).mean()) for run in runs]
    assert [line.rpartition(" = ")[0] for line in said[1:]] == [
        "  ae, seed 0: code mean",
        "  cae: code mean",
        "  ae, seed 1: code mean",
    ]
    assert [float(line.rpartition(" = ")[2]) for line in said[1:]] == pytest.approx(means, rel=1e-3)


def test_caelab_analyse_writes_into_no_folder_of_someone_else(tmp_path):
    from caelab import train
    from caelab.analysis.standalone import analyse_runs

    (tmp_path / "works.pdf").write_text("a chapter")
    run = train(small("ae"))
    with pytest.raises(
        CaelabError, match=r"holds files that caelab did not make, as works\.pdf; give a new folder with --out"
    ):
        list(analyse_runs([run], ["works"], [], tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["works.pdf"]
    assert (tmp_path / "works.pdf").read_text() == "a chapter"


def test_an_analysis_folder_is_gone_on_with_and_says_what_it_holds(tmp_path):
    from caelab import train
    from caelab.analysis.standalone import analyse_runs

    run = train(small("ae"), out=tmp_path / "runs")
    for names in (["works"], ["works", "no_summary"]):
        with contextlib.suppress(CaelabError):
            list(analyse_runs([run], names, [], tmp_path / "out"))
    found = unsealed((tmp_path / "out" / "analysis.json").read_text(encoding="utf-8"))
    names = {f"{name}.{kind}" for name in ("works", "no_summary") for kind in ("parquet", "pdf", "png")}
    assert found.pop("files").keys() == names
    assert found == {name: {"options": {}, "runs": [str(run.path)]} for name in ("works", "no_summary")}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_run_that_may_not_be_written_is_measured_all_the_same(number, tmp_path, monkeypatch, caplog):
    from caelab import train
    from caelab.analysis.standalone import analyse_runs

    run = train(small("ae"), out=tmp_path / "runs")
    before = sorted(path.name for path in run.path.iterdir())
    with monkeypatch.context() as patch:
        ReadOnly(patch, run.path, number)
        list(analyse_runs([run], ["works"], [], tmp_path / "out"))
    assert sorted(path.name for path in run.path.iterdir()) == before
    assert "what is measured is not stored with the run: " in caplog.text
    expected = run.encode(run.dataset.valid_inputs).mean(dim=0).numpy()
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "out" / "works.parquet")["value"], expected)


class ReadOnly(Disk):
    """A folder that can be read and not written."""

    def __init__(self, monkeypatch, folder, number):
        super().__init__(monkeypatch, folder)
        self.number = number

    def step(self, what, path):
        if what not in ("open r", "open rb"):
            raise OSError(self.number, os.strerror(self.number), str(path))


def test_a_misspelt_analysis_or_option_leaves_no_folder(tmp_path):
    from caelab.analysis.standalone import analyse_runs

    for names, settings in ((["wroks"], []), (["jacobian_norm"], ["jacobian_norm.exmaples=3"])):
        with pytest.raises(CaelabError, match="did you mean"):
            list(analyse_runs([], names, settings, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_debug_tells_where_an_analysis_failed(executor, tmp_path, caplog):
    (tmp_path / "mine.py").write_text(FAILS_DEEP)
    study = Study([small("ae")], [0], {"deep": {}}, tmp_path / "runs", (tmp_path / "mine.py",))
    catalogue().add_file(tmp_path / "mine.py")
    with caplog.at_level("DEBUG", logger="caelab"):
        study.run(executor=executor, workers=1)
    assert "in deeper" in caplog.text
    assert "IndexError: lost" in caplog.text


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path):
    study = Study([small("ae", "failing={}"), small("cae")], [0], {"works": {}}, tmp_path / "runs")
    sentence = "plugin 'failing' failed in penalty_terms at epoch 1: ArithmeticError: wrong sign"
    with pytest.raises(RunsFailed, match=f"1 of 2 runs failed, the others are stored: ae, seed 0: {sentence}") as told:
        study.run(executor="serial")
    assert not list(tmp_path.glob("runs/ae-*"))
    assert [outcome.config.label for outcome in told.value.result.outcomes] == ["cae"]


def test_models_of_one_seed_see_the_same_splits(tmp_path):
    _, result = result_of(tmp_path, ["ae", "cae"], ["works"], seeds=(0, 1))
    from caelab import load_run

    splits = {}
    for outcome in result.outcomes:
        splits[outcome.config.label, outcome.config.seed] = load_run(outcome.path).dataset.valid_inputs.numpy()
    for seed in (0, 1):
        np.testing.assert_array_equal(splits["ae", seed], splits["cae", seed])
    assert (splits["ae", 0] != splits["ae", 1]).any()


def test_there_is_a_row_per_run_with_what_the_analyses_summarise(tmp_path):
    _, result = result_of(tmp_path, ["ae", "cae"], ["works"], seeds=(0, 1))
    rows = run_rows(result)
    assert list(zip(rows["model"], rows["seed"], strict=True)) == [("ae", 0), ("ae", 1), ("cae", 0), ("cae", 1)]
    for row, outcome in zip(rows.to_dict("records"), result.outcomes, strict=True):
        assert row["code mean"] == pytest.approx(outcome.tables["works"]["value"].mean())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("works_again", "the analyses 'works' and 'works_again' both summarise 'code mean'; the number of the first"),
        ("takes_a_column", "the analysis 'takes_a_column' summarises 'run', a column that caelab adds itself"),
        ("takes_the_split", "the analysis 'takes_the_split' summarises 'split', a column that caelab adds itself"),
    ],
)
def test_a_number_is_not_replaced_by_another_of_its_name(name, sentence, tmp_path):
    _, result = result_of(tmp_path, ["ae"], ["works", name])
    (row,) = run_rows(result).to_dict("records")
    assert row["code mean"] == pytest.approx(result.tables()["works"]["value"].mean())
    assert row["run"].startswith("ae-")
    (problem,) = result.problems
    assert problem.message.startswith(sentence)


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    measured.clear()
    result_of(tmp_path, ["ae"], ["works"])
    monkeypatch.setattr("caelab.training.Trainer.fit", lambda self: pytest.fail("trained again"))
    _, again = result_of(tmp_path, ["ae"], ["works"])
    assert measured == ["ae"]
    assert [str(outcome) for outcome in again.outcomes] == ["ae, seed 0 (reused)"]
    assert len(again.tables()["works"]) == 6


@pytest.mark.parametrize(
    ("configs", "analyses", "sentence"),
    [
        (["ae", "ae"], {}, "two models are called 'ae'"),
        (["ae"], {"wroks": {}}, "unknown analysis 'wroks'; did you mean 'works'"),
        (["ae"], {"jacobian_norm": {"exmaples": 3}}, "did you mean 'examples'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(configs, analyses, sentence, tmp_path):
    study = Study([small(recipe) for recipe in configs], [0], analyses, tmp_path / "runs")
    with pytest.raises(CaelabError, match=sentence):
        study.check()
    assert list(tmp_path.iterdir()) == []


class Dying:
    """An executor whose worker dies of every run of cae."""

    def __init__(self, workers):
        self.pool = SerialExecutor()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, job, *more):
        if job.config.label != "cae":
            return self.pool.submit(function, job, *more)
        future = Future()
        future.set_exception(WorkerDied("was killed by SIGSEGV during the analysis 'works'"))
        return future


def test_the_runs_whose_workers_died_are_named_when_the_others_are_done(tmp_path, monkeypatch):
    offer = Offer("executor", "dying", "test", Dying)
    monkeypatch.setitem(catalogue().offers, ("executor", "dying"), offer)
    study = Study([small("cae"), small("ae")], (0, 1), {"works": {}}, tmp_path)
    seen = []
    with pytest.raises(CaelabError) as told:
        study.run(executor="dying", done=seen.append)
    assert str(told.value) == (
        "2 of 4 runs failed, the others are stored: cae, seed 0: a worker process was killed by SIGSEGV during the "
        "analysis 'works', as did 2 others that tried the same after it; not caelab's own: the analysis 'works'; cae, "
        "seed 1: a worker process was killed by SIGSEGV during the analysis 'works', as did 2 others that tried the "
        "same after it; not caelab's own: the analysis 'works'"
    )
    assert sorted(str(each).partition(":")[0] for each in seen) == [
        "ae, seed 0",
        "ae, seed 1",
        "cae, seed 0",
        "cae, seed 1",
    ]
    assert sorted(each.config.label for each in told.value.result.outcomes) == ["ae", "ae"]
    assert len(list(tmp_path.iterdir())) == 2


def test_runs_that_another_process_is_at_come_last(tmp_path):
    study = Study([small("ae"), small("cae")], [0, 1], {}, tmp_path / "runs")
    jobs = study.jobs()
    folders = [run_folder(job.out, job.config, dataset_of(job.config)) for job in jobs]
    held = ExitStack()
    held.enter_context(one_writer(folders[0]))
    held.enter_context(one_writer(folders[2]))
    seen = []

    def done(told):
        seen.append(str(told))
        if len(seen) == 2:
            held.close()

    lock_file(folders[1]).touch()  # of a killed process
    result = study.run(executor="serial", done=done)
    assert seen == ["ae, seed 1", "cae, seed 1", "ae, seed 0", "cae, seed 0"]
    assert [(o.config.label, o.config.seed) for o in result.outcomes] == [("ae", 0), ("ae", 1), ("cae", 0), ("cae", 1)]
