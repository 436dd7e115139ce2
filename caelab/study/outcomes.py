"""Outcomes: what a run of a study left, what was found between runs, and all of it as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysis.base import SPLIT_SEED, gather, measure_alone, stored_table
from caelab.errors import CaelabError
from caelab.registry.reserved import ABOUT_A_ROW
from caelab.runs.config import RunConfig
from caelab.runs.run import load_run


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
        dataset: the name of its data.
    """

    config: RunConfig
    path: Path
    tables: Mapping[str, pd.DataFrame]
    numbers: Mapping[str, float]
    problems: tuple[Problem, ...] = ()
    tracebacks: tuple[str, ...] = ()
    reused: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""

    def __str__(self) -> str:
        """What a line of progress says of it."""
        return f"{name_of(self.config)}{' (reused)' if self.reused else ''}"


@dataclass(frozen=True)
class Failure:
    """A job that left no run.

    Attributes:
        config: of the run.
        message: why, in a sentence.
        lasting: whether it would fail again; otherwise the next time tries it anew.
        traceback: of the error.
        known: whether it failed at an earlier time, and was not tried again.
        dataset: the name of its data.
    """

    config: RunConfig
    message: str
    lasting: bool = True
    traceback: str = ""
    known: bool = False
    dataset: str = ""

    def __str__(self) -> str:
        """What a line of progress says of it."""
        again = " (as before, see: caelab study retry)" if self.known else ""
        return f"{name_of(self.config)}: FAILED{again}: {self.message}"


def name_of(config: RunConfig) -> str:
    """Which run of a study it is, for people."""
    split = config.dataset.split_seed
    return f"{config.label}, seed {config.seed}{'' if split is None else f', split {split}'}"


class StoredTables(Mapping[str, pd.DataFrame]):
    """The tables of a run by analysis, each read when it is asked for; one that was damaged since is measured again.

    Args:
        run: the run's folder.
        config: of the run, under the label of the study.
        files: by analysis, the name of its table.
        options: of each analysis.
        loose: tables that could not be stored.
    """

    def __init__(
        self,
        run: Path,
        config: RunConfig,
        files: Mapping[str, str],
        options: Mapping[str, Mapping[str, Any]],
        loose: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        self.run, self.config, self.files, self.options, self.loose = run, config, files, options, dict(loose or {})

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name in self.loose:
            return self.loose[name]
        table = stored_table(self.run, self.files[name], self.config.label, self.config.seed)
        if table is None:
            run = replace(load_run(self.run), config=self.config)
            table = measure_alone(run, name, self.options.get(name, {}))
        return table

    def __iter__(self) -> Iterator[str]:
        return iter({**self.files, **self.loose})

    def __len__(self) -> int:
        return len({**self.files, **self.loose})


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
    """The outcomes of a study, in the order of its configs and seeds.

    Attributes:
        outcomes: of the runs that are there.
        between: what was found between them.
        failures: of the runs that are not.
    """

    outcomes: Sequence[Outcome]
    between: Between = field(default_factory=Between)
    failures: Sequence[Failure] = ()

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
        measured = [with_split(o.tables[name], o.config) for o in self.outcomes if name in o.tables]
        return [*measured, *([self.between.tables[name]] if name in self.between.tables else [])]


def with_split(table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """The table with a column ``split_seed`` behind the model, where the split is not the seed's own.

    It is not called ``split``, which some analyses call the part of the examples that a row is about.
    """
    split = config.dataset.split_seed
    if split is not None:
        table = table.copy()
        table.insert(1, SPLIT_SEED, split)
    return table


def run_rows(result: StudyResult) -> pd.DataFrame:
    """One row per model and seed: every number that the analyses summarise."""
    between = result.between.numbers or [{}] * len(result.outcomes)
    return pd.DataFrame([_row(outcome, more) for outcome, more in zip(result.outcomes, between, strict=True)])


def about(config: RunConfig) -> dict[str, Any]:
    """The columns that say which run of a comparison a row is about: ``split`` only where it is not the seed's own."""
    split = config.dataset.split_seed
    return {"model": config.label, **({} if split is None else {"split": split}), "seed": config.seed}


def _row(outcome: Outcome, more: Mapping[str, float]) -> dict[str, Any]:
    return {**about(outcome.config), **outcome.numbers, **more, "run": outcome.path.name}
