"""The contract of claims: the numbers of a comparison, paired differences, and the rule that judges them.

A claim is a function ``claim(numbers: Numbers) -> Finding``, which a plugin registers. One that cannot be asked of a
comparison raises ``NotApplicable`` and is left out.

**The rule**, the same for every claim of paired differences. A claim is split into contests, paired differences over
the seeds, each turned so that the claim says it is positive. It is *supported* where the 95 % interval of every
difference lies above zero; *contradicted* where the interval of one lies below zero and its t test holds after Holm's
correction for the number of differences; otherwise it is *inconclusive*, as always with a single seed. Where the pairs
are random splits of one data set, drawn by the study or by the seeds, interval and test are those corrected for the
examples that the splits share (Nadeau and Bengio 2003).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import PairedDifference, corrected_difference, holm, paired_difference
from caelab.analysis.statistics.paired import differences_of, pairing
from caelab.errors import NotApplicable

Verdict = Literal["supported", "contradicted", "inconclusive"]

ClaimFunction = TypeVar("ClaimFunction", bound=Callable[..., Any])

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SIGNIFICANCE = 0.05
SHOWN = 3
RATIO = "test to train"  # of the attributes of numbers: how many examples test for each one that trains


@dataclass(frozen=True)
class Finding:
    """What a comparison says of a claim.

    Attributes:
        statement: the claim, in one sentence.
        source: who says so, as "Rifai et al. (2011), Table 1".
        verdict: "supported", "contradicted" or "inconclusive".
        evidence: the numbers that the verdict rests on, in a sentence.
    """

    statement: str
    source: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Numbers:
    """The numbers of a comparison, which claims are judged by.

    Attributes:
        rows: one row per model and seed, with the columns ``model`` and ``seed`` and every number that an analysis sums
            up to.
        tables: by analysis, its table over all runs, with the columns ``model`` and ``seed``.
        dataset: the data's name.
        validation: the column by which validation selects the best of a grid; None where nothing selects.
        larger_is_better: whether the best has the largest number in that column, or the smallest.
        test_to_train: by model, how many examples test for each one that trains, where splits are drawn from one data
            set.
    """

    rows: pd.DataFrame
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    dataset: str = ""
    validation: str | None = None
    larger_is_better: bool = False
    test_to_train: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def made_up(
        cls, means: Mapping[str, Mapping[str, float]], seeds: int = 3, spread: float = 0.01, **others: Any
    ) -> Numbers:
        """Numbers that were never measured, to try a claim with; the same every time.

        >>> numbers = Numbers.made_up({"ae": {"mean norm": 8.0}, "cae": {"mean norm": 4.0}}, seeds=2, spread=0)
        >>> list(numbers.of("cae", "mean norm"))
        [4.0, 4.0]

        Args:
            means: by model and column, the mean over the seeds.
            seeds: how many rows each model has.
            spread: standard deviation over the seeds, as a share of the mean.
            others: the further attributes.
        """
        columns = dict.fromkeys(column for of_model in means.values() for column in of_model)
        centres = np.array([[of_model.get(c, np.nan) for c in columns] for of_model in means.values()], dtype=float)
        noise = np.random.default_rng(0).normal(0, spread, (len(means), seeds, len(columns)))
        values = (centres[:, None] * (1 + noise)).reshape(len(means) * seeds, len(columns))
        about = pd.DataFrame({"model": np.repeat([*means], seeds), "seed": [*range(seeds)] * len(means)})
        return cls(pd.concat([about, pd.DataFrame(values, columns=[*columns])], axis=1), **others)

    def of(self, recipe: str, column: str) -> pd.Series:
        """The numbers of the model that stands for a recipe, by seed.

        Raises:
            NotApplicable: there is no such model or number.
        """
        return self.by_label(self.label(recipe), column)

    def those(self, recipes: Sequence[str], column: str) -> list[pd.Series]:
        """The numbers of those recipes that the comparison has.

        Raises:
            NotApplicable: none is.
        """
        found = []
        for recipe in recipes:
            try:
                found.append(self.of(recipe, column))
            except NotApplicable:
                continue
        if not found:
            raise NotApplicable(f"none of {', '.join(recipes)} has a number {column!r}")
        return found

    def by_label(self, label: str, column: str) -> pd.Series:
        """The numbers of one model, by seed; where splits are repeated, by split and seed.

        Their ``attrs`` say that they come from splits of one data set, and what is computed from them keeps them. Where
        pandas drops them, as behind ``corrwith``, set ``found.attrs = numbers.of(...).attrs``; differences without
        are taken for independent.

        Raises:
            NotApplicable: there are none.
        """
        if column not in self.rows:
            raise NotApplicable(f"no analysis measured {column!r}")
        of_model = self.rows[self.rows["model"] == label]
        if of_model.empty:
            raise NotApplicable(f"no model {label!r} was compared")
        keys = pairing(of_model)
        numbers = of_model.set_index(keys if len(keys) > 1 else keys[0])[column].astype(float)
        numbers = numbers.rename(label).sort_index()
        finite = numbers[np.isfinite(numbers)]
        if finite.empty:
            raise NotApplicable(f"the model {label!r} has no number {column!r}")
        if label in self.test_to_train:
            finite.attrs[RATIO] = self.test_to_train[label]
        return finite

    def label(self, recipe: str) -> str:
        """The model that stands for a recipe: of a grid the one that validates best, as the paper chooses.

        Raises:
            NotApplicable: there is none, or nothing to choose by.
        """
        labels = self.labels(recipe)
        if not labels:
            raise NotApplicable(f"no model of the recipe {recipe!r} was compared")
        if len(labels) == 1:
            return labels[0]
        selects = self.validation
        if selects is None:
            raise NotApplicable(f"nothing selects one of {len(labels)} models of the recipe {recipe!r}")
        best = max if self.larger_is_better else min
        return best(labels, key=lambda label: float(self.by_label(label, selects).mean()))

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

    @cached_property
    def difference(self) -> PairedDifference:
        """Larger minus smaller over the pairs of both sides; corrected for what they share where they are splits."""
        ratio = self.ratio
        if ratio is None:
            return paired_difference(self.larger, self.smaller).widened(self.noise)
        return corrected_difference(self.larger, self.smaller, ratio).widened(self.noise)

    @property
    def ratio(self) -> float | None:
        """How many examples test for each one that trains, where the pairs are random splits of one data set."""
        sides = (each for each in (self.larger, self.smaller) if isinstance(each, pd.Series))
        return max((float(each.attrs[RATIO]) for each in sides if RATIO in each.attrs), default=None)

    @property
    def differences(self) -> pd.Series:
        """Larger minus smaller, by pair."""
        return differences_of(self.larger, self.smaller)

    @property
    def won(self) -> bool:
        """Whether the interval lies above zero."""
        return self.difference.low > 0

    @property
    def pairs_told(self) -> str:
        """How many pairs there are, and of what: "3 seeds", "5 splits", "6 pairs of a split and a seed"."""
        index = self.differences.index
        seeds = len(index.unique(level=-1))
        if index.nlevels == 1 or (self.ratio is None and 1 < seeds == len(index)):
            return counted(seeds, "seed")
        if self.ratio is None and seeds > 1:
            return f"{len(index)} pairs of a split and a seed"
        return counted(self.difference.pairs, "split")

    def __str__(self) -> str:
        found = self.difference
        if not found.pairs:
            return f"{side(self.larger)} against {side(self.smaller)}, no seed in common"
        interval = "" if found.pairs < 2 else f" [{short(found.low)}, {short(found.high)}]"
        return f"{side(self.larger)} against {side(self.smaller)}, difference {short(found.mean)}{interval}"


def finding(statement: str, source: str, quantity: str, contests: Sequence[Contest], more: str = "") -> Finding:
    """The finding of a claim that holds where every contest is won.

    Args:
        statement: the claim, in one sentence.
        source: who says so.
        quantity: what the numbers are, with which the evidence begins, as "Mean ‖J‖".
        contests: the differences that the claim says are positive.
        more: goes on behind the evidence.

    Raises:
        NotApplicable: there is no contest.
    """
    return Finding(statement, source, judged(contests), told(quantity, contests) + more)


def with_examples(**examples: Numbers) -> Callable[[ClaimFunction], ClaimFunction]:
    """Give a claim the made-up numbers that it is checked with, one comparison per verdict; a decorator.

    ``caelab check`` makes up rows by itself; a claim that reads tables, or compares the models of a grid, needs others.
    It is the same as an attribute ``examples = {verdict: numbers}`` of the function.
    """

    def give(claim: ClaimFunction) -> ClaimFunction:
        claim.examples = examples  # type: ignore[attr-defined]
        return claim

    return give


def judged(contests: Sequence[Contest]) -> Verdict:
    """The verdict of the rule at the top of this module.

    Raises:
        NotApplicable: there is no contest.
    """
    if not contests:
        raise NotApplicable("a claim without contests cannot be judged; give at least one")
    if all(contest.won for contest in contests):
        return "supported"
    differences = [contest.difference for contest in contests]
    adjusted = holm([difference.p_value for difference in differences])
    lost = [d.high < 0 and p < SIGNIFICANCE for d, p in zip(differences, adjusted, strict=True)]
    return "contradicted" if any(lost) else "inconclusive"


def told(quantity: str, contests: Sequence[Contest]) -> str:
    """The numbers in a sentence: of the contests that are not won (or else of all) the narrowest, at most three."""
    missed = [contest for contest in contests if not contest.won]
    ordered = sorted(missed or contests, key=lambda contest: contest.difference.mean)
    shown = ordered[: SHOWN if missed else 1]
    return f"{quantity}: {'; '.join(map(str, shown))} {_meaning(contests)}{_rest(contests, missed, shown)}."


def _meaning(contests: Sequence[Contest]) -> str:
    fewest = min(contests, key=lambda contest: contest.difference.pairs)
    pairs = fewest.pairs_told
    if fewest.difference.pairs < 2:
        return f"({pairs}: no interval)"
    whose = "their splits" if pairs.endswith("seeds") else "they"
    corrected = f", corrected for the examples that {whose} share" if any(each.ratio for each in contests) else ""
    return f"(95 % intervals over {pairs}{corrected})"


def counted(number: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "seed"), counted(3, "split")
    ('one seed', '3 splits')
    """
    return f"one {what}" if number == 1 else f"{number} {what}s"


def _rest(contests: Sequence[Contest], missed: Sequence[Contest], shown: Sequence[Contest]) -> str:
    if len(contests) == 1:
        return ""
    of_all = f"; {len(contests) - len(missed)} of {len(contests)} differences support the claim"
    if not missed:
        return f"{of_all}, this is the narrowest"
    return of_all + (f", {len(missed) - len(shown)} more do not" if len(missed) > len(shown) else "")


def side(numbers: pd.Series | float) -> str:
    """One side's name and mean."""
    if not isinstance(numbers, pd.Series):
        return f"the bound {numbers:g}"
    return f"{display_name(str(numbers.name))} {short(numbers.mean())}"


def short(number: float) -> str:
    """A number with three digits, as text.

    >>> short(3.899), short(-0.5), short(12345.6), short(0)
    ('3.90', '−0.500', '12346', '0')
    """
    text = f"{number:#.3g}".rstrip(".") if abs(number) < 1000 else f"{number:.0f}"
    return text.replace("-", "−", 1) if number else "0"
