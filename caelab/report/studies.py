"""Carrying out a study from its file to its page: freeze, choose, run, collect, publish."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.errors import CaelabError
from caelab.progress import checked, display
from caelab.registry.arguments import path_of
from caelab.report.publish import publish_comparison
from caelab.report.store import MANIFEST, TUNING, collect
from caelab.runs.config import RunConfig
from caelab.runs.run import dataset_of, read_record, versions
from caelab.storage.folders import open_folder
from caelab.storage.locks import one_writer
from caelab.study import results
from caelab.study.engine import Told, run_names
from caelab.study.folder import (
    STUDY,
    Asked,
    PlannedRun,
    asked_in,
    freeze,
    is_started,
    opened,
    planned_analyses,
    read_plan,
    refuse_changed,
    use_plugins_of,
    write_plan,
)
from caelab.study.jobs import Job, asked_of, compared, outcome_of
from caelab.study.making import Made, make_study
from caelab.study.outcomes import StoredTables, StudyResult
from caelab.study.records import Entry, entries_in
from caelab.study.specification import StudyFile, study_file
from caelab.study.study import RunsFailed, Study, told_both
from caelab.study.tuning import decided, told, tuning_study

log = logging.getLogger(__name__)

Watch = Callable[[str, int], AbstractContextManager[Callable[[Told], None]]]


def unwatched(title: str, count: int) -> AbstractContextManager[Callable[[Told], None]]:
    """A display of progress that shows nothing."""
    return nullcontext(lambda _: None)


def watching(done: Callable[[Told], None], progress: bool | None) -> Watch:
    """A display as a Python caller asks for it, which tells a function too.

    Args:
        done: is told each outcome, or failure.
        progress: as that of ``caelab.progress.display``.
    """

    @contextmanager
    def watch(title: str, count: int) -> Iterator[Callable[[Told], None]]:
        with display(title, count, progress) as advance:
            yield told_both(done, advance)

    return watch


@dataclass(frozen=True)
class Undertaking:
    """A study that is to be carried out.

    Attributes:
        file: what it says.
        text: the text of the file.
        out: the folder of the study.
        home: where plugin files are looked for.
        command: the words that began it.
        how: ``executor``, ``workers``, and the executor's ``options``.
        watch: shows progress over a number of runs.
        track: where the metrics of every epoch are written too.
    """

    file: StudyFile
    text: str
    out: Path
    home: Path = Path()
    command: str = ""
    how: Mapping[str, Any] = field(default_factory=dict)
    watch: Watch = unwatched
    track: tuple[str, ...] = ()

    def made(self) -> Made:
        """The study, checked before anything is written.

        Raises:
            CaelabError: the first thing that cannot work.
        """
        made = make_study(self.file, self.out, self.home)
        made = replace(made, study=replace(made.study, track=self.track))
        made.study.check()
        return made


def carry_out_study(asked: Undertaking, path: Path | None = None) -> Iterator[str]:
    """Carry out a study, or go on with it, and publish what there is.

    Args:
        asked: the study.
        path: its file, which must not have changed since the study started, or its folder, which says what was asked
            then; None where what is asked now counts.

    Yields:
        Lines for the terminal.

    Raises:
        RunsFailed: once everything else is published, runs failed.
        CaelabError: it cannot be begun, or none of its runs or analyses worked.
    """
    made = asked.made()
    open_study_folder(asked.out)
    _freeze(asked, made.study, path)
    study, tuning = made.study, None
    if made.measure:
        configs, tuning = _chosen(asked, made)
        yield from (f"tuned: {line}" for line in told(tuning))
        study = made.with_configs(configs)
    with one_writer(asked.out / STUDY):
        write_plan(asked.out, plan_of(study), asked_of(study.analyses))
    result, failed = _run("run", study, asked)
    yield from publish_study(asked.out, asked.command, study, result, tuning, asked.file.claims)
    if failed:
        raise failed


def _freeze(asked: Undertaking, study: Study, path: Path | None) -> None:
    """Write down what was asked, unless the study was begun before.

    Raises:
        CaelabError: its file changed since.
    """
    data = {study.dataset_names()(config): dataset_of(config).content_hash for config in firsts(study)}
    with one_writer(asked.out / STUDY):
        if path is not None and not path.is_dir():
            refuse_changed(asked.out, asked.file, path, data, study.plugin_files)
        if path is None or not is_started(asked.out):
            freeze(asked.out, asked.file, asked.text, asked.command, versions(), data, study.plugin_files)


def run_study(
    place: Any,
    *,
    out: Any = None,
    executor: str = "processes",
    workers: int = 1,
    done: Callable[[Told], None] = lambda _: None,
    progress: bool | None = None,
    **options: Any,
) -> Path:
    """Carry out a study, or go on with it, with tables, figures and the page; ``caelab study run`` in Python.

    Args:
        place: the path of a study file, the folder of a study that was begun, or a mapping of a study file's keys.
        out: the folder of the study, in place of the one that the file names.
        executor: the name of an executor.
        workers: how many runs at once.
        done: called with each outcome, or failure, as it comes.
        progress: whether progress over the runs is shown; None shows it in a notebook and on a terminal.
        options: of the executor, as ``address``.

    Returns:
        The folder of the study; ``caelab.read_results`` reads its tables.

    Raises:
        RunsFailed: once everything else is published, runs failed.
        CaelabError: it cannot be begun, or none of its runs or analyses worked.
    """
    checked(progress)
    if isinstance(place, Mapping):
        file, text, home = study_file(place), "", Path()
    else:
        place = path_of(place, "a study file, or the folder of a study,")
        file, text, home = opened(place)
    is_folder = isinstance(place, Path) and place.is_dir()
    folder = place if is_folder else Path(file.out if out is None else out).expanduser()
    how = {"executor": executor, "workers": workers, "options": options}
    file = file.model_copy(update={"out": str(folder)})
    asked = Undertaking(file, text, folder, home, "caelab.run_study", how, watching(done, progress))
    for line in carry_out_study(asked, Path("the study") if isinstance(place, Mapping) else place):
        log.info("%s", line)
    return folder


def open_study_folder(folder: Path) -> None:
    """Begin the folder of a study, or continue one.

    Raises:
        CaelabError: it holds something else.
        StorageError: it cannot be made.
    """
    open_folder(folder, MANIFEST if (folder / MANIFEST).is_file() else STUDY)


def firsts(study: Study) -> list[RunConfig]:
    """The first config on each data set, with the study's first seed and split."""
    name = study.dataset_names()
    found: dict[str, RunConfig] = {}
    for config in study.run_configs():
        found.setdefault(name(config), config)
    return [*found.values()]


