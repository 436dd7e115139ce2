"""Analyses of several runs at once: what they are given, what they may return, and when they run again."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

import caelab
from caelab import CaelabError, Column, Look, NotApplicable, Recipe, Study
from caelab.analysis import several
from caelab.analysis.base import analyse
from caelab.analysis.contract import default_analyses, load_analysis, source_of
from caelab.analysis.several import FOLDER, analyse_together, compared_runs
from caelab.analysis.standalone import analyse_runs
from caelab.registry.catalogue import Offer, catalogue
from caelab.registry.fingerprints import content_of
from caelab.registry.importing import load_file
from caelab.study.outcomes import run_rows

TINY = ["training.epochs=1", "model.hidden=[4]"]
DIGITS = {"kind": "digits", "splits": [60, 20, 20]}


class Gaps:
    """How far the mean codes of runs are from each other."""

    title = "Gaps"
    caption = "How far apart mean codes are."
    columns = (Column(name="largest gap", heading="largest\ngap", better="smaller", table="main"),)

    def __init__(self):
        self.calls = []

    def compare(self, runs, streams, *, times: float = 1.0):
        self.calls.append([(run.label, run.seed) for run in runs])
        means = [float(run.encode(run.dataset.valid_inputs).mean()) for run in runs]
        return pd.DataFrame(
            [
                (one.label, one.seed, other.label, other.seed, times * abs(a - b))
                for one, a in zip(runs, means, strict=True)
                for other, b in zip(runs, means, strict=True)
            ],
            columns=["model", "seed", "other model", "other seed", "gap"],
        )

    def summarise(self, table):
        return {"largest gap": table["gap"].max()}

    def draw(self, table):
        figure = Figure()
        figure.subplots().plot(table["gap"])
        return figure


class Both(Gaps):
    """An analysis that measures runs one by one, and compares them."""

    def measure(self, run, streams, *, shift: float = 0.0):
        return pd.DataFrame({"mean": [float(run.encode(run.dataset.valid_inputs).mean()) + shift]})

    def summarise(self, table):
        return {"largest gap": table["gap"].max(), "mean": table["mean"].dropna().iloc[0]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Three runs in one folder."""
    out = tmp_path_factory.mktemp("runs")
    configs = [
        caelab.recipe_config(name, TINY, dataset=DIGITS, seed=s) for name, s in (("ae", 0), ("ae", 1), ("cae", 0))
    ]
    return [caelab.train(config, out=out) for config in configs]


@pytest.fixture
def offered(monkeypatch):
    """Offer an analysis under a name."""

    def offer(thing, name="gaps"):
        monkeypatch.setitem(catalogue().offers, ("analysis", name), Offer("analysis", name, "a plugin", thing))
        return thing

    return offer


@pytest.fixture(autouse=True)
def nothing_stored(stored):
    for path in (stored[0].path.parent / FOLDER).glob("*"):
        path.unlink()


def test_every_run_is_given_once_and_the_table_is_found_again(stored, offered):
    gaps = offered(Gaps())
    first = analyse_together(stored, "gaps")
    again = analyse_together([caelab.load_run(run.path) for run in stored], "gaps")
    assert gaps.calls == [[("ae", 0), ("ae", 1), ("cae", 0)]]
    pd.testing.assert_frame_equal(first, again)


def test_other_runs_and_other_options_are_compared_anew(stored, offered):
    gaps = offered(Gaps())
    whole = analyse_together(stored, "gaps")
    assert len(analyse_together(stored[:2], "gaps")) == 4
    doubled = analyse_together(stored, "gaps", times=2)
    assert doubled["gap"].tolist() == pytest.approx((2 * whole["gap"]).tolist())
    assert len(gaps.calls) == 3


def test_other_code_of_the_analysis_compares_anew(stored, offered, monkeypatch):
    gaps = offered(Gaps())
    analyse_together(stored, "gaps")
    monkeypatch.setattr(several, "source_of", lambda analysis: ["changed"])
    analyse_together(stored, "gaps")
    assert len(gaps.calls) == 2


