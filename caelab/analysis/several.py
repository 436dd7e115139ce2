"""Analyses of several runs at once, such as similarity of codes or stability over seeds."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysis.base import (
    by_itself,
    called,
    gather,
    measure_alone,
    named_failure,
    read_table,
    remembered,
    summarise,
)
from caelab.analysis.contract import compares, load_analysis, measures, options_of, source_of
from caelab.analysis.isolation import run_left_as_found
from caelab.errors import CaelabError, NotApplicable
from caelab.registry.reserved import ABOUT_A_RUN
from caelab.runs.record import tables_count
from caelab.runs.run import Run
from caelab.storage.checked_files import RECORD, WEIGHTS, stored_facts
from caelab.storage.checksums import FILES, checksum
from caelab.streams import Streams

log = logging.getLogger(__name__)

FOLDER = "between-runs"  # beside the folders of the runs


def analyse_together(runs: Sequence[Run], name: str, **options: Any) -> pd.DataFrame:
    """The table of an analysis over several runs: what it measures of each, and what it finds between them.

    Args:
        runs: different models and seeds.
        name: of the analysis.
        options: of its ``measure`` and its ``compare``.

    Returns:
        One table, whose columns ``model`` and ``seed`` say which run a row is about.

    Raises:
        CaelabError: an unknown analysis or option, or an analysis that fails on these runs.
        NotApplicable: the analysis has no meaning for these runs.
    """
    measured = measured_each(runs, name, options)
    return gather([*measured, *compared_beside(measured, runs, name, options)])


def measured_each(runs: Sequence[Run], name: str, options: Mapping[str, Any]) -> list[pd.DataFrame]:
    """What an analysis measures of each run by itself; nothing where it only compares runs."""
    return [measure_alone(run, name, options) for run in runs] if measures(load_analysis(name)) else []


def compared_beside(
    measured: Sequence[pd.DataFrame], runs: Sequence[Run], name: str, options: Mapping[str, Any]
) -> list[pd.DataFrame]:
    """The table of what an analysis finds between runs; none where it compares nothing, or nothing of these runs.

    Raises:
        CaelabError: the analysis fails on these runs.
        NotApplicable: there is nothing to compare, and nothing was measured either.
    """
    if not compares(load_analysis(name)):
        return []
    try:
        return [compared_runs(runs, name, options)]
    except NotApplicable as error:
        if not measured:
            raise
        log.warning("%s is measured, but not compared: %s", called(name), error)
        return []


def compared_runs(runs: Sequence[Run], name: str, options: Mapping[str, Any]) -> pd.DataFrame:
    """What an analysis finds between runs, or the table of an earlier time if all the runs are those of then.

    The table is kept beside the folders of the runs; its name follows the runs, their weights, the options, and the
    code of the analysis.

    Raises:
        CaelabError: an unknown option, or an analysis that fails on these runs.
        NotApplicable: the analysis has no meaning for these runs.
    """
    analysis = load_analysis(name)
    _refuse_alike(runs, name)
    chosen = options_of(name, analysis, options)[1]
    path = _place(runs, name, chosen, analysis)
    if path is None:
        return _found(runs, name, analysis, chosen)
    return remembered(name, path, lambda: read_table(path, True), lambda: _found(runs, name, analysis, chosen))


def _refuse_alike(runs: Sequence[Run], name: str) -> None:
    names = [(run.label, run.seed) for run in runs]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice:
        raise CaelabError(
            f"{called(name)} compares runs by model and seed, but two runs are {twice[0]!r} of seed {twice[1]}; give "
            "each run once, and models different labels"
        )


def _place(runs: Sequence[Run], name: str, options: Mapping[str, Any], analysis: Any) -> Path | None:
    """Where the table is kept; None where a run is not stored, or nothing tells what its folder holds."""
    folders = [run.path for run in runs if run.path is not None and tables_count(run.path)]
    if not folders or len(folders) < len(runs):
        return None
    identity = [[run.label, run.seed, _content(folder)] for run, folder in zip(runs, folders, strict=True)]
    text = json.dumps([identity, options, source_of(analysis)], sort_keys=True, default=str)
    return folders[0].parent / FOLDER / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.parquet"


def _content(folder: Path) -> str:
    """What tells a run from another: the checksum of its weights, or of its record where it has none."""
    known = stored_facts(folder).get(FILES, {})
    return str(known.get(WEIGHTS) or checksum((folder / RECORD).read_bytes()))


def _found(runs: Sequence[Run], name: str, analysis: Any, options: Mapping[str, Any]) -> pd.DataFrame:
    seed = min(run.seed for run in runs)
    with by_itself(name, seed), left_as_found(runs, called(name)), named_failure(name, "failed in compare"):
        table = analysis.compare(list(runs), Streams(seed), **options)
    if not isinstance(table, pd.DataFrame):
        raise CaelabError(
            f"compare of {called(name)} returns {type(table).__name__}, but a pandas.DataFrame is expected"
        )
    lacking = [column for column in ABOUT_A_RUN if column not in table.columns]
    if lacking:
        raise CaelabError(
            f"compare of {called(name)} returns a table without the column {lacking[0]!r}; 'model' and 'seed' say "
            "which run a row is about"
        )
    known = {(run.label, run.seed) for run in runs}
    foreign = next((row for row in table[[*ABOUT_A_RUN]].itertuples(index=False) if tuple(row) not in known), None)
    if foreign is not None:
        raise CaelabError(
            f"compare of {called(name)} returns a row about the model {foreign[0]!r} of seed {foreign[1]!r}, which is "
            "none of the runs that it was given"
        )
    return table


@contextmanager
def left_as_found(runs: Sequence[Run], who: str) -> Iterator[None]:
    """Refuse code that changes the runs that it was given to read, and put everything back."""
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run_left_as_found(run, who))
        yield


def summaries(
    name: str,
    measured: Sequence[pd.DataFrame | None],
    compared: Sequence[pd.DataFrame],
    runs: Sequence[tuple[str, int]],
) -> list[dict[str, float]]:
    """What sums up each run, from the rows that are about it; nothing for a run that no row is about.

    Args:
        name: of the analysis.
        measured: the table of each run, in their order, None for one that could not be measured; empty where the
            analysis only compares runs.
        compared: the table between the runs, or none.
        runs: model and seed of each.
    """
    if not compared:
        return [{} if table is None else summarise(name, table) for table in measured]
    present = [table for table in measured if table is not None]
    rows = dict(list(gather([*present, *compared]).groupby([*ABOUT_A_RUN], sort=False)))
    return [summarise(name, rows[run].reset_index(drop=True)) if run in rows else {} for run in runs]
