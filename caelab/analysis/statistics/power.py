"""What a comparison could have seen: the smallest true difference that a paired t test finds with 80 % power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import nctdtr

from caelab.analysis.statistics.paired import t_quantile

POWER = 0.80
MOST = 20.0  # the noncentrality that is found with two pairs is 16.3, and smaller with more


def smallest_difference(differences: Sequence[float]) -> float:
    """The smallest true mean that a two-sided paired t test at 5 % finds with 80 % power, given the spread measured.

    δ = λ s_d / √n, with the noncentrality λ at which P(|T_{n-1}(λ)| > t_{n-1; 0.975}) = 0.8. NaN for fewer than two
    pairs. It says what could be seen, not what is there: a difference below it may still be real.
    """
    sample = np.asarray(differences, dtype=np.float64)
    return smallest_effect(len(sample)) * float(sample.std(ddof=1)) if len(sample) > 1 else float("nan")


@cache
def smallest_effect(pairs: int) -> float:
    """The same in units of the standard deviation of the differences; NaN for fewer than two pairs.

    >>> round(smallest_effect(3), 3), round(smallest_effect(10), 3)
    (3.264, 0.996)
    """
    if pairs < 2:
        return float("nan")
    found = brentq(lambda noncentrality: power(pairs, noncentrality) - POWER, 0, MOST, xtol=1e-12)
    return float(found / np.sqrt(pairs))


def power(pairs: int, noncentrality: float) -> float:
    """The probability that the two-sided t test at 5 % finds a mean of noncentrality √n δ / σ."""
    critical = t_quantile(pairs - 1)
    below, mirrored = (nctdtr(pairs - 1, each, critical) for each in (noncentrality, -noncentrality))
    return float(2 - below - mirrored)  # P(T(λ) < -c) = P(T(-λ) > c)


def power_note(found: pd.DataFrame, shown: Mapping[str, tuple[str, float]] | None = None) -> str:
    """What differences could not be seen, in a sentence; empty where no two pairs tell the spread.

    Args:
        found: what ``comparisons`` returned, for one number or several.
        shown: by number that is to be named, how it is called, and what it is multiplied with where it is shown, as 100
            for a share in percent; without it, all as they are.
    """
    names = shown or {number: (number, 1.0) for number in found["number"].unique()}
    seen = found[np.isfinite(found["smallest difference"]) & found["number"].isin([*names])]
    if seen.empty:
        return ""
    few, many = int(seen["pairs"].min()), int(seen["pairs"].max())
    typical = seen.groupby("number", sort=False)["smallest difference"].median()
    limits = ", ".join(f"{limit * names[number][1]:.2g} in {names[number][0]}" for number, limit in typical.items())
    return (
        f"With {few if few == many else f'{few} to {many}'} pairs, differences below {limits} cannot be seen here "
        "(paired t test at 5 % before Holm's correction, power 80 %, median over the pairs of models)."
    )
