"""Effect sizes of paired differences: how large they are beside their spread, and how often they have one sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, nctdtrinc

from caelab.analysis.statistics.paired import CONFIDENCE, Array

LEAST = 3  # pairs: with two, Hedges' factor is 0


@dataclass(frozen=True)
class EffectSize:
    """The mean of paired differences in units of their standard deviation, corrected for few pairs.

    Attributes:
        value: Cohen's d_z times Hedges' factor; NaN for fewer than three pairs, or without spread, as the next two.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def effect_size(differences: Sequence[float]) -> EffectSize:
    """J d̄ / s_d with J = Γ(m/2) / (√(m/2) Γ((m-1)/2)), m = n - 1 (Cohen 1988, Hedges 1981).

    The interval is that of the noncentral t distribution: the effects δ for which √n d̄ / s_d is neither among the
    smallest nor among the largest 2.5 %, times J.
    """
    value, low, high = effect_sizes(np.asarray(differences, dtype=np.float64)[None])
    return EffectSize(float(value[0]), float(low[0]), float(high[0]))


def effect_sizes(samples: Array) -> tuple[Array, Array, Array]:
    """Values, lower and upper ends, each (samples,), of samples (samples, pairs)."""
    count, pairs = samples.shape
    if pairs < LEAST:
        return (np.full(count, np.nan),) * 3
    spread = samples.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, np.sqrt(pairs) * samples.mean(axis=1) / spread, np.nan)
    scale = hedges_factor(pairs - 1) / np.sqrt(pairs)
    upper, lower = (nctdtrinc(pairs - 1, level, t) for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return scale * t, scale * lower, scale * upper


def hedges_factor(freedom: int) -> float:
    """J(m), which makes d_z unbiased; about 1 - 3 / (4 m - 1).

    >>> round(hedges_factor(4), 4), round(1 - 3 / 15, 4)
    (0.7979, 0.8)
    """
    return float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))


def share_won(differences: Sequence[float], better: str = "smaller") -> float:
    """The share of pairs whose difference has the better sign, ties counted half; NaN without a pair.

    >>> share_won([-1.0, -2.0, 0.0, 3.0]), share_won([-1.0, -2.0, 0.0, 3.0], "larger")
    (0.625, 0.375)
    """
    return float(shares_won(np.asarray(differences, dtype=np.float64)[None], better)[0])


def shares_won(samples: Array, better: str) -> Array:
    """The share of each sample, (samples,), of samples (samples, pairs); NaN where neither sign is better."""
    if not samples.shape[1] or not better:
        return np.full(len(samples), np.nan)
    sign = 1 if better == "larger" else -1
    return np.asarray((np.sign(samples) * sign + 1).mean(axis=1) / 2)
