"""How a score agrees with a known density: rank correlation, and the least dense tenth told from the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]
Statistic = Callable[[Array, Any], float]

CORRELATION, AUROC = "density rank correlation of", "density AUROC of"
LEAST_DENSE = 0.1
DRAWN = 300
SEED = 25100594


def sparse(density: Array) -> Marks:
    """The least dense tenth of the examples, shape (n,)."""
    return np.asarray(density <= np.quantile(density, LEAST_DENSE))


def auroc(score: Array, marked: Marks) -> float:
    """P(score of an unmarked > score of a marked example), ties by half: U / (m n) of Mann and Whitney (1947).

    NaN where all examples are marked, or none.
    """
    marks, others = int(marked.sum()), int((~marked).sum())
    if not marks or not others:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[~marked].sum() - others * (others + 1) / 2) / (marks * others))


def rank_agreement(score: Array, density: Array) -> float:
    """Spearman's ρ; NaN where one side is all ties."""
    first, second = (ranks - ranks.mean() for ranks in (rankdata(score), rankdata(density)))
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else float("nan")


def interval(statistic: Statistic, seeds: Sequence[tuple[Array, Any]]) -> tuple[float, float, float]:
    """The mean of a statistic over seeds, with its 95 % percentile interval over resampled examples of every seed.

    Args:
        statistic: of the score and what it is compared with.
        seeds: the score of the examples of each seed, and their density or marks.

    Returns:
        Mean, lower and upper end; the same every time.
    """
    rng = np.random.default_rng(SEED)
    means = []
    for _ in range(DRAWN):
        places = [rng.integers(len(score), size=len(score)) for score, _ in seeds]
        pairs = zip(seeds, places, strict=True)
        means.append(np.mean([statistic(score[chosen], known[chosen]) for (score, known), chosen in pairs]))
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return float(np.mean([statistic(*seed) for seed in seeds])), float(low), float(high)
