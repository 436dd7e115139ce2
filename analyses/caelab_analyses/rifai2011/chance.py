"""Test errors as sides of a contest: what chance in the test examples adds to the spread over the runs.

Where all runs are tested on the same examples, no number of runs shows the chance in them. Where every split draws test
examples of its own, the spread over the splits shows it, but a few splits show it badly: errors are whole numbers of
examples, so that two differences may be equal by chance, and their spread nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from caelab import Contest, NotApplicable, Numbers
from caelab.analysis.statistics import share_standard_error

AFTER, OF_1000 = "test error after fine-tuning", "fine-tuned error"  # of two analyses, the first comes first
TWO_SIDED = 1.96  # standard errors of a 95 % interval


def error_column(numbers: Numbers) -> str:
    """The column of the classification error: after fine-tuning on all labels, or else on the first 1 000.

    Raises:
        NotApplicable: neither was measured.
    """
    found = [column for column in (AFTER, OF_1000) if column in numbers.rows]
    if not found:
        raise NotApplicable("no classifier was fine-tuned")
    return found[0]


def error_contest(larger: pd.Series, smaller: pd.Series, count: int | None) -> Contest:
    """Two models' test errors in percent, of which a claim says that the first is larger.

    The interval of the difference reaches at least 1.96 √(p₁(1 - p₁)/n + p₂(1 - p₂)/n) to either side, n the test
    examples: those of one run, or where every split draws its own, those of all splits.

    Args:
        larger: by seed, or by split and seed.
        smaller: the same.
        count: the test examples of one run; None where it is not known, and no chance of theirs is added.
    """
    contest = Contest(larger, smaller)
    if count is None:
        return contest
    return replace(contest, noise=chance_width(larger.mean(), smaller.mean(), count * tests_in(contest)))


def tests_in(contest: Contest) -> int:
    """How many sets of test examples a contest rests on: one for each split that draws its own, or else one."""
    return max(contest.difference.pairs, 1) if contest.ratio is not None else 1


def chance_width(first: float, second: float, count: int) -> float:
    """Half-width of the 95 % interval of the difference of two error rates, in percent, on ``count`` examples each."""
    errors = [100 * share_standard_error(percent / 100, count) for percent in (first, second)]
    return TWO_SIDED * math.hypot(*errors)


def chance_told(contests: Sequence[Contest], count: int | None) -> str:
    """What goes on behind the evidence where chance in the test examples was added."""
    if count is None:
        return ""
    return f" The intervals hold the chance in {count * min(map(tests_in, contests))} test examples too."


def examples_tested(numbers: Numbers) -> int:
    """How many examples the classification errors were counted on.

    Raises:
        NotApplicable: the table of the classifiers does not say so.
    """
    found = None
    if error_column(numbers) == AFTER:
        found = count_of(numbers, "fine_tuning", "test_examples")
    found = found or count_of(numbers, "classification", "examples", split="test")
    if found is None:
        raise NotApplicable("the number of test examples is not known")
    return found


def tested_or_none(numbers: Numbers) -> int | None:
    """The same, or None where it is not known."""
    try:
        return examples_tested(numbers)
    except NotApplicable:
        return None


def count_of(numbers: Numbers, analysis: str, column: str, **where: str) -> int | None:
    """The smallest number in a column of an analysis's table, in the rows that fit; None where none is above 0."""
    found = read_from(numbers, analysis, column, **where)
    return int(found.min()) if len(found) and found.min() >= 1 else None


def read_from(numbers: Numbers, analysis: str, column: str, **where: str) -> pd.Series:
    """A column of an analysis's table, in the rows that fit; empty where there is none."""
    table = numbers.tables.get(analysis, pd.DataFrame())
    if not {column, *where} <= {*table.columns}:
        return pd.Series(dtype=float)
    for name, value in where.items():
        table = table[table[name] == value]
    return pd.to_numeric(table[column], errors="coerce").dropna()
