"""What --tune chooses, what it leaves as the user gave it, and that it says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from caelab import CaelabError, recipe_config
from caelab.analysis.columns import Column
from caelab.registry.catalogue import Catalogue, Offer, catalogue
from caelab.report.publish import publish_comparison
from caelab.report.store import collect, load_comparison, save
from caelab.runs.settings import parse_setting
from caelab.study.outcomes import Outcome, StudyResult
from caelab.study.plan import plan
from caelab.study.study import Study
from caelab.study.tuning import EQUAL, Measure, checked_labels, choices, decided, measure_of, told, tuning_study

MEASURE = measure_of(["classification"])
SMALL = ["training.epochs=1", "model.hidden=[6]"]
DIGITS = {"kind": "digits", "splits": [100, 50, 50]}


def weights(choice):
    return [each.config.regularizers["contractive"].options["weight"] for each in choice.candidates]


def test_a_recipe_is_tried_with_each_weight_of_its_grid():
    ae, cae = choices(plan(["ae", "cae"], SMALL), pairs(SMALL))
    assert weights(cae) == [0.3, 1.0, 2.0, 5.0]
    assert all(each.config.training.epochs == 1 for each in cae.candidates)
    assert (list(ae.candidates), ae.given) == ([], "")


@pytest.mark.parametrize(
    "setting",
    [
        "contractive.weight=0.7",
        "contractive.weight=2.0",
        "contractive={weight: 1}",
        "regularizers.contractive.weight=1",
    ],
)
def test_a_weight_that_was_set_stays(setting):
    (choice,) = choices(plan(["cae"], [setting]), pairs([setting]))
    assert list(choice.candidates) == []
    assert choice.given == "contractive.weight"


def test_the_weights_of_a_grid_stay_and_those_of_another_key_are_tuned():
    grid = {"contractive.weight": [0.1, 0.2]}
    assert [len(each.candidates) for each in choices(plan(["cae"], grid=grid), grid=grid)] == [0, 0]
    grid = {"training.epochs": [1, 2]}
    assert [len(each.candidates) for each in choices(plan(["cae"], grid=grid), grid=grid)] == [4, 4]


def test_a_file_stays_even_where_its_label_is_that_of_a_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(recipe_config("cae", ["contractive.weight=0.77"]).to_yaml())
    (choice,) = choices(plan([str(tmp_path / "mine.yaml")]))
    assert list(choice.candidates) == []
    assert choice.config.regularizers["contractive"].options["weight"] == 0.77


def pairs(settings):
    return [*map(parse_setting, settings)]


def trials(found, seeds, folder, files=()):
    """The study of the candidates, of a study that has these seeds."""
    study = Study([choice.config for choice in found], seeds, {}, folder / "runs", files)
    return tuning_study(found, study, MEASURE)


@pytest.fixture
def tuned(tmp_path):
    settings = [*SMALL, "weight-decay.weight=0.02"]
    found = choices(plan(["cae", "ae-wd"], settings, dataset=DIGITS), pairs(settings))
    result = trials(found, [0, 1], tmp_path).run(executor="serial")
    return *decided(found, result, MEASURE), result


def test_the_smallest_mean_validation_error_is_chosen(tuned):
    (cae, wd), table, result = tuned
    errors = [outcome.numbers["fine-tuned validation error"] for outcome in result.outcomes]
    means = np.reshape(errors, (4, 2)).mean(axis=1)
    least = np.flatnonzero(np.isclose(means, means.min(), rtol=1e-9)).tolist()
    best = 2 if 2 in least else least[0]  # of equals the recipe's own weight, 2.0
    assert cae.regularizers["contractive"].options["weight"] == [0.3, 1.0, 2.0, 5.0][best]
    assert wd.regularizers["weight-decay"].options["weight"] == 0.02
    tried = table[table["model"] == "cae"]
    np.testing.assert_allclose(tried[MEASURE.column.name], means)
    assert list(tried["choice"] == "chosen") == [place == best for place in range(4)]
    assert table.iloc[-1].to_dict() == {
        "model": "ae-wd", "setting": "weight-decay.weight", MEASURE.column.name: pytest.approx(np.nan, nan_ok=True),
        "choice": "given",
    }  # fmt: skip


def result_with(found, errors):
    """A study's result in which the candidates have these validation errors, one seed."""
    configs = [each.config for choice in found for each in choice.candidates]
    outcomes = [
        Outcome(config, Path(str(place)), {}, {"fine-tuned validation error": error})
        for place, (config, error) in enumerate(zip(configs, errors, strict=True))
    ]
    return StudyResult(outcomes)


@pytest.mark.parametrize(
    ("errors", "best", "equal"),
    [
        ([3.0, 3.0, 3.0, 3.0], 2.0, [0.3, 1.0, 5.0]),  # the recipe's own weight is 2
        ([3.0, 2.0, 2.5, 2.0], 1.0, [5.0]),  # not the recipe's own: the first
        ([3.0, 2.0, 2.0 + 1e-15, 4.0], 2.0, [1.0]),  # means that differ by rounding
        ([3.0, 2.0, 2.1, 4.0], 1.0, []),
    ],
)
def test_candidates_that_are_equally_good_are_named_and_the_rule_is_said(errors, best, equal):
    found = choices(plan(["cae"], SMALL), pairs(SMALL))
    (config,), table = decided(found, result_with(found, errors), MEASURE)
    assert config.regularizers["contractive"].options["weight"] == best
    assert list(table.loc[table["choice"] == EQUAL, "setting"]) == [f"contractive.weight={each}" for each in equal]
    (line,) = told(table)
    assert line.startswith(f"cae: contractive.weight={best} chosen by fine-tuned validation error")
    rule = "of equals the recipe's own is taken, and else the first"
    assert (rule in line) == bool(equal)
    for each in equal:
        assert f"contractive.weight={each}" in line.partition(" (as good as ")[2].partition(": of equals")[0]