def plan_of(study: Study) -> list[PlannedRun]:
    """Every run of a study with the name of its folder."""
    jobs = study.jobs()
    return [
        PlannedRun(run, job.config.label, job.dataset, job.config.split, job.config.seed)
        for job, run in zip(jobs, run_names(jobs), strict=True)
    ]


def _chosen(asked: Undertaking, made: Made) -> tuple[list[RunConfig], pd.DataFrame]:
    """Try every candidate, and take of each model the one that validates best."""
    assert made.measure is not None
    trial = tuning_study(made.choices, made.study, made.measure)
    result = _run("tune", trial, asked)[0] if trial.configs else StudyResult([])
    return decided(made.choices, result, made.measure)


def _run(title: str, study: Study, asked: Undertaking) -> tuple[StudyResult, RunsFailed | None]:
    """The result of a study, with the error for the runs that failed."""
    with asked.watch(title, len(study.run_configs())) as done:
        try:
            how = {name: value for name, value in asked.how.items() if name != "options"}
            return study.run(**how, **asked.how.get("options", {}), done=done, progress=False), None
        except RunsFailed as error:
            return error.result, error


def publish_study(
    out: Path,
    command: str,
    study: Study,
    result: StudyResult,
    tuning: pd.DataFrame | None = None,
    claims: Sequence[str] | None = None,
) -> Iterator[str]:
    """Write results, tables, figures and the page of each data set.

    Yields:
        Lines for the terminal.

    Raises:
        CaelabError: no run is there, or none of the analyses worked.
    """
    if not result.outcomes:
        raise CaelabError(nothing_there(result))
    _collect(out, result)
    names = list(dict.fromkeys(outcome.dataset for outcome in result.outcomes))
    for name in names:
        place = out if len(names) == 1 else out / slug(name)
        part, configs = (
            part_of(result, name, study.analyses),
            [c for c in study.configs if study.dataset_names()(c) == name],
        )
        if place != out:
            open_folder(place, MANIFEST)
            yield f"data: {name}"
        yield from publish_comparison(place, collect(command, configs, study.seeds, part, tuning, claims))
    if not any(outcome.tables for outcome in result.outcomes) and not result.between.tables:
        raise CaelabError(f"none of the analyses worked ({', '.join(study.analyses)}); the lines above say why")