def test_a_damaged_table_is_made_anew(stored, offered):
    gaps = offered(Gaps())
    first = analyse_together(stored, "gaps")
    (path,) = (stored[0].path.parent / FOLDER).glob("*.parquet")
    path.write_bytes(b"damaged")
    pd.testing.assert_frame_equal(analyse_together(stored, "gaps"), first)
    assert len(gaps.calls) == 2


def test_runs_that_are_stored_nowhere_are_compared_each_time(stored, offered):
    gaps = offered(Gaps())
    free = caelab.train(caelab.recipe_config("ae", TINY, dataset=DIGITS, label="free"))
    for _ in range(2):
        analyse_together([*stored, free], "gaps")
    assert len(gaps.calls) == 2
    assert not list((stored[0].path.parent / FOLDER).glob("*.parquet"))


def test_measured_and_compared_stand_in_one_table(stored, offered):
    offered(Both())
    table = analyse_together(stored, "gaps", shift=1.0, times=2.0)
    assert table["mean"].notna().sum() == 3
    assert table["gap"].notna().sum() == 9
    means = table.dropna(subset="mean").set_index(["model", "seed"])["mean"]
    gap = table.set_index(["model", "seed", "other model", "other seed"])["gap"]["ae", 0, "cae", 0]
    assert gap == pytest.approx(2 * abs(means["ae", 0] - means["cae", 0]))


def test_an_option_that_neither_part_has_is_refused(stored, offered):
    offered(Both())
    with pytest.raises(CaelabError, match=r"gaps.*tims"):
        analyse_together(stored, "gaps", tims=2.0)


@pytest.mark.parametrize("kind", [Gaps, Both])
def test_a_study_sums_up_each_run_from_the_rows_about_it(tmp_path, offered, kind):
    offered(kind())
    analyses = {"gaps": {}, "jacobian_norm": {"examples": 5}}
    configs = [caelab.recipe_config(name, TINY, dataset=DIGITS) for name in ("ae", "cae")]
    study = Study(configs, 2, analyses, tmp_path)
    result = study.run(executor="serial")
    rows = run_rows(result)
    gaps = result.tables()["gaps"]
    expected = gaps.groupby(["model", "seed"], sort=False)["gap"].max()
    assert rows["largest gap"].tolist() == expected.tolist()
    assert not result.problems
    assert ("mean" in rows) == (kind is Both)


@pytest.mark.parametrize(
    ("error", "applies", "told"),
    [
        (NotApplicable("one model only"), False, "one model only"),
        (KeyError("lost"), True, "failed in compare: KeyError"),
    ],
)
def test_a_study_goes_on_without_an_analysis_that_fails(tmp_path, offered, error, applies, told):
    class Fails(Gaps):
        def compare(self, runs, streams):
            raise error

    offered(Fails())
    study = Study([caelab.recipe_config("ae", TINY, dataset=DIGITS)], 1, {"gaps": {}, "jacobian_norm": {}}, tmp_path)
    result = study.run(executor="serial")
    (problem,) = result.problems
    assert (problem.model, problem.analysis, problem.applies) == ("all", "gaps", applies)
    assert told in problem.message
    assert list(result.tables()) == ["jacobian_norm"]


def test_a_number_that_another_analysis_has_is_refused_with_both_named(tmp_path, offered):
    class Same(Gaps):
        columns = ()

        def summarise(self, table):
            return {"mean norm": 1.0}

    offered(Same())
    study = Study([caelab.recipe_config("ae", TINY, dataset=DIGITS)], 1, {"jacobian_norm": {}, "gaps": {}}, tmp_path)
    (problem,) = study.run(executor="serial").problems
    assert "the analyses 'jacobian_norm' and 'gaps' both summarise 'mean norm'" in problem.message


