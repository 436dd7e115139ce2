"""Jobs of a study: training and measuring one run, and comparing all of them at the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import format_exc
from typing import Any

import pandas as pd

from caelab.analysis.base import measure_alone, summarise
from caelab.analysis.contract import compares, load_analysis, measures
from caelab.analysis.isolation import SpoiledData
from caelab.analysis.several import compared_beside, summaries
from caelab.errors import CaelabError, ContractError, NotApplicable, StorageError
from caelab.process.threads import on_one_thread
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code
from caelab.runs.config import RunConfig
from caelab.runs.run import dataset_of, load_run
from caelab.study.agreement import refuse_other_code
from caelab.study.outcomes import Between, Outcome, Problem, refuse_taken
from caelab.study.workers import doing
from caelab.training import run_folder, train
from caelab.training.tracking import trackers_in_worker

log = logging.getLogger(__name__)

Options = Mapping[str, Any]

ALL = "all"  # the models that a problem of several runs is about
FATAL = (SpoiledData, StorageError, ContractError)  # after these all that follows would be wrong too


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a study, to be trained and measured."""

    config: RunConfig
    out: Path
    analyses: Mapping[str, Options]
    plugin_files: tuple[Path, ...] = ()
    allowed: frozenset[str] = frozenset()
    track: tuple[str, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)  # the code of others, where the study was started

    def __str__(self) -> str:
        """Which run it is."""
        return f"{self.config.label}, seed {self.config.seed}"


def prepare(job: Job) -> None:
    """Make the code of others that a job uses known to this process.

    Raises:
        CaelabError: it is another one here than where the study was started.
    """
    allow_code(*job.allowed)
    for path in job.plugin_files:
        catalogue().add_file(path)
    refuse_other_code(job.expected)


def begun(pool: Any, jobs: Sequence[Job]) -> Sequence[Job]:
    """The jobs as an executor can carry them out, once it is sure that workers on other machines can.

    Raises:
        CaelabError: a worker does not see the folder of the runs, or has another version of something.
    """
    if not hasattr(pool, "begin") or not jobs:
        return jobs
    pool.begin(jobs[0].out, prepare, jobs[0])
    return [replace(job, out=job.out.absolute()) for job in jobs]


@on_one_thread
def carry_out(job: Job) -> Outcome:
    """Train one run, unless it is there already, and measure it; an analysis that fails does not stop the others.

    It takes one thread, so that the numbers do not depend on how many workers there are.
    """
    prepare(job)
    doing("training")
    reused = run_folder(job.out, job.config, dataset_of(job.config)).is_dir()
    run = train(job.config, out=job.out, observers=trackers_in_worker(job.track))
    tables: dict[str, pd.DataFrame] = {}
    numbers: dict[str, float] = {}
    origins: dict[str, str] = {}
    problems, tracebacks = [], []
    for name, options in job.analyses.items():
        doing(f"the analysis {name!r}")
        try:
            analysis = load_analysis(name)
            if measures(analysis):
                tables[name] = measure_alone(run, name, options)
                if not compares(analysis):  # else it is summed up when all runs are there
                    found = summarise(name, tables[name])
                    refuse_taken(origins, name, found)
                    numbers |= found
                    origins |= dict.fromkeys(found, name)
        except FATAL:
            raise
        except CaelabError as error:
            problems.append(Problem(run.label, name, str(error), applies=not isinstance(error, NotApplicable)))
            tracebacks.append(format_exc())
    assert run.path is not None
    return Outcome(job.config, run.path, tables, numbers, tuple(problems), tuple(tracebacks), reused, origins)


@on_one_thread
def compared(outcomes: Sequence[Outcome], analyses: Mapping[str, Options]) -> Between:
    """What those analyses find that look at several runs at once; one that fails does not stop the others."""
    asked = {name: options for name, options in analyses.items() if compares(load_analysis(name))}
    if not asked or not outcomes:
        return Between()
    runs = [load_run(outcome.path) for outcome in outcomes]
    tables: dict[str, pd.DataFrame] = {}
    numbers: list[dict[str, float]] = [{} for _ in runs]
    origins = {name: analysis for outcome in outcomes for name, analysis in outcome.origins.items()}
    problems = []
    for name, options in asked.items():
        try:
            measured = [outcome.tables.get(name) for outcome in outcomes if measures(load_analysis(name))]
            between = compared_beside([table for table in measured if table is not None], runs, name, options)
            if between:
                (tables[name],) = between
            sums = summaries(name, measured, between, [(run.label, run.seed) for run in runs])
            found = dict.fromkeys(number for each in sums for number in each)
            refuse_taken(origins, name, found)
            origins |= dict.fromkeys(found, name)
            numbers = [known | more for known, more in zip(numbers, sums, strict=True)]
        except FATAL:
            raise
        except CaelabError as error:
            log.debug("%s", format_exc())
            problems.append(Problem(ALL, name, str(error), applies=not isinstance(error, NotApplicable)))
    return Between(tables, numbers, problems)
