import numpy as np
import pytest
from scipy import stats

from caelab import CaelabError
from caelab.analysis.statistics import rank_correlation_interval
from caelab.analysis.statistics.correlations import kendall

RNG = np.random.default_rng(0)
FIRST = RNG.normal(0, 1, 20)
SECOND = FIRST + RNG.normal(0, 1, 20)
TIED = np.round(SECOND)


@pytest.mark.parametrize("second", [SECOND, TIED], ids=["distinct", "tied"])
def test_kendalls_is_scipys(second):
    assert kendall(FIRST, second) == pytest.approx(stats.kendalltau(FIRST, second).statistic, rel=1e-12)
    assert np.isnan(kendall([1, 2], [3, 3]))


def test_spearmans_interval_by_hand():
    rho = stats.spearmanr(FIRST, SECOND).statistic
    half = 1.959963985 * np.sqrt((1 + rho**2 / 2) / 17)
    found = rank_correlation_interval(FIRST, SECOND)
    assert (found.value, found.observations) == (pytest.approx(rho), 20)
    assert (found.low, found.high) == (
        pytest.approx(np.tanh(np.arctanh(rho) - half)),
        pytest.approx(np.tanh(np.arctanh(rho) + half)),
    )


def test_kendalls_interval_by_hand():
    tau = stats.kendalltau(FIRST, SECOND).statistic
    half = 1.959963985 * np.sqrt(0.437 / 16)
    found = rank_correlation_interval(FIRST, SECOND, "kendall")
    assert found.low == pytest.approx(np.tanh(np.arctanh(tau) - half))


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_about_19_of_20_intervals_hold_the_true_correlation(kind):
    rng, r = np.random.default_rng(5), 0.6
    true = {"spearman": 6 / np.pi * np.arcsin(r / 2), "kendall": 2 / np.pi * np.arcsin(r)}[kind]  # of a normal pair
    held = 0
    for _ in range(1000):
        first, noise = rng.normal(0, 1, (2, 25))
        found = rank_correlation_interval(first, r * first + np.sqrt(1 - r**2) * noise, kind)
        held += found.low <= true <= found.high
    assert held / 1000 == pytest.approx(0.95, abs=0.025)


def test_the_bootstrap_agrees_roughly_and_is_the_same_every_time():
    found = rank_correlation_interval(FIRST, SECOND, method="bootstrap")
    assert found == rank_correlation_interval(FIRST, SECOND, method="bootstrap")
    fisher = rank_correlation_interval(FIRST, SECOND)
    assert (found.low, found.high) == (pytest.approx(fisher.low, abs=0.15), pytest.approx(fisher.high, abs=0.15))
    scipys = stats.bootstrap(
        (FIRST, SECOND), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
        method="percentile", n_resamples=500, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.low == pytest.approx(scipys.low, abs=0.08)


def test_what_has_no_interval():
    for first, second in (([1, 2, 3, 4], [1, 3, 2, 4]), (range(9), range(9)), (range(9), [1] * 9), ([], [])):
        found = rank_correlation_interval([*map(float, first)], [*map(float, second)])
        assert np.isnan([found.low, found.high]).all()


def test_observations_without_both_numbers_are_left_out():
    first, second = [*FIRST, np.nan, 1.0], [*SECOND, 1.0, np.inf]
    assert rank_correlation_interval(first, second) == rank_correlation_interval(FIRST, SECOND)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 2.0]), "1 and 2 came"),
        (([1.0], [2.0], "pearson"), "'pearson' and 'fisher' came"),
        (([1.0], [2.0], "kendall", "jackknife"), "'kendall' and 'jackknife' came"),
    ],
)
def test_wrong_questions(arguments, message):
    with pytest.raises(CaelabError, match=message):
        rank_correlation_interval(*arguments)