def test_two_columns_of_one_name_are_refused_before_a_run_with_both_named(tmp_path, offered):
    offered(Gaps(), "first")
    offered(Gaps(), "second")
    study = Study(["ae"], 1, ["first", "second"], tmp_path / "runs")
    with pytest.raises(CaelabError, match=r"'first' of plugin 'a plugin' and the analysis 'second' .*'largest gap'"):
        study.run(executor="serial")
    assert not (tmp_path / "runs").exists()


WRONG = {
    "no table": (lambda runs: 3, "returns int, but a pandas.DataFrame is expected"),
    "no seed": (lambda runs: pd.DataFrame({"model": ["ae"]}), "without the column 'seed'"),
    "another run": (lambda runs: pd.DataFrame({"model": ["ae"], "seed": [7]}), "about the model 'ae' of seed 7"),
}


@pytest.mark.parametrize(("find", "told"), WRONG.values(), ids=WRONG)
def test_a_table_that_says_nothing_of_its_runs_is_refused(stored, offered, find, told):
    class Wrong(Gaps):
        def compare(self, runs, streams):
            return find(runs)

    offered(Wrong())
    with pytest.raises(CaelabError, match=told):
        analyse_together(stored, "gaps")


def test_runs_are_left_as_they_were(stored, offered):
    class Greedy(Gaps):
        def compare(self, runs, streams):
            next(runs[-1].model.parameters()).data.zero_()
            return super().compare(runs, streams)

    offered(Greedy())
    before = next(stored[-1].model.parameters()).clone()
    with pytest.raises(CaelabError, match="the analysis 'gaps' changes what it was given to read"):
        analyse_together(stored, "gaps")
    assert next(stored[-1].model.parameters()).equal(before)


def test_two_runs_of_one_name_are_refused(stored, offered):
    offered(Gaps())
    with pytest.raises(CaelabError, match="two runs are 'ae' of seed 0"):
        compared_runs([stored[0], stored[0]], "gaps", {})


def test_one_run_has_no_table_of_its_own(stored, offered):
    offered(Gaps())
    with pytest.raises(CaelabError, match="looks at several runs at once"):
        analyse(stored[0], "gaps")


def test_the_command_for_runs_compares_them_too(stored, offered, tmp_path):
    offered(Gaps())
    lines = list(analyse_runs(stored, ["gaps"], ["gaps.times=3"], tmp_path / "out"))
    assert [line.split(":")[0].strip() for line in lines] == ["gaps", "ae, seed 0", "ae, seed 1", "cae"]
    table = pd.read_parquet(tmp_path / "out" / "gaps.parquet")
    assert f"largest gap = {table[table['model'] == 'cae']['gap'].max():.4g}" in lines[-1]


class Neither:
    """An analysis that does nothing."""

    def draw(self, table):
        """Nothing."""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "lacks both measure and compare"),
        ({"measure": lambda run, streams: None, "draw": None}, "lacks draw"),
        ({"measure": lambda run, streams: None, "title": 3}, "has the title 3, but a text is expected"),
        ({"measure": lambda run, streams: None, "default": "yes"}, "has default='yes', but True or False"),
        ({"measure": lambda run, streams: None, "columns": ["x"]}, r"has columns=\['x'\], but a list of caelab.Column"),
        (
            {"measure": lambda run, streams: None, "columns": [Column(name="x")]},
            "has the column 'x', but nothing sums up to it",
        ),
        (
            {"measure": lambda run, streams: None, "columns": [Column(name="x")] * 2, "summarise": dict},
            "has two columns of the name 'x'",
        ),
    ],
)
def test_an_analysis_that_is_none_is_refused_with_its_plugin_named(offered, change, told):
    thing = offered(Neither())
    for key, value in change.items():
        setattr(thing, key, value)
    with pytest.raises(CaelabError, match=f"the analysis 'gaps' of plugin 'a plugin' {told}"):
        load_analysis("gaps")


