"""Pairing the numbers of models by seed, and the mean difference with its t interval and t test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from caelab.errors import CaelabError
from caelab.registry.reserved import SPLIT

CONFIDENCE = 0.95

Array = NDArray[np.float64]


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


def pairing(rows: pd.DataFrame) -> list[str]:
    """The columns that make a pair of runs of two models: the seed, and where splits are repeated, the split."""
    return [SPLIT, "seed"] if SPLIT in rows else ["seed"]


def by_seed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per seed and one column per model, in the order of the models; what is not finite becomes NaN.

    Rows with a column ``split`` are paired by split and seed.

    Raises:
        CaelabError: a model has two rows of one seed, so that nothing says which of them is the pair of another's.
    """
    keys = pairing(rows)
    twice = rows[rows.duplicated(["model", *keys])]
    if len(twice):
        first = twice.iloc[0]
        which = ", ".join(f"{key} {first[key]}" for key in keys)
        raise CaelabError(
            f"expected one row per model and {' and '.join(keys)}, but {first['model']!r} has two of {which}; give a "
            f"column {SPLIT!r} where a seed is used with several splits"
        )
    numbers = rows.pivot(index=keys if len(keys) > 1 else keys[0], columns="model", values=column)
    numbers = numbers[rows["model"].drop_duplicates()].astype(float)
    return numbers.where(np.isfinite(numbers))


def differences_of(first: pd.Series | float, second: pd.Series | float) -> pd.Series:
    """First minus second where both are finite numbers, by seed, or by split and seed."""
    difference = pd.Series(first - second).astype(float)
    return difference[np.isfinite(difference)]


def paired_difference(first: pd.Series | float, second: pd.Series | float) -> PairedDifference:
    """First minus second over the seeds that both have (d̄ ± t_{n-1} s_d / √n).

    Seeds share splits and initial weights, so that a seed's luck cancels in the difference. A pair with a number that
    is missing or infinite is no pair.

    Args:
        first: numbers indexed by seed, or by split and seed; or one number for all.
        second: the same; one of the two has seeds.

    Returns:
        The difference; differences without any spread have an interval of no width and a p-value of 0 (or 1 at zero).
    """
    differences = differences_of(first, second).to_numpy(np.float64)
    count = len(differences)
    mean = float(differences.mean()) if count else float("nan")
    if count < 2:
        return PairedDifference(mean, float("nan"), float("nan"), float("nan"), count)
    error = float(differences.std(ddof=1)) / np.sqrt(count)
    half = t_quantile(count - 1) * error
    return PairedDifference(mean, mean - half, mean + half, float(t_p_value(mean, error, count - 1)), count)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def t_p_value(mean: Array | float, error: Array | float, freedom: int) -> Array:
    """Two-sided p-value of mean / error; 0 for an error of 0, or 1 where the mean is 0 too."""
    means, errors = np.asarray(mean, np.float64), np.asarray(error, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 2 * stdtr(freedom, -np.abs(means / errors))
    return np.asarray(np.where(errors == 0, means == 0, found), np.float64)


def share_standard_error(share: float, trials: int) -> float:
    """Binomial standard error √(p (1 - p) / n) of a share p of n trials.

    >>> round(share_standard_error(0.05, 500), 4)
    0.0097
    """
    return float(np.sqrt(share * (1 - share) / trials))


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
