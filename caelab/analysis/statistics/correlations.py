"""Rank correlations with intervals: Spearman's ρ and Kendall's τ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from caelab.analysis.statistics.paired import CONFIDENCE, Array
from caelab.errors import CaelabError

Kind = Literal["spearman", "kendall"]
Method = Literal["fisher", "bootstrap"]
DRAWN = 999
SEED = 19040101
LEAST = 5  # observations: the variance of either transformed correlation needs more than 4


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation with its 95 % interval.

    Attributes:
        value: the correlation; NaN where one side is all ties.
        low: lower end of the interval; NaN for fewer than five observations or a correlation of ±1, as the next one.
        high: upper end.
        observations: how many have both numbers.
    """

    value: float
    low: float
    high: float
    observations: int


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


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's τ_b: concordant minus discordant pairs over √((P - T₁)(P - T₂)) of P pairs, T tied ones (Kendall 1945).

    >>> round(kendall([1, 2, 3], [10, 20, 15]), 3)
    0.333
    """
    signs = [np.sign(np.subtract.outer(values, values)) for values in (np.asarray(first), np.asarray(second))]
    scale = np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum() / scale) if scale else float("nan")


KINDS: dict[str, tuple[Callable[[Sequence[float], Sequence[float]], float], Callable[[float, int], float]]] = {
    "spearman": (rank_correlation, lambda value, count: (1 + value**2 / 2) / (count - 3)),
    "kendall": (kendall, lambda value, count: 0.437 / (count - 4)),
}
"""By kind, the correlation, and the variance of its artanh (Bonett and Wright 2000; Fieller, Hartley, Pearson 1957)."""


def rank_correlation_interval(
    first: Sequence[float], second: Sequence[float], kind: Kind = "spearman", method: Method = "fisher"
) -> RankCorrelation:
    """A rank correlation with its 95 % interval.

    ``"fisher"``: tanh(artanh r ± 1.96 σ) with σ² = (1 + ρ²/2) / (n - 3) for Spearman's ρ and 0.437 / (n - 4) for
    Kendall's τ; good where |ρ| < 0.95 and |τ| < 0.8. ``"bootstrap"``: percentiles over 999 resampled observations, the
    same every time.

    Args:
        first: one number per observation; where either number is missing or infinite, the observation is left out.
        second: the same, in the same order.
        kind: ``"spearman"`` or ``"kendall"``.
        method: of the interval.

    Raises:
        CaelabError: the two are not of one length, or there is no such kind or method.
    """
    if kind not in KINDS or method not in ("fisher", "bootstrap"):
        raise CaelabError(
            f"expected 'spearman' or 'kendall', and 'fisher' or 'bootstrap', but {kind!r} and {method!r} came"
        )
    pairs = _observations(first, second)
    correlate, variance = KINDS[kind]
    count = pairs.shape[1]
    value = correlate(*pairs) if count else float("nan")
    if count < LEAST or not abs(value) < 1 - 1e-12:
        return RankCorrelation(value, float("nan"), float("nan"), count)
    if method == "bootstrap":
        return RankCorrelation(value, *_percentiles(pairs, correlate), count)
    half = float(ndtri((1 + CONFIDENCE) / 2)) * variance(value, count) ** 0.5
    low, high = (float(np.tanh(np.arctanh(value) + sign * half)) for sign in (-1, 1))
    return RankCorrelation(value, low, high, count)


def _observations(first: Sequence[float], second: Sequence[float]) -> Array:
    """The observations that have both numbers, (2, observations)."""
    if len(first) != len(second):
        raise CaelabError(
            f"expected two numbers of each observation, but {len(first)} and {len(second)} came; give both in one order"
        )
    both = np.array([[*first], [*second]], dtype=np.float64)
    return both[:, np.isfinite(both).all(axis=0)]


def _percentiles(pairs: Array, correlate: Callable[[Sequence[float], Sequence[float]], float]) -> tuple[float, float]:
    count = pairs.shape[1]
    drawn = np.random.default_rng([SEED, count]).integers(count, size=(DRAWN, count))
    found = [correlate(*pairs[:, each]) for each in drawn]
    low, high = np.nanquantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
