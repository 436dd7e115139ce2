"""Bootstrap intervals, effect sizes, power, and the corrected variance of repeated splits, each derived another way."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats
from statsmodels.stats.power import TTestPower

from caelab import CaelabError
from caelab.analysis.statistics import (
    bootstrap_interval,
    corrected_difference,
    effect_size,
    paired_difference,
    power_note,
    share_won,
    smallest_difference,
)
from caelab.analysis.statistics.bootstrap import shares
from caelab.analysis.statistics.effects import effect_sizes, hedges_factor

SKEWED = np.random.default_rng(3).exponential(1, 12)


class TestBootstrap:
    def test_few_values_take_every_resample(self):
        values = [1.0, 2.0, 6.0]
        every = [np.mean(drawn) for drawn in product(values, repeat=3)]
        found = bootstrap_interval(values)
        assert_allclose([found.low, found.high], np.quantile(every, [0.025, 0.975]), rtol=1e-12)
        assert found.method == "percentile"

    def test_more_values_equal_the_formula_in_loops(self):
        """Efron (1987), section 3, on the very resamples that were drawn."""
        means = sorted(float(weights @ SKEWED) for weights in shares(len(SKEWED)))
        bias = stats.norm.ppf(np.mean([mean < SKEWED.mean() for mean in means]))
        left_out = np.array([np.delete(SKEWED, i).mean() for i in range(len(SKEWED))])
        off = left_out.mean() - left_out
        acceleration = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
        levels = [bias + z for z in stats.norm.ppf([0.025, 0.975])]
        levels = stats.norm.cdf([bias + level / (1 - acceleration * level) for level in levels])
        found = bootstrap_interval(SKEWED)
        assert found.method == "BCa"
        assert_allclose([found.low, found.high], np.quantile(means, levels), rtol=1e-12)
        plain = np.quantile(means, [0.025, 0.975])
        assert found.high > plain[1] + 0.05  # the correction for skewness would be missed

    def test_it_comes_near_scipys(self):
        scipys = stats.bootstrap((SKEWED,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0))
        found = bootstrap_interval(SKEWED)
        interval = scipys.confidence_interval
        assert_allclose([found.low, found.high], [interval.low, interval.high], atol=0.03)  # 0.01 is the chance of it

    def test_without_spread_it_has_no_width_and_one_value_has_none(self):
        found = bootstrap_interval([0.1] * 8)
        assert_allclose([found.low, found.high], 0.1, rtol=1e-12)
        assert found.method == "percentile"
        assert np.isnan([bootstrap_interval([1.0]).low, bootstrap_interval([]).high]).all()
        assert bootstrap_interval([1.0]).method == ""

    def test_weights_are_those_of_resamples(self):
        for pairs in (2, 5, 6):
            assert_allclose(shares(pairs).sum(axis=1), 1)
        assert len(shares(5)) == 5**5


class TestEffectSize:
    def test_by_hand(self):
        # mean 2, standard deviation 1, so d = 2; J(2) = Γ(1) / Γ(1/2) = 1 / √π
        assert effect_size([1.0, 2.0, 3.0]).value == pytest.approx(2 / np.sqrt(np.pi))

    @pytest.mark.parametrize("count", [3, 5, 20])
    def test_its_interval_is_that_of_the_noncentral_t(self, count):
        sample = np.random.default_rng(count).normal(1, 1, count)
        found = effect_size(sample)
        t = stats.ttest_1samp(sample, 0).statistic
        ends = np.array([found.low, found.high]) * np.sqrt(count) / hedges_factor(count - 1)
        chances = [noncentral_t(t, count - 1, noncentrality) for noncentrality in ends]
        assert_allclose(chances, [0.975, 0.025], atol=1e-5)
        assert found.low < found.value < found.high

    def test_the_factor_makes_it_unbiased(self):
        samples = np.random.default_rng(0).normal(0.8, 1, (4000, 6))
        found = effect_sizes(samples)[0]
        raw = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
        assert np.mean(found) == pytest.approx(0.8, abs=4 * np.std(found) / np.sqrt(4000))
        assert raw.mean() > 0.9  # uncorrected it is too large

    def test_two_pairs_and_no_spread_have_none(self):
        for sample in ([1.0, 2.0], [3.0, 3.0, 3.0], [0.0] * 4, [1.0], []):
            found = effect_size(sample)
            assert np.isnan([found.value, found.low, found.high]).all()

    def test_a_share_counts_ties_half(self):
        assert share_won([-1, -1, 1, 0]) == 0.625
        assert share_won([-1, -1, 1, 0], "larger") == 0.375
        assert np.isnan(share_won([1.0], ""))
        assert np.isnan(share_won([]))


def noncentral_t(t, freedom, noncentrality):
    """P(T ≤ t) for T = (Z + λ) / √(V / m): Φ(t √(v / m) - λ) averaged over the χ² density of v."""

    def at(v):
        return stats.norm.cdf(t * np.sqrt(v / freedom) - noncentrality) * stats.chi2.pdf(v, freedom)

    return integrate.quad(at, 0, np.inf, limit=200)[0]


class TestPower:
    @pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
    def test_it_is_that_of_statsmodels(self, count):
        sample = np.random.default_rng(count).normal(0, 2, count)
        effect = TTestPower().solve_power(nobs=count, alpha=0.05, power=0.8)
        assert smallest_difference(sample) == pytest.approx(effect * sample.std(ddof=1), rel=1e-4)

    def test_four_of_five_tests_find_a_true_difference_of_that_size(self):
        rng, size = np.random.default_rng(1), 1.682  # for 5 pairs of standard deviation 1
        assert smallest_difference(np.array([-1, 1, -1, 1, 0])) == pytest.approx(size, rel=1e-3)
        found = stats.ttest_1samp(rng.normal(size, 1, (20_000, 5)), 0, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(0.8, abs=0.012)

    def test_one_pair_tells_nothing_and_equal_ones_zero(self):
        assert np.isnan(smallest_difference([1.0]))
        assert np.isnan(smallest_difference([]))
        assert smallest_difference([2.0, 2.0]) == 0.0

    def test_the_note_is_a_sentence(self):
        found = pd.DataFrame({"number": "error", "pairs": [3, 3, 3], "smallest difference": [0.006, 0.008, 0.5]})
        note = power_note(found, {"error": ("test error (%)", 100)})
        assert note.startswith("With 3 pairs, differences below 0.8 in test error (%) cannot be seen here")
        few = pd.concat([found.assign(pairs=[2, 3, 3]), found.assign(number="norm")])
        assert power_note(few).startswith("With 2 to 3 pairs, differences below 0.008 in error, 0.008 in norm cannot")
        assert power_note(found.assign(**{"smallest difference": np.nan})) == ""


class TestRepeatedSplits:
    def test_by_hand(self):
        # mean 2, variance 1 over 4 - 1; error √(1/3 + 1/2); t quantile of 2
        found = corrected_difference(pd.Series([1.0, 2.0, 3.0]), 0.0, 0.5)
        half = stats.t.ppf(0.975, 2) * np.sqrt(5 / 6)
        assert_allclose([found.mean, found.low, found.high], [2, 2 - half, 2 + half], rtol=1e-12)
        assert found.p_value == pytest.approx(2 * stats.t.sf(2 / np.sqrt(5 / 6), 2))
        assert found.pairs == 3

    def test_with_no_test_examples_it_is_the_t_test(self):
        values = pd.Series(SKEWED)
        assert corrected_difference(values, 1.0, 0.0) == paired_difference(values, 1.0)

    def test_seeds_of_one_split_are_averaged_first(self):
        index = pd.MultiIndex.from_product([[0, 1, 2], [0, 1]], names=["split", "seed"])
        first = pd.Series([1.0, 3.0, 4.0, np.nan, 8.0, 10.0], index)
        found = corrected_difference(first, pd.Series(1.0, index), 0.5)
        assert found == corrected_difference(pd.Series([1.0, 3.0, 8.0]), 0.0, 0.5)
        assert found.pairs == 3
        assert corrected_difference(first.rename_axis([None, None]), 1.0, 0.5) == found

    def test_it_is_the_variance_of_means_over_splits_that_share_examples(self):
        """Where a number is the mean of independent values of the test examples, Nadeau and Bengio's ρ is exact."""
        rng, train, test, splits = np.random.default_rng(0), 40, 20, 4
        means, corrected, plain = [], [], []
        for _ in range(4000):
            examples = rng.normal(0, 1, train + test)
            values = pd.Series([examples[rng.permutation(train + test)[:test]].mean() for _ in range(splits)])
            means.append(values.mean())
            variance = values.var(ddof=1)
            corrected.append(variance * (1 / splits + test / train))
            plain.append(variance / splits)
        assert np.mean(corrected) == pytest.approx(np.var(means), rel=0.06)
        assert np.mean(plain) < 0.4 * np.var(means)  # a third: what the plain interval takes it for

    def test_too_few_splits_and_a_wrong_ratio(self):
        one = corrected_difference(pd.Series([1.0]), 0.0, 0.5)
        assert one.mean == 1.0
        assert np.isnan([one.low, one.p_value]).all()
        assert np.isnan(corrected_difference(pd.Series([np.nan]), 0.0, 0.5).mean)
        for wrong in (-1.0, np.nan, np.inf):
            with pytest.raises(CaelabError, match="how many examples test for each one that trains"):
                corrected_difference(pd.Series([1.0, 2.0]), 0.0, wrong)


def test_special_functions_are_good_for_large_effects():
    """The noncentral t is inverted up to differences that are a thousand times their spread."""
    for t in (10.0, 1e3, 1e4):
        low, high = (special.nctdtrinc(4, level, t) for level in (0.975, 0.025))
        assert_allclose([noncentral_t(t, 4, low), noncentral_t(t, 4, high)], [0.975, 0.025], atol=2e-3)
