"""Repeated splits of one data set: their numbers are not independent, since the splits share examples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from caelab.analysis.statistics.paired import (
    Array,
    PairedDifference,
    differences_of,
    t_p_value,
    t_quantile,
)
from caelab.errors import CaelabError
from caelab.registry.reserved import SPLIT


def corrected_difference(first: pd.Series | float, second: pd.Series | float, test_to_train: float) -> PairedDifference:
    """First minus second over repeated random splits, with the corrected resampled t test of Nadeau and Bengio (2003).

    d̄ ± t_{k-1} s_d √(1/k + n_test/n_train) over k splits: 1/k alone would hold for independent data sets, while random
    splits of one data set share examples, and more splits do not make the data set larger.

    Args:
        first: numbers by seed, where each seed has its own split, or by split and seed, whose seeds are averaged first.
        second: the same; one of the two has seeds.
        test_to_train: how many examples test for each one that trains.

    Returns:
        The difference; ``pairs`` counts splits.

    Raises:
        CaelabError: the ratio is no finite number of at least 0.
    """
    check_ratio(test_to_train)
    differences = of_splits(differences_of(first, second).to_frame())[0].to_numpy(np.float64)
    mean, low, high, p_value = (float(each[0]) for each in corrected(differences[None], test_to_train))
    return PairedDifference(mean, low, high, p_value, len(differences))


def check_ratio(test_to_train: float) -> None:
    """Refuse what is no ratio of examples.

    Raises:
        CaelabError: it is not.
    """
    if not (np.isfinite(test_to_train) and test_to_train >= 0):
        raise CaelabError(
            f"expected how many examples test for each one that trains, at least 0, but {test_to_train!r} came; "
            "it is the third of the splits over the first"
        )


def of_splits(differences: pd.DataFrame) -> pd.DataFrame:
    """The mean over the seeds of each split; as it is where each row is a split of its own."""
    if isinstance(differences.index, pd.MultiIndex):
        level = SPLIT if SPLIT in differences.index.names else 0
        differences = differences.groupby(level=level, sort=False).mean()
    return differences.set_axis(range(differences.shape[1]), axis="columns")


def corrected(samples: Array, test_to_train: float) -> tuple[Array, Array, Array, Array]:
    """Means, lower ends, upper ends and p-values, each (samples,), of samples (samples, splits)."""
    count, splits = samples.shape
    if not splits:
        return (np.full(count, np.nan),) * 4
    means = samples.mean(axis=1)
    if splits < 2:
        return (means, *(np.full(count, np.nan),) * 3)
    errors = samples.std(axis=1, ddof=1) * np.sqrt(1 / splits + test_to_train)
    half = t_quantile(splits - 1) * errors
    return means, means - half, means + half, t_p_value(means, errors, splits - 1)
