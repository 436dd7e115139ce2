from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from caelab import CaelabError
from caelab.analysis.statistics import (
    bootstrap_interval,
    comparisons,
    corrected_difference,
    effect_size,
    holm,
    not_told_from_best,
    paired_difference,
    share_won,
    sign_flip_p_value,
    smallest_difference,
)
from caelab.analysis.statistics.comparisons import COLUMNS

MODELS = {
    "a": [1.0, 1.2, 0.9, 1.1, 1.3, 0.8],
    "b": [1.1, 1.2, 1.0, 1.4, 1.2, 1.0],
    "c": [2.0, np.nan, 1.9, np.inf, 2.2, 2.1],
    "failed": [np.nan] * 6,
}


def rows_of(models, column="x"):
    rows = [(model, seed, value) for model, values in models.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["model", "seed", column])


@pytest.fixture(scope="module")
def found():
    return comparisons(rows_of(MODELS), "x", test_to_train=0.5)


def test_every_pair_of_models_has_a_row_with_the_numbers_of_the_single_functions(found):
    assert list(found.columns) == [*COLUMNS]
    assert list(zip(found["first"], found["second"], strict=True)) == list(combinations(MODELS, 2))
    for row in found.to_dict("records"):
        first, second = (pd.Series(MODELS[row[side]]) for side in ("first", "second"))
        differences = (first - second)[np.isfinite(first - second)].to_numpy()
        plain, split = paired_difference(first, second), corrected_difference(first, second, 0.5)
        boot, effect = bootstrap_interval(differences), effect_size(differences)
        expected = {
            "pairs": plain.pairs, "missing": 6 - plain.pairs, "difference": plain.mean, "t low": plain.low,
            "t high": plain.high, "t p": plain.p_value, "bootstrap low": boot.low, "bootstrap high": boot.high,
            "bootstrap method": boot.method, "permutation p": sign_flip_p_value(differences),
            "effect size": effect.value, "effect low": effect.low, "effect high": effect.high,
            "share won": share_won(differences), "smallest difference": smallest_difference(differences),
            "splits": split.pairs, "corrected low": split.low, "corrected high": split.high,
            "corrected p": split.p_value,
        }  # fmt: skip
        for name, value in expected.items():
            if isinstance(value, str):
                assert row[name] == value, name
            else:
                assert_allclose(row[name], value, rtol=1e-10, err_msg=name)


def test_what_failed_is_told_and_not_made_up(found):
    by = found.set_index(["first", "second"])
    assert by.loc[("a", "c"), ["pairs", "missing"]].tolist() == [4, 2]
    assert by.loc[("a", "failed"), ["pairs", "missing"]].tolist() == [0, 6]
    assert np.isnan(by.loc[("a", "failed"), "difference"])


def test_holm_is_over_all_pairs_of_models(found):
    for name in ("t p", "permutation p", "corrected p"):
        assert_allclose(found[f"{name} Holm"], holm(found[name]))
    assert (found["t p Holm"].dropna() > found["t p"].dropna()).any()


def test_without_a_ratio_nothing_is_corrected():
    found = comparisons(rows_of(MODELS), "x")
    assert found[["corrected low", "corrected p", "corrected p Holm"]].isna().all(axis=None)


def test_splits_and_seeds():
    """Two seeds in each of three splits: six pairs, three splits."""
    index = pd.MultiIndex.from_product([["a", "b"], [0, 1, 2], [0, 1]], names=["model", "split", "seed"])
    rows = pd.Series(np.random.default_rng(0).normal(0, 1, 12), index, name="x").reset_index()
    (row,) = comparisons(rows, "x", test_to_train=0.5).to_dict("records")
    values = rows["x"].to_numpy().reshape(2, 3, 2)
    per_split = (values[0] - values[1]).mean(axis=1)
    assert (row["pairs"], row["splits"]) == (6, 3)
    assert row["t p"] == pytest.approx(stats.ttest_rel(values[0].ravel(), values[1].ravel()).pvalue)
    error = per_split.std(ddof=1) * np.sqrt(1 / 3 + 0.5)
    assert row["corrected p"] == pytest.approx(2 * stats.t.sf(abs(per_split.mean()) / error, 2))


def test_larger_may_be_better_and_neither():
    few = rows_of({"a": [1.0, 2.0], "b": [0.0, 3.0], "c": [0.0, 0.0]})
    assert comparisons(few, "x", "larger")["share won"].tolist() == [0.5, 1.0, 0.75]
    assert comparisons(few, "x", "")["share won"].isna().all()


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_models_have_an_empty_table(count):
    found = comparisons(rows_of(dict([*MODELS.items()][:count])), "x")
    assert found.empty
    assert list(found.columns) == [*COLUMNS]


def test_one_seed_has_differences_alone():
    found = comparisons(rows_of({"a": [1.0], "b": [3.0]}), "x", test_to_train=0.5)
    assert found["difference"].tolist() == [-2.0]
    others = ["t low", "t p", "t p Holm", "bootstrap low", "effect size", "smallest difference", "corrected p"]
    assert found[others].isna().all(axis=None)


def test_all_equal_numbers_differ_by_nothing():
    (row,) = comparisons(rows_of({"a": [1.0] * 3, "b": [1.0] * 3}), "x", test_to_train=0.5).to_dict("records")
    assert (row["difference"], row["t p"], row["permutation p"], row["corrected p"]) == (0, 1, 1, 1)
    assert (row["share won"], row["bootstrap low"], row["bootstrap high"]) == (0.5, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((rows_of(MODELS), "y"), "the column 'y', but there are only model, seed, x"),
        ((rows_of(MODELS), "x", "higher"), "but 'higher' came"),
        ((rows_of(MODELS).drop(columns="seed"), "x"), "the column 'seed'"),
    ],
)
def test_wrong_rows(arguments, message):
    with pytest.raises(CaelabError, match=message):
        comparisons(*arguments)


def test_the_best_and_what_is_not_told_from_it():
    numbers = pd.DataFrame(
        {"b": [1.1, 1.0, 1.05], "far": [5.0, 5.2, 4.9], "a": [1.0, 1.1, 0.9], "one": [9, *[np.nan] * 2]}
    )
    assert not_told_from_best(numbers) == ["b", "a"]
    assert not_told_from_best(numbers[["b", "far"]], "larger") == ["far"]
    assert not_told_from_best(numbers.iloc[:1]) == ["a"]
    assert not_told_from_best(pd.DataFrame({"a": [np.nan]})) == []


def test_of_equal_models_all_stay_in_the_set_most_of_the_time():
    """Choosing the best first costs something: of 4 equal models and 5 seeds, about one set in ten lacks some."""
    rng = np.random.default_rng(0)
    whole = [
        len(not_told_from_best(pd.DataFrame(rng.normal(0, 1, (5, 4))).rename(columns=str))) == 4 for _ in range(400)
    ]
    assert 0.85 < np.mean(whole) < 0.97
