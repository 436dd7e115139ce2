"""The paper's sentences on classifiers, stacks and few labels, and the numbers that the papers print."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from caelab import CaelabError, NotApplicable, Numbers, Published
from caelab.registry.catalogue import catalogue
from caelab.report.claims import short
from caelab.report.published import models_of, published, published_tables
from caelab_analyses.rifai2011 import features
from caelab_analyses.rifai2011.printed import ERRORS, NORMS, PUBLISHED, SATURATED, STACKS

AFTER = "test error after fine-tuning"


def made_up(**models):
    """Made-up errors, by recipe with underscores."""
    return Numbers.made_up({name.replace("_", "-"): {AFTER: error} for name, error in models.items()})


def test_the_error_after_fine_tuning_on_all_labels_comes_first():
    both = Numbers.made_up({"ae": {AFTER: 1.0, "fine-tuned error": 2.0}})
    one = Numbers.made_up({"ae": {"fine-tuned error": 2.0}})
    assert features.error_column(both) == AFTER
    assert features.error_column(one) == "fine-tuned error"
    with pytest.raises(NotApplicable, match="no classifier was fine-tuned"):
        features.error_column(Numbers.made_up({"ae": {"mean norm": 2.0}}))


def test_a_stack_is_held_against_one_layer_and_three():
    numbers = made_up(cae=4.0, cae_2=3.0, sae_3=3.5, rbm_3=2.5, dae_b_3=3.6)
    assert features.two_layers_beat_one(numbers).verdict == "supported"
    beaten = features.two_beat_three(numbers)
    assert beaten.verdict == "contradicted"
    assert "RBM-3 2.48 against CAE-2 3.00" in beaten.evidence
    assert "2 of 3 differences support the claim" in beaten.evidence


def test_norm_and_error_are_correlated_seed_by_seed():
    rng = np.random.default_rng(0)
    models = ["ae", "ae-wd", "dae-g", "dae-b", "rbm", "cae"]
    rows = pd.DataFrame({"model": np.repeat(models, 4), "seed": [0, 1, 2, 3] * 6})
    rows["mean norm"], rows[AFTER] = rng.random(24), rng.random(24)
    found = features.norm_goes_with_error(Numbers(rows))
    by_seed = [stats.spearmanr(each["mean norm"], each[AFTER]).statistic for _, each in rows.groupby("seed")]
    interval = stats.t.interval(0.95, 3, np.mean(by_seed), stats.sem(by_seed))
    assert found.verdict == "inconclusive"
    shown = f"difference {np.mean(by_seed):#.3g} [{interval[0]:#.3g}, {interval[1]:#.3g}]"
    assert shown.replace("-", "\N{MINUS SIGN}") in found.evidence
    with pytest.raises(NotApplicable, match="needs five of the paper's models"):
        features.norm_goes_with_error(Numbers(rows[rows["model"] < "c"]))


def test_a_gap_that_shrinks_with_labels():
    few, many = features.FEW, features.ALL
    numbers = Numbers.made_up({"random": {few: 30.0, many: 6.0}, "cae": {few: 20.0, many: 4.0}}, spread=0.0001)
    found = features.fewer_labels_larger_gap(numbers)
    assert found.verdict == "supported"
    assert "with 100 labels 10.0 against with all" in found.evidence


RIVALS = {
    "two_layers_beat_one": ("cae", "cae-2"),
    "two_beat_three": ("sae-3", "cae-2"),
    "pretraining_beats_random": ("random", "cae"),
}


@pytest.mark.parametrize("claim", RIVALS)
def test_chance_in_the_test_examples_counts_where_all_runs_are_tested_on_the_same(claim):
    worse, better = RIVALS[claim]
    tested = {"fine_tuning": pd.DataFrame({"model": better, "seed": [0], "test_examples": [2000]})}
    numbers = Numbers.made_up({worse: {AFTER: 6.0}, better: {AFTER: 5.0}}, spread=0, tables=tested)
    found = getattr(features, claim)(numbers)
    half = 1.96 * 100 * np.sqrt((0.06 * 0.94 + 0.05 * 0.95) / 2000)
    assert half / np.sqrt(3) < 1 < half
    assert found.verdict == "inconclusive"
    assert f"[{short(1 - half)}, {short(1 + half)}]" in found.evidence
    assert found.evidence.endswith("The intervals hold the chance in 2000 test examples too.")
    drawn_anew = replace(numbers, test_to_train=dict.fromkeys((worse, better), 0.125))
    found = getattr(features, claim)(drawn_anew)  # three splits without any spread: by chance, of whole examples
    assert found.verdict == "supported"
    assert f"[{short(1 - half / np.sqrt(3))}, {short(1 + half / np.sqrt(3))}]" in found.evidence
    assert found.evidence.endswith("The intervals hold the chance in 6000 test examples too.")


def test_chance_counts_in_the_gap_and_in_the_tangents():
    errors = {"random": {features.FEW: 20.0, features.ALL: 6.0}, "cae": {features.FEW: 17.0, features.ALL: 5.0}}
    tested = pd.DataFrame({"model": "cae", "seed": [0], "split": ["test"], "examples": [500]})
    numbers = Numbers.made_up(errors, spread=0.001, tables={"few_labels": tested, "tangent_classifier": tested})
    found = features.fewer_labels_larger_gap(numbers)
    half = 1.96 * 100 * np.sqrt((0.2 * 0.8 + 0.17 * 0.83 + 0.06 * 0.94 + 0.05 * 0.95) / 500)
    assert half > 3 - 1
    assert found.verdict == "inconclusive"
    without, with_them = "test error without tangents", "test error of the tangent classifier"
    numbers = replace(numbers, rows=Numbers.made_up({"cae-h": {without: 6.0, with_them: 5.0}}, spread=0.001).rows)
    found = features.tangents_help(numbers)
    assert found.verdict == "inconclusive"
    assert "CAE+H without tangents 6.00 against CAE+H with tangents 5.00" in found.evidence


def test_a_model_without_an_error_does_not_end_the_correlation():
    rows = Numbers.made_up({r: {"mean norm": 1.0 + i, AFTER: 1.0 + i} for i, r in enumerate(features.SINGLE)}).rows
    rows.loc[rows["model"] == "rbm", AFTER] = np.nan
    assert "over 6 models" in features.norm_goes_with_error(Numbers(rows)).evidence


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_are_offered_and_of_known_recipes(name):
    offered = catalogue().get("published", f"rifai2011.{name}")
    assert offered is PUBLISHED[name]
    assert {*offered.values} <= {*catalogue().names("recipe")}
    assert offered.number in (AFTER, "mean squared entry", "saturated share", "test error by svm-rbf")


def test_the_checked_cells():
    assert (ERRORS["mnist"]["cae"], SATURATED["mnist"]["cae"], NORMS["mnist"]["cae"]) == (1.14, 86.36, 0.73e-4)
    assert STACKS["mnist-basic"]["cae-2"] == 2.48
    assert [kind for kind, cells in STACKS.items() if "cae-2" in cells] == ["mnist-basic"]


def test_stacks_on_mnist_stand_beside_both_of_its_columns():
    found = {each.source: each for each in published("mnist") if each.number == AFTER and "sae-3" in each.values}
    assert [each.values["sae-3"] for each in found.values()] == [1.40, 3.46]
    assert [note.partition(" examples")[0] for note in (each.note for each in found.values())] == [
        "There 50 000",
        "There 10 000",
    ]
    assert [each.source for each in published("mnist5k") if "sae-3" in each.values] == [[*found][1]]


def test_a_comparison_stands_beside_them():
    errors = {"cae": 4.0, "dae-g": 4.5, "rbm weight=1": 5.0, "ae": 6.0, "mine": 1.0}
    numbers = Numbers.made_up({model: {AFTER: error} for model, error in errors.items()}, spread=0.01)
    tables = [*published_tables(numbers.rows, [], "mnist5k")]
    (table,) = [each for each in tables if "Table 1" in each.caption]
    assert [row[0].text.partition(" ")[0] for row in table.rows] == ["CAE", "DAE-g", "RBM", "AE"]
    assert [row[2].text for row in table.rows] == ["1.14", "1.18", "1.30", "1.78"]
    mean = numbers.rows.loc[numbers.rows["model"] == "cae", AFTER].mean()
    assert table.rows[0][1].value == pytest.approx(mean)
    assert "\N{PLUS-MINUS SIGN}" in table.rows[0][1].text
    assert "between the two columns: 1.00" in table.caption
    assert not [*published_tables(numbers.rows, [], "digits")]
    assert {each.source for each in published("mnist5k")} >= {"Rifai et al. (2011), Table 1, MNIST"}


def test_small_numbers_have_one_power_of_ten_in_both_columns():
    entries = {"cae": 0.400e-4, "dae-g": 1.76e-4, "ae": 3.126e-4}
    numbers = Numbers.made_up({model: {"mean squared entry": entry} for model, entry in entries.items()}, spread=0.01)
    (table,) = [each for each in published_tables(numbers.rows, [], "mnist5k") if "Table 1" in each.caption]
    here, there = table.headings[1:]
    assert here.endswith("mean squared entry (×10⁻⁴)")
    assert there == "published: average norm (×10⁻⁴)"
    assert [row[2].text for row in table.rows] == ["0.73", "0.86", "17.50"]
    means = numbers.rows.groupby("model", sort=False)["mean squared entry"].mean()
    assert [row[1].value for row in table.rows] == pytest.approx([*means])
    assert [float(row[1].text.partition(" ")[0]) for row in table.rows] == pytest.approx([*(1e4 * means)], abs=0.01)


def test_a_number_in_another_unit_is_multiplied():
    numbers = Numbers.made_up({"cae": {"saturated share": 0.5}, "ae": {"saturated share": 0.25}}, spread=0)
    of = PUBLISHED["table1_mnist_saturated"]
    assert models_of(numbers.rows, of) == {"cae": "cae", "ae": "ae"}
    tables = [each for each in published_tables(numbers.rows, [], "mnist") if "saturated" in each.name]
    assert [row[1].value for row in tables[0].rows] == [50.0, 25.0]


@pytest.mark.parametrize("values", [{}, {"cae": "1.14"}])
def test_published_numbers_are_numbers(values):
    with pytest.raises(CaelabError, match="expected the published values as a mapping of recipes to numbers"):
        Published("a paper", ("mnist",), AFTER, values, "error")