def test_candidates_and_errors_are_told_stored_and_shown(tuned, tmp_path):
    configs, table, _ = tuned
    first, second = told(table)
    assert first.startswith("cae: contractive.weight=")
    assert first.count("contractive.weight=") >= 4
    assert second == "ae-wd: weight-decay.weight stays as given"
    study = Study(configs, [0], {"jacobian_norm": {}}, tmp_path / "runs")
    save(collect("caelab compare", configs, [0], study.run(executor="serial"), table), tmp_path)
    pd.testing.assert_frame_equal(load_comparison(tmp_path).tuning.fillna({"choice": ""}), table)
    list(publish_comparison(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "contractive.weight=0.3" in page
    assert "Chosen on validation examples by the number &#39;fine-tuned validation error&#39;" in page


def test_what_cannot_be_tuned_says_why_before_anything_is_trained(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((60, 20)).astype("float32"))
    data = {"kind": f"npz:{tmp_path / 'x.npz'}", "splits": [40, 10, 10]}
    with pytest.raises(CaelabError, match=r"'cae' cannot be tuned: npz has no labels, .*; leave --tune out"):
        checked_labels(choices(plan(["cae"], SMALL, dataset=data), pairs(SMALL)), MEASURE)


def test_where_nothing_has_a_grid_that_is_said():
    configs, table = decided(choices(plan(["ae"])), StudyResult([]), MEASURE)
    assert [config.label for config in configs] == ["ae"]
    assert list(told(table)) == ["no model of this comparison has a grid to choose from"]


PLUGIN = """
from caelab import hookimpl
from caelab.runs.recipes import Recipe

class Mine:
    def __init__(self, weight: float):
        self.weight = weight

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": self.weight * code.sum()}

@hookimpl
def register_regularizers(register):
    register("mine", Mine)

@hookimpl
def register_recipes(register):
    register("my-ae", Recipe("mine", {"regularizers": {"mine": {"weight": 1}}}, {"mine.weight": [1, 2]}))
"""


def test_a_recipe_of_a_plugin_file_is_tuned_in_the_workers_too(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(PLUGIN)
    more = Catalogue()
    more.add_file(tmp_path / "mine.py")
    with monkeypatch.context() as patch:
        patch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
        found = choices(plan(["my-ae"], SMALL, dataset=DIGITS), pairs(SMALL))
        study = trials(found, [0], tmp_path, [tmp_path / "mine.py"])
        assert len(study.run(executor="processes", workers=1).outcomes) == 2


class Graded:
    """An analysis whose numbers can be chosen by."""

    title = "Grades"

    def __init__(self, *columns):
        self.columns = columns

    def measure(self, run, streams):
        return pd.DataFrame({"grade": [1.0]})

    def draw(self, table):
        raise NotImplementedError

    def summarise(self, table):
        return {column.name: table["grade"].mean() for column in self.columns}


@pytest.fixture
def graded(monkeypatch):
    """Offer analyses with these columns under the names first, second, ..."""

    def offer(*analyses):
        offers = {("analysis", n): Offer("analysis", n, "mine", Graded(*columns)) for n, columns in analyses}
        monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **offers})

    return offer


def test_any_analysis_may_mark_what_is_chosen_by(graded):
    graded(("first", [Column(name="grade", better="larger", tune=True)]))
    measure = measure_of(["jacobian_norm", "first"])
    assert measure == Measure("first", Column(name="grade", better="larger", tune=True))
    found = choices(plan(["cae"], SMALL), pairs(SMALL))
    grades = [1.0, 4.0, 2.0, 3.0]
    configs = [each.config for choice in found for each in choice.candidates]
    outcomes = [Outcome(c, Path("x"), {}, {"grade": g}) for c, g in zip(configs, grades, strict=True)]
    (config,), table = decided(found, StudyResult(outcomes), measure)
    assert config.regularizers["contractive"].options["weight"] == 1.0  # the largest is the best here
    assert list(table.columns) == ["model", "setting", "grade", "choice"]


def test_of_several_marks_one_must_be_named(graded):
    graded(
        ("first", [Column(name="grade", better="larger", tune=True)]),
        ("second", [Column(name="mark", better="smaller", tune=True)]),
    )
    with pytest.raises(
        CaelabError, match=r"'grade' of the analysis 'first' and 'mark' of the analysis 'second'; name one"
    ):
        measure_of(["first", "second"])
    assert measure_of(["first", "second"], "mark").analysis == "second"
    assert measure_of(["jacobian_norm"], "grade").analysis == "first"
    with pytest.raises(CaelabError, match="expected the number 'height' that an analysis marks"):
        measure_of(["first"], "height")


@pytest.mark.parametrize("numbers", [{}, {"grade": float("nan")}])
def test_a_model_without_the_number_cannot_be_tuned(graded, numbers):
    graded(("first", [Column(name="grade", better="larger", tune=True, optional=True)]))
    found = choices(plan(["cae"], SMALL), pairs(SMALL))
    outcomes = [Outcome(each.config, Path("x"), {}, numbers) for choice in found for each in choice.candidates]
    with pytest.raises(CaelabError, match="'cae' cannot be tuned: the analysis 'first' gives it no number 'grade'"):
        decided(found, StudyResult(outcomes), measure_of(["first"]))
