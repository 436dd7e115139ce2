"""The paired permutation test, which flips signs, and Holm's correction for many tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np

from caelab.analysis.statistics.paired import Array

EXACT_UP_TO = 16  # pairs: 2^16 sign patterns take a tenth of a second
DRAWN = 9999  # sign patterns where there are more
SEED = 20110628
AT_ONCE = 32  # samples, so that 2^16 patterns of each stay below 20 MB


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of the paired permutation test: the share of sign patterns with |mean| as large as seen.

    It assumes nothing but symmetry, and with n pairs cannot be smaller than 2^(1-n): three seeds reach 0.25 at best.
    Up to 16 pairs all patterns are counted; of more, 9999 are drawn, the same every time, and the one that was seen is
    counted with them (Phipson and Smyth 2010).
    """
    return float(sign_flip_p_values(np.asarray(differences, dtype=np.float64)[None])[0])


def sign_flip_p_values(samples: Array) -> Array:
    """The p-value of each sample; from shape (samples, pairs) to (samples,), NaN for pairs = 0."""
    if not samples.shape[1]:
        return np.full(len(samples), np.nan)
    signs = sign_patterns(samples.shape[1])
    parts = [samples[start : start + AT_ONCE] for start in range(0, len(samples), AT_ONCE)]
    return np.concatenate([_shares(signs, part) for part in parts])


def _shares(signs: Array, samples: Array) -> Array:
    rounding = 1e-12 * np.abs(samples).sum(axis=1)
    as_large = np.abs(signs @ samples.T) >= np.abs(samples.sum(axis=1)) - rounding
    return np.asarray(as_large.mean(axis=0), np.float64)


@lru_cache(maxsize=4)
def sign_patterns(pairs: int) -> Array:
    """Patterns of +1 and -1, shape (patterns, pairs): all, or for many pairs the one of pluses and 9999 drawn ones."""
    if pairs <= EXACT_UP_TO:
        return np.array(list(product([1.0, -1.0], repeat=pairs)))
    drawn = np.random.default_rng([SEED, pairs]).choice([1.0, -1.0], (DRAWN, pairs))
    return np.vstack([np.ones(pairs), drawn])


def holm(p_values: Iterable[float]) -> list[float]:
    """p-values adjusted for being many (Holm 1979): p_(i) becomes the largest min(1, (m - j + 1) p_(j)) over j ≤ i.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray([*p_values], dtype=np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]
