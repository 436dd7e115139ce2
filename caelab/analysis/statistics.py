"""Statistics over a few seeds: paired differences with intervals, and corrections for multiple comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
EXACT_UP_TO = 16  # seeds: 2^16 sign patterns take a tenth of a second


@dataclass(frozen=True)
class PairedDifference:
    """The mean of d_s = a_s - b_s over seeds s, with its 95 % t interval and two-sided p-value.

    Attributes:
        mean: of the differences; NaN without a pair.
        low: lower end of the interval; NaN for fewer than two pairs, as the next two.
        high: upper end.
        p_value: of the t test that the differences have mean zero.
        pairs: how many seeds have both numbers.
    """

    mean: float
    low: float
    high: float
    p_value: float
    pairs: int

    def widened(self, half: float) -> PairedDifference:
        """The same with an interval of at least ``half`` to either side; the p-value stays that of the t test."""
        return replace(self, low=min(self.low, self.mean - half), high=max(self.high, self.mean + half))


def by_seed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per seed and one column per model, in the order of the models; what is not finite becomes NaN."""
    numbers = rows.pivot(index="seed", columns="model", values=column)[rows["model"].drop_duplicates()].astype(float)
    return numbers.where(np.isfinite(numbers))


def paired_difference(first: pd.Series | float, second: pd.Series | float) -> PairedDifference:
    """First minus second over the seeds that both have (d̄ ± t_{n-1} s_d / √n).

    Seeds share splits and initial weights, so that a seed's luck cancels in the difference.

    Args:
        first: numbers indexed by seed, or one number for all.
        second: the same; one of the two has seeds.

    Returns:
        The difference; differences without any spread have an interval of no width and a p-value of 0 (or 1 at zero).
    """
    differences = pd.Series(first - second).dropna().to_numpy(np.float64)
    count = len(differences)
    mean = float(differences.mean()) if count else float("nan")
    if count < 2:
        return PairedDifference(mean, float("nan"), float("nan"), float("nan"), count)
    error = float(differences.std(ddof=1)) / np.sqrt(count)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return PairedDifference(mean, mean - half, mean + half, _t_p_value(mean, error, count - 1), count)


def _t_p_value(mean: float, error: float, freedom: int) -> float:
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(freedom, -abs(mean / error)))


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Exact two-sided p-value of the paired permutation test: the share of sign patterns with |mean| as large as seen.

    It assumes nothing but symmetry, and with n pairs cannot be smaller than 2^(1-n): three seeds reach 0.25 at best.

    Raises:
        ValueError: more than 16 pairs.
    """
    sample = np.asarray(differences, dtype=np.float64)
    if len(sample) > EXACT_UP_TO:
        raise ValueError(f"expected at most {EXACT_UP_TO} pairs, but {len(sample)} came; use the t interval")
    signs = np.array(list(product([1, -1], repeat=len(sample))))  # (patterns, pairs)
    means = np.abs(signs @ sample)
    rounding = 1e-12 * np.abs(sample).sum()
    return float((means >= abs(sample.sum()) - rounding).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being many (Holm 1979): p_(i) becomes the largest min(1, (m - j + 1) p_(j)) over j ≤ i.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]


def share_standard_error(share: float, trials: int) -> float:
    """Binomial standard error √(p (1 - p) / n) of a share p of n trials.

    >>> round(share_standard_error(0.05, 500), 4)
    0.0097
    """
    return float(np.sqrt(share * (1 - share) / trials))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's ρ: the correlation of the ranks, ties at their mean rank; NaN where one side is all ties.

    >>> round(rank_correlation([1, 2, 3], [10, 20, 15]), 3)
    0.5
    """
    ranks = np.stack(
        [pd.Series(list(values)).rank().to_numpy() for values in (first, second)]
    )  # ties share their mean rank
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((centred**2).sum(axis=1).prod())
    return float((centred[0] * centred[1]).sum() / scale) if scale else float("nan")


def mean_and_half_width(values: Iterable[float]) -> tuple[float, float]:
    """Mean, and half-width of its 95 % t interval; NaN for fewer than two values.

    >>> mean, half = mean_and_half_width([1.0, 2.0, 3.0])
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    sample = np.asarray(list(values), dtype=np.float64)
    if len(sample) < 2:
        return float(sample.mean()), float("nan")
    quantile = stdtrit(len(sample) - 1, (1 + CONFIDENCE) / 2)
    return float(sample.mean()), float(quantile * sample.std(ddof=1) / np.sqrt(len(sample)))
