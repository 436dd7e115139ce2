"""The set of models that are not significantly different from the best."""

from __future__ import annotations

import pandas as pd

from caelab.analysis.statistics.paired import paired_difference
from caelab.analysis.statistics.permutations import holm

SIGNIFICANCE = 0.05


def not_told_from_best(numbers: pd.DataFrame, better: str = "smaller", level: float = SIGNIFICANCE) -> list[str]:
    """The model with the best mean, and all that do not differ from it significantly, in the order of the columns.

    Paired t tests against the best, adjusted by Holm. One seed allows no test: then only the best. A model without a
    number is left out; so is one that shares too few seeds with the best to be tested.

    Args:
        numbers: one row per seed (or split and seed) and one column per model, as ``by_seed`` gives them.
        better: ``"smaller"`` or ``"larger"``.
        level: of the tests.
    """
    there = numbers.dropna(axis="columns", how="all")
    if there.empty:
        return []
    means = there.mean()
    best = str(means.idxmax() if better == "larger" else means.idxmin())
    others = [str(model) for model in there.columns if model != best]
    p_values = [paired_difference(there[model], there[best]).p_value for model in others]
    kept = {best, *(m for m, p in zip(others, holm(p_values), strict=True) if p >= level)}
    return [str(model) for model in there.columns if model in kept]
