"""Jobs of a study: training and measuring one run, and comparing all of them at the end."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from traceback import format_exc
from typing import Any

import pandas as pd

from caelab.analysis.base import gather, measure_alone, summarise, table_name
from caelab.analysis.contract import compares, load_analysis, measures, source_of
from caelab.analysis.isolation import SpoiledData
from caelab.analysis.several import compared_beside, summaries
from caelab.errors import CaelabError, ContractError, NotApplicable, StorageError, reason
from caelab.process.threads import on_one_thread
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code
from caelab.runs.config import RunConfig
from caelab.runs.run import Run, dataset_of, load_run
from caelab.storage.checked_files import stored_facts
from caelab.storage.locks import clear_lock, is_being_written, one_writer
from caelab.study.agreement import refuse_other_code
from caelab.study.outcomes import Between, Failure, Outcome, Problem, StoredTables, name_of, refuse_taken, with_split
from caelab.study.records import (
    Entry,
    State,
    files_of,
    is_unchanged,
    read_entry,
    remove_unfinished,
    spent_on,
    target_of,
    write_entry,
)
from caelab.study.workers import doing
from caelab.training import existing_run, run_folder, train
from caelab.training.tracking import trackers_in_worker

log = logging.getLogger(__name__)

Options = Mapping[str, Any]

ALL = "all"  # the models that a problem of several runs is about
FATAL = (SpoiledData, ContractError)  # after these all that follows would be wrong too


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a study, to be trained and measured.

    Attributes:
        config: of the run.
        out: the folder of the runs.
        analyses: with their options.
        plugin_files: that it needs.
        allowed: code that configs may name.
        folder: of the study, in which the outcome is recorded; None where nothing is.
        dataset: the name of the data.
        asked: digest of the analyses, see ``asked_of``.
        track: where the metrics of every epoch are written too.
        expected: the code of others, where the study was started.
    """

    config: RunConfig
    out: Path
    analyses: Mapping[str, Options]
    plugin_files: tuple[Path, ...] = ()
    allowed: frozenset[str] = frozenset()
    folder: Path | None = None
    dataset: str = ""
    asked: str = ""
    track: tuple[str, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Which run it is."""
        return name_of(self.config)


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
    return [replace(job, out=job.out.absolute(), folder=job.folder and job.folder.absolute()) for job in jobs]


@dataclass(frozen=True)
class Busy:
    """Another process carries out the same job now."""


@dataclass
class Measured:
    """What the analyses of one run left so far."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)


@on_one_thread
def carry_out(job: Job, wait: bool = True) -> Outcome | Failure | Busy:
    """Train one run, unless it is there already, and measure it; an analysis that fails does not stop the others.

    It takes one thread, so that the numbers do not depend on how many workers there are. Where the study records what
    its runs left, a run that is recorded, and whose files are as they were, is not even opened.

    Args:
        job: the run.
        wait: whether to wait for another process that carries out the same job.

    Returns:
        What the run left, why there is none, or that another process is at it.

    Raises:
        SpoiledData: an analysis changed the data for all others.
        ContractError: a plugin says something of itself that is not so.
    """
    prepare(job)
    place = run_folder(job.out, job.config, dataset_of(job.config))
    run = place.name
    if job.folder is not None and (known := recalled(job, run)) is not None:
        return known
    if not wait and any(map(is_being_written, [place, *([target_of(job.folder, run)] if job.folder else [])])):
        return Busy()
    if job.folder is None:
        return _attempted(job)
    with one_writer(target_of(job.folder, run)):
        remove_unfinished(job.folder, run)
        found = recalled(job, run)
        if found is None:
            found = _attempted(job)
            _record(job, run, found)
        return found


def asked_of(analyses: Mapping[str, Options]) -> str:
    """A digest of analyses, their options and their code: what was measured otherwise is measured again."""
    facts = [[name, dict(options), source_of(load_analysis(name))] for name, options in analyses.items()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def recalled(job: Job, run: str) -> Outcome | Failure | None:
    """What is recorded of a job; None where nothing is, or where its run was changed since."""
    assert job.folder is not None
    entry = read_entry(job.folder, run)
    if entry is None or entry.asked != job.asked:
        return None
    for place in (target_of(job.folder, run), job.out / run):
        clear_lock(place)
    if entry.state == "failed":
        return Failure(job.config, entry.message, known=True, dataset=job.dataset)
    return outcome_of(job, entry) if is_unchanged(entry, job.out) else None


def outcome_of(job: Job, entry: Entry) -> Outcome:
    """The outcome that a record tells of."""
    problems = tuple(Problem(**each) for each in entry.problems)
    path = job.out / entry.folder
    tables = StoredTables(path, job.config, entry.tables, job.analyses)
    return Outcome(job.config, path, tables, entry.numbers, problems, (), True, entry.origins, job.dataset)


def _record(job: Job, run: str, found: Outcome | Failure) -> None:
    """Write down what became of a job, unless the next time may go better, or a table lies nowhere."""
    assert job.folder is not None
    config = job.config
    about = (run, config.label, job.dataset, config.split, config.seed)
    if isinstance(found, Failure):
        if found.lasting:
            write_entry(job.folder, Entry(*about, "failed", job.asked, found.message))
        return
    tables = found.tables
    if not isinstance(tables, StoredTables) or tables.loose:
        return
    state: State = "partly" if any(problem.applies for problem in found.problems) else "done"
    more: dict[str, Any] = {
        "numbers": found.numbers,
        "origins": found.origins,
        "folder": found.path.name,
        "tables": tables.files,
        "files": files_of(found.path, tables.files.values()),
        "problems": tuple(map(asdict, found.problems)),
        "spent": spent_on(found.path, _seconds(found.path)),
    }
    write_entry(job.folder, Entry(*about, state, job.asked, **more))


def _seconds(folder: Path) -> float | None:
    """How long a run trained, as its record says."""
    seconds = stored_facts(folder).get("record", {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def _attempted(job: Job) -> Outcome | Failure:
    """What a job left, or why it left nothing; only an error after which others would be wrong too is raised."""
    doing("training")
    try:
        return _carried_out(job)
    except FATAL:
        raise
    except StorageError as error:
        return Failure(job.config, str(error), False, format_exc(), dataset=job.dataset)
    except CaelabError as error:
        lasting = "not enough memory" not in str(error)
        return Failure(job.config, str(error), lasting, format_exc(), dataset=job.dataset)
    except Exception as error:  # a mistake of caelab's, or of code that it calls
        return Failure(job.config, reason(error), False, format_exc(), dataset=job.dataset)


def _carried_out(job: Job) -> Outcome:
    reused = existing_run(job.out, job.config, dataset_of(job.config)) is not None
    run = train(job.config, out=job.out, observers=trackers_in_worker(job.track), progress=False)
    found = Measured()
    for name, options in job.analyses.items():
        doing(f"the analysis {name!r}")
        try:
            _measure(run, name, options, found)
        except (*FATAL, StorageError):
            raise
        except CaelabError as error:
            found.problems.append(Problem(run.label, name, str(error), applies=not isinstance(error, NotApplicable)))
            found.tracebacks.append(format_exc())
    assert run.path is not None
    tables = _stored(run, job, found.tables)
    problems, tracebacks = tuple(found.problems), tuple(found.tracebacks)
    return Outcome(
        job.config, run.path, tables, found.numbers, problems, tracebacks, reused, found.origins, job.dataset
    )


def _measure(run: Run, name: str, options: Options, found: Measured) -> None:
    """One analysis of one run; what looks at several runs is summed up when all of them are there."""
    analysis = load_analysis(name)
    if not measures(analysis):
        return
    found.tables[name] = measure_alone(run, name, options)
    if not compares(analysis):
        numbers = summarise(name, found.tables[name])
        refuse_taken(found.origins, name, numbers)
        found.numbers |= numbers
        found.origins |= dict.fromkeys(numbers, name)


def _stored(run: Run, job: Job, tables: Mapping[str, pd.DataFrame]) -> StoredTables:
    """The tables of a run, which are not carried about but read where they lie, as far as they do."""
    assert run.path is not None
    files = {name: table_name(name, job.analyses[name]) for name in tables}
    lying = {name: file for name, file in files.items() if (run.path / "tables" / file).is_file()}
    loose = {name: table for name, table in tables.items() if name not in lying}
    return StoredTables(run.path, job.config, lying, job.analyses, loose)


@on_one_thread
def compared(outcomes: Sequence[Outcome], analyses: Mapping[str, Options]) -> Between:
    """What those analyses find that look at several runs at once; one that fails does not stop the others.

    Runs are compared that have their data in common, and where splits are repeated, the split.
    """
    asked = {name: options for name, options in analyses.items() if compares(load_analysis(name))}
    if not asked or not outcomes:
        return Between()
    groups: dict[tuple[str, int | None], list[int]] = {}
    for place, outcome in enumerate(outcomes):
        groups.setdefault((outcome.dataset, outcome.config.dataset.split_seed), []).append(place)
    numbers: list[Mapping[str, float]] = [{} for _ in outcomes]
    tables: dict[str, list[pd.DataFrame]] = {}
    problems: list[Problem] = []
    for places in groups.values():
        found = _compared([outcomes[place] for place in places], asked)
        for place, each in zip(places, found.numbers, strict=True):
            numbers[place] = each
        for name, table in found.tables.items():
            tables.setdefault(name, []).append(with_split(table, outcomes[places[0]].config))
        problems += found.problems
    return Between({name: gather(parts) for name, parts in tables.items()}, numbers, list(dict.fromkeys(problems)))


def _compared(outcomes: Sequence[Outcome], asked: Mapping[str, Options]) -> Between:
    runs = [replace(load_run(outcome.path), config=outcome.config) for outcome in outcomes]
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
        except (*FATAL, StorageError):
            raise
        except CaelabError as error:
            log.debug("%s", format_exc())
            problems.append(Problem(ALL, name, str(error), applies=not isinstance(error, NotApplicable)))
    return Between(tables, numbers, problems)
