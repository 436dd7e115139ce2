"""Outcomes: what a run of a study left, what was found between runs, and all of it as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysis.base import gather
from caelab.errors import CaelabError
from caelab.registry.reserved import ABOUT_A_ROW
from caelab.runs.config import RunConfig


@dataclass(frozen=True)
class Problem:
    """An analysis that did not work on a run, or has no meaning for it."""

    model: str
    analysis: str
    message: str
    applies: bool


@dataclass(frozen=True)
class Outcome:
    """What a job left.

    Attributes:
        config: of the run.
        path: the run's folder.
        tables: by analysis.
        numbers: what sums the run up.
        problems: analyses that did not work.
        tracebacks: of these.
        reused: whether the run was there already.
        origins: by number, the analysis that it comes from.
    """

    config: RunConfig
    path: Path
    tables: Mapping[str, pd.DataFrame]
    numbers: Mapping[str, float]
    problems: tuple[Problem, ...] = ()
    tracebacks: tuple[str, ...] = ()
    reused: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """What a line of progress says of it."""
        return f"{self.config.label}, seed {self.config.seed}{' (reused)' if self.reused else ''}"


def refuse_taken(origins: Mapping[str, str], analysis: str, names: Iterable[str]) -> None:
    """Refuse numbers of an analysis whose names are taken; none of them is kept then.

    Args:
        origins: by number that there is already, the analysis that it comes from.
        analysis: whose numbers these are.
        names: of its numbers.

    Raises:
        CaelabError: another analysis, or caelab itself, has a number of that name.
    """
    for name in names:
        if name in ABOUT_A_ROW:
            raise CaelabError(
                f"the analysis {analysis!r} summarises {name!r}, a column that caelab adds itself; rename it"
            )
        if name in origins:
            raise CaelabError(
                f"the analyses {origins[name]!r} and {analysis!r} both summarise {name!r}; the number of "
                f"the first stays, and those of {analysis!r} are left out: give them other names"
            )


@dataclass(frozen=True)
class Between:
    """What analyses found between the runs of a study.

    Attributes:
        tables: by analysis.
        numbers: what sums up each run, in the order of the outcomes; empty where nothing does.
        problems: analyses that did not work.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    numbers: Sequence[Mapping[str, float]] = ()
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class StudyResult:
    """The outcomes of a study, in the order of its configs and seeds."""

    outcomes: Sequence[Outcome]
    between: Between = field(default_factory=Between)

    @property
    def problems(self) -> list[Problem]:
        """The analyses that did not work, each model and message once."""
        of_runs = [problem for outcome in self.outcomes for problem in outcome.problems]
        return list(dict.fromkeys([*of_runs, *self.between.problems]))

    def tables(self) -> dict[str, pd.DataFrame]:
        """One table per analysis, over all runs: what was measured of each, and what was found between them."""
        names = dict.fromkeys(name for outcome in self.outcomes for name in outcome.tables)
        return {name: gather(self._parts(name)) for name in {**names, **dict.fromkeys(self.between.tables)}}

    def _parts(self, name: str) -> list[pd.DataFrame]:
        measured = [outcome.tables[name] for outcome in self.outcomes if name in outcome.tables]
        return [*measured, *([self.between.tables[name]] if name in self.between.tables else [])]


def run_rows(result: StudyResult) -> pd.DataFrame:
    """One row per model and seed: every number that the analyses summarise."""
    between = result.between.numbers or [{}] * len(result.outcomes)
    return pd.DataFrame([_row(outcome, more) for outcome, more in zip(result.outcomes, between, strict=True)])


def _row(outcome: Outcome, more: Mapping[str, float]) -> dict[str, Any]:
    about = {"model": outcome.config.label, "seed": outcome.config.seed}
    return {**about, **outcome.numbers, **more, "run": outcome.path.name}
