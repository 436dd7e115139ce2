"""The paired test of two models by one number, as one object that can be read, printed and computed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

import pandas as pd

from caelab.analysis.columns import Column
from caelab.analysis.plotting import display_name, stored_appearances
from caelab.analysis.statistics import comparisons
from caelab.errors import CaelabError
from caelab.report.differences import of_one_data_set
from caelab.report.store import Comparison as Stored

MEASURED = (
    *("difference", "t low", "t high", "t p", "permutation p", "effect size", "effect low", "effect high"),
    *("share won", "corrected low", "corrected high", "corrected p"),
)
"""Columns of ``comparisons`` that a test holds as numbers."""


@dataclass(frozen=True, repr=False)
class PairedTest:
    """The mean of d_s = a_s - b_s over seeds s, of the numbers a of the first model and b of the second.

    Attributes:
        first: the label of the first model.
        second: the label of the second.
        number: what is compared.
        difference: the mean of first minus second.
        low: lower end of its 95 % t interval; NaN for fewer than two pairs, as the next three.
        high: upper end.
        p_value: of the two-sided paired t test.
        permutation_p_value: of the test that flips the signs of the differences, exact for few pairs.
        effect_size: Cohen's d_z with Hedges' correction (Hedges 1981); NaN for fewer than three pairs.
        effect_low: lower end of its 95 % interval, from the noncentral t distribution.
        effect_high: upper end.
        share_won: the share of pairs in which the first is better; NaN where neither sign is.
        pairs: how many seeds have both numbers.
        corrected: where seeds or splits draw the split of one data set anew, the interval and the p-value that count
            what the splits share (Nadeau and Bengio 2003): low, high, p; otherwise None.
        names: how figures call the two models.
    """

    first: str
    second: str
    number: str
    difference: float
    low: float
    high: float
    p_value: float
    permutation_p_value: float
    effect_size: float
    effect_low: float
    effect_high: float
    share_won: float
    pairs: int
    corrected: tuple[float, float, float] | None
    names: tuple[str, str]

    def as_series(self) -> pd.Series:
        """Every attribute but the names, as a row for a table of tests."""
        plain = {name: value for name, value in vars(self).items() if name not in ("corrected", "names")}
        low, high, p_value = self.corrected or (float("nan"),) * 3
        return pd.Series({**plain, "corrected_low": low, "corrected_high": high, "corrected_p_value": p_value})

    def __repr__(self) -> str:
        """The test in a sentence."""
        first, second = self.names
        text = f"{self.number}: {first} − {second} = {_number(self.difference)}"
        if not isfinite(self.p_value):
            return f"{text} ({self.pairs} {'pair' if self.pairs == 1 else 'pairs'}, too few for an interval)"
        return (
            f"{text}, 95 % interval [{_number(self.low)}, {_number(self.high)}], {_p_value(self.p_value)} "
            f"(paired t test, {self.pairs} pairs), effect size {_effect(self)}{_corrected(self)}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _p_value(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _effect(test: PairedTest) -> str:
    if not isfinite(test.effect_size):
        return "unknown"
    return f"{_number(test.effect_size)} [{_number(test.effect_low)}, {_number(test.effect_high)}]"


def _corrected(test: PairedTest) -> str:
    if test.corrected is None:
        return ""
    low, high, p_value = test.corrected
    return f"; corrected for splits that share examples [{_number(low)}, {_number(high)}], {_p_value(p_value)}"


def paired_test(stored: Stored, pair: Sequence[str], number: str, column: Column) -> PairedTest:
    """The test of two models of a comparison by one number.

    Raises:
        CaelabError: twice the same model, two of different data, or no seed has both numbers.
    """
    first, second = pair
    if first == second:
        raise CaelabError(f"expected two different models, but {first!r} came twice")
    if not any({first, second} <= {*models} for models in of_one_data_set(stored.configs)):
        raise CaelabError(f"{first!r} and {second!r} have different data, so that their numbers cannot be paired")
    rows = pd.concat([stored.rows[stored.rows["model"] == label] for label in pair])
    found = comparisons(rows, number, column.better, test_to_train=stored.test_to_train.get(first)).iloc[0]
    if not found["pairs"]:
        raise CaelabError(f"no seed has the number {number!r} of both {first!r} and {second!r}")
    of = {name: float(found[name]) for name in MEASURED}
    with stored_appearances(stored.appearances):
        names = (display_name(first), display_name(second))
    return PairedTest(
        first,
        second,
        number,
        difference=of["difference"],
        low=of["t low"],
        high=of["t high"],
        p_value=of["t p"],
        permutation_p_value=of["permutation p"],
        effect_size=of["effect size"],
        effect_low=of["effect low"],
        effect_high=of["effect high"],
        share_won=of["share won"],
        pairs=int(found["pairs"]),
        corrected=(of["corrected low"], of["corrected high"], of["corrected p"]) if found["splits"] else None,
        names=names,
    )
