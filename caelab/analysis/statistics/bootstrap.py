"""Bootstrap intervals of a mean: bias-corrected and accelerated, or by percentiles where there are few pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.special import ndtr, ndtri

from caelab.analysis.statistics.paired import CONFIDENCE, Array

EXACT_UP_TO = 5  # pairs: all 5^5 resamples
ACCELERATED_FROM = 6  # pairs: below, the corrected levels lie beyond the few different means that there are
DRAWN = 9999  # resamples of more pairs
SEED = 19870301
LEVELS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
BCA, PERCENTILE = "BCa", "percentile"
AT_ONCE = 128  # samples, so that their resampled means stay near 10 MB


@dataclass(frozen=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: its lower end; NaN for fewer than two numbers, as the upper one.
        high: its upper end.
        method: ``"BCa"`` or ``"percentile"``; empty where there is none.
    """

    low: float
    high: float
    method: str


def bootstrap_interval(values: Sequence[float]) -> Interval:
    """The bootstrap interval of the mean, the same every time (Efron 1979, 1987).

    From 6 values on it is bias-corrected and accelerated (BCa); for fewer, and for values without spread, it is that of
    the percentiles. Up to 5 values all n^n resamples are taken, else 9999 are drawn. Few values make it too narrow.
    """
    low, high, method = bootstrap_intervals(np.asarray(values, dtype=np.float64)[None])
    return Interval(float(low[0]), float(high[0]), method[0])


def bootstrap_intervals(samples: Array) -> tuple[Array, Array, list[str]]:
    """Lower ends, upper ends and methods, each (samples,), of samples (samples, pairs)."""
    count, pairs = samples.shape
    if pairs < 2:
        return np.full(count, np.nan), np.full(count, np.nan), [""] * count
    parts = [_ends(samples[start : start + AT_ONCE]) for start in range(0, count, AT_ONCE)]
    ends = np.concatenate([each for each, _ in parts])  # (samples, 2)
    return ends[:, 0], ends[:, 1], [BCA if each else PERCENTILE for _, some in parts for each in some]


def _ends(samples: Array) -> tuple[Array, Array]:
    """Both ends, (samples, 2), and whether each sample's levels are corrected, (samples,)."""
    means = np.sort(samples @ shares(samples.shape[1]).T, axis=1)  # (samples, resamples)
    corrected = _corrected_levels(samples, means)
    usable = np.isfinite(corrected).all(axis=1) & (samples.shape[1] >= ACCELERATED_FROM)
    levels = np.where(usable[:, None], corrected, LEVELS)
    return _quantiles(means, levels), usable


def _corrected_levels(samples: Array, means: Array) -> Array:
    """Φ(z₀ + (z₀ + z) / (1 - a (z₀ + z))) for both levels, with the bias z₀ and the acceleration a."""
    centre = samples.mean(axis=1, keepdims=True)
    rounding = 1e-12 * np.abs(samples).max(axis=1, keepdims=True)
    below, up_to = (means < centre - rounding).mean(axis=1), (means <= centre + rounding).mean(axis=1)
    off = samples - centre
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = (off**3).sum(axis=1) / (6 * (off**2).sum(axis=1) ** 1.5)
        bias = ndtri((below + up_to) / 2)
        shifted = bias[:, None] + ndtri(LEVELS)
        return np.asarray(ndtr(bias[:, None] + shifted / (1 - acceleration[:, None] * shifted)))


def _quantiles(ordered: Array, levels: Array) -> Array:
    """Quantiles of ordered rows, linear between neighbours, each row at its own levels."""
    place = levels * (ordered.shape[1] - 1)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, ordered.shape[1] - 1)
    left, right = (np.take_along_axis(ordered, each, axis=1) for each in (lower, upper))
    return np.asarray(left + (place - lower) * (right - left))


@lru_cache(maxsize=4)
def shares(pairs: int) -> Array:
    """The share that each pair has in each resample, (resamples, pairs); rows sum to 1."""
    if pairs <= EXACT_UP_TO:
        drawn = np.array(list(product(range(pairs), repeat=pairs)))
    else:
        drawn = np.random.default_rng([SEED, pairs]).integers(pairs, size=(DRAWN, pairs))
    return np.stack([(drawn == each).sum(axis=1) for each in range(pairs)], axis=1) / pairs
