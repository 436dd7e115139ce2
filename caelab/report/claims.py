"""How a claim is judged by numbers, and how the numbers are told.

**The rule**, the same for every claim. A claim is split into contests, paired differences over the seeds, each turned
so that the claim says it is positive. It is *borne out* where the 95 % interval of every difference lies above zero;
*contradicted* where the interval of one lies below zero and its t test holds after Holm's correction for the number of
differences; otherwise this comparison *cannot tell*, as always with a single seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import PairedDifference, by_seed, holm, paired_difference

Verdict = Literal["borne out", "contradicted", "cannot tell"]

SIGNIFICANCE = 0.05
SHOWN = 3
VALIDATION = "fine-tuned validation error"


class AbsentError(Exception):
    """The comparison lacks a model or a number that a claim is about."""


@dataclass(frozen=True)
class Numbers:
    """The numbers that claims are checked against.

    Attributes:
        rows: one row per model and seed.
        dataset: the data's name.
        test_examples: how many the classification errors were counted on; None where unknown.
        distance: mean distance between examples; None where unknown.
    """

    rows: pd.DataFrame
    dataset: str = ""
    test_examples: int | None = None
    distance: float | None = None

    def of(self, recipe: str, column: str) -> pd.Series:
        """The numbers of the model that stands for a recipe, by seed.

        Raises:
            AbsentError: there is no such model or number.
        """
        return self.by_label(self.label(recipe), column)

    def those(self, recipes: Sequence[str], column: str) -> list[pd.Series]:
        """The numbers of those of the recipes that are here.

        Raises:
            AbsentError: none is.
        """
        found = []
        for recipe in recipes:
            try:
                found.append(self.of(recipe, column))
            except AbsentError:
                continue
        if not found:
            raise AbsentError(column)
        return found

    def by_label(self, label: str, column: str) -> pd.Series:
        """The numbers of one model, by seed.

        Raises:
            AbsentError: there are none.
        """
        if column not in self.rows:
            raise AbsentError(column)
        numbers = by_seed(self.rows, column)[label].dropna()
        if numbers.empty:
            raise AbsentError(f"{column} of {label}")
        return numbers.rename(label)

    def label(self, recipe: str) -> str:
        """The model that stands for a recipe: of a grid the one that validates best, as the paper chooses.

        Raises:
            AbsentError: there is none, or nothing to choose by.
        """
        labels = self.labels(recipe)
        if not labels:
            raise AbsentError(recipe)
        if len(labels) == 1:
            return labels[0]
        return min(labels, key=lambda label: float(self.by_label(label, VALIDATION).mean()))

    def labels(self, recipe: str) -> list[str]:
        """Every model made from a recipe: itself, or one per value of a grid."""
        return [label for label in self.rows["model"].drop_duplicates() if label.partition(" ")[0] == recipe]


@dataclass(frozen=True)
class Contest:
    """Two sides, of which a claim says that the first is larger.

    Attributes:
        larger: numbers by seed, named after their model; or one number for all seeds, a bound.
        smaller: the same; one of the two has seeds.
        noise: half-width that the interval of the difference has at least.
    """

    larger: pd.Series | float
    smaller: pd.Series | float
    noise: float = 0.0

    @property
    def difference(self) -> PairedDifference:
        """Larger minus smaller over the seeds of both sides."""
        return paired_difference(self.larger, self.smaller).widened(self.noise)

    @property
    def won(self) -> bool:
        """Whether the interval lies above zero."""
        return self.difference.low > 0

    def __str__(self) -> str:
        found = self.difference
        interval = "" if found.pairs < 2 else f" [{short(found.low)}, {short(found.high)}]"
        return f"{side(self.larger)} against {side(self.smaller)}, difference {short(found.mean)}{interval}"


def judged(contests: Sequence[Contest]) -> Verdict:
    """The rule at the top of this module."""
    if all(contest.won for contest in contests):
        return "borne out"
    differences = [contest.difference for contest in contests]
    adjusted = holm([difference.p_value for difference in differences])
    lost = [d.high < 0 and p < SIGNIFICANCE for d, p in zip(differences, adjusted, strict=True)]
    return "contradicted" if any(lost) else "cannot tell"


def told(quantity: str, contests: Sequence[Contest]) -> str:
    """The numbers in a sentence: of the contests that are not won (or else of all) the narrowest, at most three."""
    missed = [contest for contest in contests if not contest.won]
    ordered = sorted(missed or contests, key=lambda contest: contest.difference.mean)
    shown = ordered[: SHOWN if missed else 1]
    return f"{quantity}: {'; '.join(map(str, shown))} {_meaning(contests)}{_rest(contests, missed, shown)}."


def _meaning(contests: Sequence[Contest]) -> str:
    seeds = min(contest.difference.pairs for contest in contests)
    return f"(95 % intervals over {seeds} seeds)" if seeds > 1 else "(one seed: no interval)"


def _rest(contests: Sequence[Contest], missed: Sequence[Contest], shown: Sequence[Contest]) -> str:
    if len(contests) == 1:
        return ""
    of_all = f"; {len(contests) - len(missed)} of {len(contests)} differences bear the claim out"
    if not missed:
        return f"{of_all}, this is the narrowest"
    return of_all + (f", {len(missed) - len(shown)} more do not" if len(missed) > len(shown) else "")


def side(numbers: pd.Series | float) -> str:
    """One side's name and mean."""
    if isinstance(numbers, float):
        return f"the bound {numbers:g}"
    return f"{display_name(str(numbers.name))} {short(numbers.mean())}"


def short(number: float) -> str:
    """Three digits.

    >>> short(3.899), short(-0.5), short(12345.6), short(0)
    ('3.90', '−0.500', '12346', '0')
    """
    text = f"{number:#.3g}".rstrip(".") if abs(number) < 1000 else f"{number:.0f}"
    return text.replace("-", "−", 1) if number else "0"
