"""The comparison of every two models by one number: a table of differences, intervals, tests and effect sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from caelab.analysis.statistics.bootstrap import bootstrap_intervals
from caelab.analysis.statistics.effects import effect_sizes, shares_won
from caelab.analysis.statistics.paired import Array, by_seed
from caelab.analysis.statistics.permutations import holm, sign_flip_p_values
from caelab.analysis.statistics.power import smallest_effect
from caelab.analysis.statistics.resampling import check_ratio, corrected, of_splits
from caelab.errors import CaelabError

Measured = Mapping[str, Any]
P_VALUES = ("t p", "permutation p", "corrected p")
COLUMNS = (
    "number",
    "first",
    "second",
    "pairs",
    "missing",
    "difference",
    "t low",
    "t high",
    "t p",
    "t p Holm",
    "bootstrap low",
    "bootstrap high",
    "bootstrap method",
    "permutation p",
    "permutation p Holm",
    "effect size",
    "effect low",
    "effect high",
    "share won",
    "smallest difference",
    "splits",
    "corrected low",
    "corrected high",
    "corrected p",
    "corrected p Holm",
)


def comparisons(
    rows: pd.DataFrame, column: str, better: str = "smaller", *, test_to_train: float | None = None
) -> pd.DataFrame:
    """One row per pair of models: what their paired difference is, and how sure that is.

    Columns: ``number``; the models ``first`` and ``second``; ``pairs`` that both have, and ``missing`` ones, of which a
    number is missing or infinite; ``difference``, the mean of first minus second; its t interval and t test; its
    bootstrap interval with the method (BCa or percentile); its permutation test; the effect size with its interval; the
    ``share won`` by the first; the ``smallest difference`` that could have been seen. Over repeated splits also the
    number of splits and the corrected interval and test of Nadeau and Bengio. ``... Holm`` are p-values adjusted over
    all pairs of models.

    Args:
        rows: one row per model and seed with the columns ``model``, ``seed`` and the number; with a column ``split``,
            one per model, split and seed.
        column: the number.
        better: whether ``"smaller"`` or ``"larger"`` numbers are better, or neither (``""``).
        test_to_train: how many examples test for each one that trains, where seeds or splits draw the split of one data
            set anew; without it there are no corrected numbers.

    Raises:
        CaelabError: a column is missing, or a model has two rows of one seed.
    """
    _check(rows, column, better)
    numbers = by_seed(rows, column)
    models = list(combinations(map(str, numbers.columns), 2))
    if not models:
        return pd.DataFrame(columns=[*COLUMNS])
    first, second = ([pair[side] for pair in models] for side in (0, 1))
    differences = pd.DataFrame(numbers[first].to_numpy() - numbers[second].to_numpy(), numbers.index)
    found = pd.DataFrame({"number": column, "first": first, "second": second})
    found = found.join(by_pairs(differences, lambda samples: _measured(samples, better)))
    found["missing"] = len(numbers) - found["pairs"]
    found = found.join(by_pairs(of_splits(differences), lambda samples: _over_splits(samples, test_to_train)))
    for name in P_VALUES:
        found[f"{name} Holm"] = holm(found[name])
    return found[[*COLUMNS]]


def _check(rows: pd.DataFrame, column: str, better: str) -> None:
    lacking = [name for name in ("model", "seed", column) if name not in rows]
    if lacking:
        raise CaelabError(
            f"expected rows with the column {lacking[0]!r}, but there are only {', '.join(map(str, rows))}"
        )
    if better not in ("smaller", "larger", ""):
        raise CaelabError(f"expected 'smaller', 'larger' or '' for what is better, but {better!r} came")


def by_pairs(differences: pd.DataFrame, measure: Callable[[Array], Measured]) -> pd.DataFrame:
    """One row for each column of differences, measured together with all that have as many finite ones."""
    values = differences.to_numpy(np.float64).T  # (pairs of models, pairs)
    there = np.isfinite(values)
    counts = there.sum(axis=1)
    parts = []
    for count in np.unique(counts):
        places = np.flatnonzero(counts == count)
        samples = values[places][there[places]].reshape(len(places), count)
        parts.append(pd.DataFrame(measure(samples), index=places))
    return pd.concat(parts).sort_index()


def _measured(samples: Array, better: str) -> Measured:
    """All but what repeated splits add, of samples (samples, pairs)."""
    pairs = samples.shape[1]
    mean, low, high, p_value = corrected(samples, 0.0)  # without a correction, the t test
    boot_low, boot_high, method = bootstrap_intervals(samples)
    effect, effect_low, effect_high = effect_sizes(samples)
    return {
        "pairs": pairs,
        "difference": mean,
        "t low": low,
        "t high": high,
        "t p": p_value,
        "bootstrap low": boot_low,
        "bootstrap high": boot_high,
        "bootstrap method": method,
        "permutation p": sign_flip_p_values(samples),
        "effect size": effect,
        "effect low": effect_low,
        "effect high": effect_high,
        "share won": shares_won(samples, better),
        "smallest difference": smallest_effect(pairs) * samples.std(axis=1, ddof=1) if pairs > 1 else np.nan,
    }


def _over_splits(samples: Array, test_to_train: float | None) -> Measured:
    """What repeated splits add, of samples (samples, splits)."""
    if test_to_train is None:
        return {
            "splits": np.full(len(samples), 0),
            **dict.fromkeys(("corrected low", "corrected high", P_VALUES[2]), np.nan),
        }
    check_ratio(test_to_train)
    _, low, high, p_value = corrected(samples, test_to_train)
    splits = np.full(len(samples), samples.shape[1])
    return {"splits": splits, "corrected low": low, "corrected high": high, "corrected p": p_value}