def test_a_column_that_summarise_does_not_return_is_refused(stored, offered):
    class Misspelt(Gaps):
        columns = (Column(name="largest gab"),)

    offered(Misspelt())
    with pytest.raises(
        CaelabError, match=r"'largest gab', but summarise returns no number of that name, only 'largest gap'"
    ):
        several.summaries("gaps", [], [analyse_together(stored, "gaps")], [("ae", 0)])


def test_a_column_that_nothing_sums_up_to_ends_a_study_with_the_plugin_named(tmp_path, offered):
    class Misspelt(Both):
        columns = (Column(name="largest gab"),)

        compare = None

        def summarise(self, table):
            return {"largest gap": 1.0}

    offered(Misspelt())
    study = Study([caelab.recipe_config("ae", TINY, dataset=DIGITS)], 1, ["gaps"], tmp_path)
    with pytest.raises(CaelabError, match="the analysis 'gaps' of plugin 'a plugin' has the column 'largest gab'"):
        study.run(executor="serial")


def test_a_look_that_cannot_be_drawn_is_refused_before_a_run(tmp_path, monkeypatch):
    wrong = Offer("recipe", "mine", "a plugin", Recipe(look=Look("no colour", "o")))
    monkeypatch.setitem(catalogue().offers, ("recipe", "mine"), wrong)
    config = caelab.recipe_config("mine", TINY, dataset=DIGITS)
    with pytest.raises(CaelabError, match="the recipe 'mine' of plugin 'a plugin' has a look"):
        Study([config], 1, ["jacobian_norm"], tmp_path / "runs").check()


def test_what_a_plugin_file_imports_counts_as_its_code(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("VALUE = 1\n")
    (tmp_path / "mine.py").write_text(
        "from helper_of_mine import VALUE\n\n\ndef measure(run, streams):\n    return VALUE\n"
    )
    plugin = load_file(tmp_path / "mine.py")
    first = source_of(plugin)
    content_of.cache_clear()
    assert source_of(plugin) == first
    (tmp_path / "helper_of_mine.py").write_text("VALUE = 2\n")
    content_of.cache_clear()
    assert source_of(plugin) != first


def test_a_default_analysis_of_a_named_file_is_not_left_out_in_silence(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from caelab import hookimpl\n\n\nclass Broken:\n    default = True\n\n\n@hookimpl\n"
        "def register_analyses(register):\n    register('broken', Broken())\n"
    )
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    monkeypatch.setattr(catalogue(), "files", [])
    catalogue().add_file(tmp_path / "mine.py")
    with pytest.raises(CaelabError, match=r"the analysis 'broken' of plugin .* lacks both measure and compare"):
        default_analyses()


class MeasuresAlone(Both):
    """Its comparison has no meaning for the runs that there are."""

    columns = (Column(name="mean"),)

    def compare(self, runs, streams):
        raise NotApplicable("too few runs")

    def summarise(self, table):
        return {"mean": table["mean"].mean()}


def test_what_was_measured_stays_where_there_is_nothing_to_compare(stored, tmp_path, offered, caplog):
    offered(MeasuresAlone())
    assert analyse_together(stored, "gaps")["mean"].notna().all()
    assert "is measured, but not compared: too few runs" in caplog.text
    study = Study([caelab.recipe_config("ae", TINY, dataset=DIGITS)], 2, ["gaps"], tmp_path)
    result = study.run(executor="serial")
    means = result.tables()["gaps"].groupby("seed")["mean"].mean()
    assert run_rows(result)["mean"].tolist() == means.tolist()
    assert not result.problems


def test_numbers_of_a_comparison_are_kept_for_all_runs_or_for_none(tmp_path, offered):
    class OnlySecond(Gaps):
        columns = ()

        def summarise(self, table):
            return {"mean norm" if table["seed"].iloc[0] else "fine": 1.0}

    offered(OnlySecond())
    study = Study([caelab.recipe_config("ae", TINY, dataset=DIGITS)], 2, ["jacobian_norm", "gaps"], tmp_path)
    result = study.run(executor="serial")
    assert len(result.problems) == 1
    assert "fine" not in run_rows(result)
