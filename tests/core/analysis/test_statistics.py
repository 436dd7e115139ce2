from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from caelab import CaelabError
from caelab.analysis.statistics import (
    by_seed,
    holm,
    mean_and_half_width,
    paired_difference,
    rank_correlation,
    share_standard_error,
    sign_flip_p_value,
)

RNG = np.random.default_rng(0)
PAIRS = [(RNG.normal(3, 1, n), RNG.normal(2.5, 1, n)) for n in (2, 3, 5, 10)]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda a: f"{len(a)}")
def test_paired_difference_equals_scipys(first, second):
    found = paired_difference(pd.Series(first), pd.Series(second))
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert_allclose(
        [found.mean, found.low, found.high, found.p_value],
        [(first - second).mean(), interval.low, interval.high, expected.pvalue],
        rtol=1e-10,
    )
    assert found.pairs == len(first)
    mean, half = mean_and_half_width(first - second)
    assert_allclose([found.low, found.high], [mean - half, mean + half], rtol=1e-12)


def test_pairing_is_by_seed_and_skips_what_is_missing():
    first = pd.Series([1.0, 2.0, 3.0, np.nan], index=[0, 1, 2, 3])
    second = pd.Series([10.0, 0.0, 30.0, 5.0], index=[2, 0, 1, 3])
    found = paired_difference(first, second)
    by_hand = [1.0 - 0.0, 2.0 - 30.0, 3.0 - 10.0]
    assert found.pairs == 3
    assert found.mean == pytest.approx(np.mean(by_hand))
    assert found.p_value == pytest.approx(stats.ttest_1samp(by_hand, 0).pvalue)


def test_pairing_removes_what_the_seeds_share():
    luck = pd.Series([0.0, 5.0, 10.0])
    found = paired_difference(luck + pd.Series([1.0, 1.1, 0.9]), luck)
    assert found.low > 0
    assert stats.ttest_ind(luck + 1, luck).pvalue > 0.5


def test_what_is_infinite_is_no_pair():
    found = paired_difference(pd.Series([np.inf, 1.0, 2.0, np.inf]), pd.Series([np.inf, 0.0, 0.0, 1.0]))
    assert (found.mean, found.pairs) == (1.5, 2)


def test_pairs_are_of_one_split_and_seed():
    index = pd.MultiIndex.from_tuples([(0, 0), (0, 1), (1, 0)], names=["split", "seed"])
    found = paired_difference(pd.Series([1.0, 2.0, 3.0], index), pd.Series([0.5, 0.0], index[[2, 0]]))
    assert (found.mean, found.pairs) == (np.mean([3.0 - 0.5, 1.0 - 0.0]), 2)


def test_two_rows_of_one_seed_are_refused_unless_their_splits_differ():
    rows = pd.DataFrame({"model": ["a"] * 2, "seed": [0, 0], "x": [1.0, 2.0]})
    with pytest.raises(CaelabError, match="'a' has two of seed 0"):
        by_seed(rows, "x")
    assert by_seed(rows.assign(split=[0, 1]), "x").index.tolist() == [(0, 0), (1, 0)]


def test_no_spread_and_too_few():
    same = paired_difference(pd.Series([2.0, 2.0]), 1.0)
    assert (same.low, same.high, same.p_value) == (1.0, 1.0, 0.0)
    assert paired_difference(pd.Series([1.0, 1.0]), 1.0).p_value == 1.0
    one = paired_difference(pd.Series([2.0]), 1.0)
    assert one.mean == 1.0
    assert np.isnan([one.low, one.high, one.p_value]).all()
    assert np.isnan(paired_difference(pd.Series([np.nan]), 1.0).mean)


def test_widened_interval_is_never_narrower():
    found = paired_difference(pd.Series([1.0, 1.1, 0.9]), 0.0)
    assert found.widened(0.01) == found
    wide = found.widened(2.0)
    assert (wide.low, wide.high) == (pytest.approx(-1.0), pytest.approx(3.0))


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_sign_flips_equal_scipys_permutation_test(count):
    differences = np.random.default_rng(count).normal(0.5, 1, count)
    expected = np.mean(
        [abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-12 for signs in product([1, -1], repeat=count)]
    )
    assert sign_flip_p_value(differences) == pytest.approx(expected)
    if count > 1:
        scipys = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert sign_flip_p_value(differences) == pytest.approx(scipys.pvalue)


def test_three_seeds_reach_a_quarter_at_best():
    assert sign_flip_p_value([1.0, 2.0, 3.0]) == 0.25
    assert sign_flip_p_value([1.0, -1.0]) == 1.0
    assert np.isnan(sign_flip_p_value([]))


def test_many_pairs_draw_patterns_and_come_near_the_exact_share():
    differences = np.random.default_rng(17).normal(0.4, 1, 17)
    signs = np.array(list(product([1.0, -1.0], repeat=17)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    found = sign_flip_p_value(differences)
    assert found == sign_flip_p_value(differences)  # the same every time
    assert found != exact
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999))
    assert sign_flip_p_value(np.ones(40)) == pytest.approx(1 / 10_000)  # never 0: what was seen counts


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_what_is_unknown_unknown():
    adjusted = holm([np.nan, 0.01])
    assert np.isnan(adjusted[0])
    assert adjusted[1] == pytest.approx(0.02)  # still counted: the question was asked


def test_holm_equals_statsmodels():
    from statsmodels.stats import multitest

    values = np.random.default_rng(1).random(9) ** 3
    assert_allclose(holm(values), multitest.multipletests(values, method="holm")[1])


def test_standard_error_is_that_of_many_draws():
    draws = np.random.default_rng(2).binomial(500, 0.05, 200_000) / 500
    assert share_standard_error(0.05, 500) == pytest.approx(draws.std(), rel=0.01)


@pytest.mark.parametrize("second", [[3, 1, 2, 5, 4], [1, 1, 2, 2, 9], [5, 4, 3, 2, 1]])
def test_rank_correlation_equals_scipys(second):
    first = [0.1, 0.7, 0.3, 0.9, 5.0]
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_ties_alone_have_no_rank_correlation():
    assert np.isnan(rank_correlation([1, 2], [3, 3]))


def test_by_seed_keeps_the_order_of_the_models():
    rows = pd.DataFrame({"model": ["z", "z", "a"], "seed": [0, 1, 1], "x": [1, 2, 3]})
    found = by_seed(rows, "x")
    assert list(found.columns) == ["z", "a"]
    assert found.loc[1].tolist() == [2.0, 3.0]
    assert np.isnan(found.loc[0, "a"])