def publish_recorded(folder: Path) -> Iterator[str]:
    """Write results, tables, figures and the page of a study from what is recorded of its runs; nothing is trained.

    Yields:
        Lines for the terminal.

    Raises:
        CaelabError: the folder holds no study, or none of its runs is there.
    """
    asked = asked_in(folder)
    use_plugins_of(folder, asked)
    study, result = recorded(folder, asked)
    yield from publish_study(folder, asked.command, study, result, tuning_of(folder), asked.file.get("claims"))


def recorded(folder: Path, asked: Asked) -> tuple[Study, StudyResult]:
    """A study and its result, as far as the runs are recorded.

    Raises:
        CaelabError: none is.
    """
    plan, runs = read_plan(folder), results.runs_of(folder, asked)
    entries = entries_in(folder, [each.run for each in plan], planned_analyses(folder))
    analyses = asked.file.get("analyses") or {name: {} for entry in entries.values() for name in entry.tables}
    jobs = [
        (_job_of(each, entry, runs, analyses), entry)
        for each in plan
        if (entry := entries.get(each.run)) is not None and entry.state != "failed"
    ]
    outcomes = [outcome_of(job, entry) for job, entry in jobs]
    configs = {(o.config.label, o.dataset): o.config for o in outcomes}
    if not configs:
        raise CaelabError(f"no run of the study in {folder} is there yet; carry it out with: caelab study run {folder}")
    seeds = sorted({each.seed for each in plan})
    study = Study([*configs.values()], seeds, analyses, runs, folder=folder)
    return study, StudyResult(outcomes, compared(outcomes, analyses))


def _job_of(each: PlannedRun, entry: Entry, runs: Path, analyses: Mapping[str, Any]) -> Job:
    config = read_record(runs / entry.folder)[0].with_label(each.model)
    return Job(config, runs, analyses, dataset=each.dataset)


def tuning_of(folder: Path) -> pd.DataFrame | None:
    """What was chosen on validation examples in a study, if anything was."""
    path = folder / TUNING
    return pd.read_csv(path) if path.is_file() else None


def _collect(out: Path, result: StudyResult) -> None:
    """Write the results of the runs that are recorded; say of how many that is not so."""
    loose = sum(not isinstance(o.tables, StoredTables) or bool(o.tables.loose) for o in result.outcomes)
    if loose:
        log.warning("%s leaves out %d runs, whose tables could not be stored with them", out / results.RESULTS, loose)
    if loose < len(result.outcomes):
        results.collect(out)


def nothing_there(result: StudyResult) -> str:
    """The sentence for a study of which every run failed."""
    first, *others = result.failures
    more = f" (as did {len(others)} others)" if others else ""
    return f"{first.message}{more}"


def part_of(result: StudyResult, dataset: str, analyses: Mapping[str, Any]) -> StudyResult:
    """What a study found on one data set."""
    outcomes = [outcome for outcome in result.outcomes if outcome.dataset == dataset]
    if len(outcomes) == len(result.outcomes):
        return result
    failures = [failure for failure in result.failures if failure.dataset == dataset]
    return StudyResult(outcomes, compared(outcomes, analyses), failures)


def slug(name: str) -> str:
    """A name of data as a folder's.

    >>> slug("digits splits=[600, 200, 200]")
    'digits-splits-600-200-200'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "data"
