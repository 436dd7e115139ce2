"""The study: every config from every seed is trained and measured in a worker, and found again next time."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exc
from typing import Any

import numpy as np
import pandas as pd

from caelab.analysis.base import gather, measure_alone, summarise
from caelab.analysis.contract import columns_of, compares, load_analysis, measures, options_of
from caelab.analysis.isolation import SpoiledData
from caelab.analysis.plotting import family_of, known_look
from caelab.analysis.several import compared_runs, summaries
from caelab.errors import CaelabError, ContractError, NotApplicable, StorageError
from caelab.models.reconstruction import check_objective
from caelab.process.threads import on_one_thread
from caelab.registry.arguments import by_label, count_of, function_of, path_of, rows_of
from caelab.registry.catalogue import catalogue, installed_providers
from caelab.registry.importing import allow_code, allowed_code
from caelab.registry.reserved import ABOUT_A_ROW
from caelab.runs.config import RunConfig
from caelab.runs.run import build_model, dataset_of, load_run, output_is_set
from caelab.storage.files import PARTIAL
from caelab.storage.locks import is_being_written
from caelab.study.executors import without_main
from caelab.study.workers import TRIES, WorkerDied, doing
from caelab.training import checked_device, run_folder, train
from caelab.training.asked import as_config
from caelab.training.plugins import TrainingPlugins, make_regularizers

log = logging.getLogger(__name__)

Options = Mapping[str, Any]
ALL = "all"  # the models that a problem of several runs is about
OF_A_RUN = "an earlier one"  # stands for the analyses of single runs


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a study, to be trained and measured."""

    config: RunConfig
    out: Path
    analyses: Mapping[str, Options]
    plugin_files: tuple[Path, ...] = ()
    allowed: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Which run it is."""
        return f"{self.config.label}, seed {self.config.seed}"


@dataclass(frozen=True)
class Problem:
    """An analysis that did not work on a run, or has no meaning for it."""

    model: str
    analysis: str
    message: str
    applies: bool


@dataclass(frozen=True)
class Outcome:
    """What a job left: the run's folder, its tables, the numbers that sum them up, and what went wrong."""

    config: RunConfig
    path: Path
    tables: Mapping[str, pd.DataFrame]
    numbers: Mapping[str, float]
    problems: tuple[Problem, ...] = ()
    tracebacks: tuple[str, ...] = ()
    reused: bool = False

    def __str__(self) -> str:
        """What a line of progress says of it."""
        return f"{self.config.label}, seed {self.config.seed}{' (reused)' if self.reused else ''}"


@on_one_thread
def carry_out(job: Job) -> Outcome:
    """Train one run, unless it is there already, and measure it; an analysis that fails does not stop the others.

    It takes one thread, so that the numbers do not depend on how many workers there are.
    """
    allow_code(*job.allowed)
    for path in job.plugin_files:
        catalogue().add_file(path)
    doing("training")
    reused = run_folder(job.out, job.config, dataset_of(job.config)).is_dir()
    run = train(job.config, out=job.out)
    tables: dict[str, pd.DataFrame] = {}
    numbers: dict[str, Number] = {}
    problems, tracebacks = [], []
    for name, options in job.analyses.items():
        doing(f"the analysis {name!r}")
        try:
            analysis = load_analysis(name)
            if measures(analysis):
                tables[name] = measure_alone(run, name, options)
                if not compares(analysis):  # else it is summed up when all runs are there
                    _add_numbers(numbers, name, summarise(name, tables[name]))
        except (
            SpoiledData,
            StorageError,
            ContractError,
        ):  # all that follows would be wrong too
            raise
        except CaelabError as error:
            problems.append(Problem(run.label, name, str(error), applies=not isinstance(error, NotApplicable)))
            tracebacks.append(format_exc())
    assert run.path is not None
    return Outcome(
        job.config,
        run.path,
        tables,
        {name: n.value for name, n in numbers.items()},
        tuple(problems),
        tuple(tracebacks),
        reused,
    )


@dataclass(frozen=True)
class Number:
    """A number of the summary, and the analysis that it comes from."""

    analysis: str
    value: float


def _add_numbers(numbers: dict[str, Number], analysis: str, found: Mapping[str, float]) -> None:
    """Put what an analysis found beside what the others found: all of it, or nothing where a name is taken.

    Raises:
        CaelabError: another analysis, or caelab itself, has a number of that name.
    """
    for name in found:
        if name in ABOUT_A_ROW:
            raise CaelabError(
                f"the analysis {analysis!r} summarises {name!r}, a column that caelab adds itself; rename it"
            )
        if name in numbers:
            raise CaelabError(
                f"the analyses {numbers[name].analysis!r} and {analysis!r} both summarise {name!r}; the number of "
                f"the first stays, and those of {analysis!r} are left out: give them other names"
            )
    numbers.update({name: Number(analysis, value) for name, value in found.items()})


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
    between: Between = field(default_factory=lambda: Between())

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


@dataclass(frozen=True)
class Study:
    """Runs from every config and every seed, and the analyses to measure each with.

    All models of one seed share splits and initial weights, so that comparisons over seeds are paired.

    Attributes:
        configs: one per model, each a config, its keys, the name of a recipe, or a YAML file; their labels must differ.
        seeds: the seeds of every model, or how many, counted from 0.
        analyses: options by analysis name, or only the names.
        out: folder of the runs.
        plugin_files: plugins that are not installed; those that this process has read already need not be named.

    Raises:
        CaelabError: no config, no seed, one that stands twice, or a config that is wrong.
    """

    configs: Sequence[Any]
    seeds: Any
    analyses: Any
    out: Any
    plugin_files: Sequence[Any] = field(default=())

    def __post_init__(self) -> None:
        configs = [self.configs] if isinstance(self.configs, RunConfig | Mapping) else rows_of(self.configs, "configs")
        files = rows_of(self.plugin_files, "plugin_files")
        plain = {
            "configs": [as_config(config) for config in configs],
            "seeds": _checked_seeds(self.seeds),
            "analyses": by_label(self.analyses, "analyses", names=True),
            "out": path_of(self.out, "the folder out").expanduser(),
            "plugin_files": tuple(path_of(file, "each plugin file").expanduser().resolve() for file in files),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def jobs(self) -> list[Job]:
        """Every run of the study."""
        files = tuple(dict.fromkeys([*self.plugin_files, *self.files_in_use()]))
        return [
            Job(config.with_seed(seed), self.out, self.analyses, files, allowed_code())
            for config in self.configs
            for seed in self.seeds
        ]

    def in_use(self) -> list[tuple[str, str]]:
        """Kind and name of everything that the study takes from the catalogue."""
        used = [pair for config in self.configs for pair in config.in_use()]
        return list(dict.fromkeys([*used, *(("analysis", name) for name in self.analyses)]))

    def files_in_use(self) -> list[Path]:
        """The plugin files that offer something that the study uses; every worker reads them."""
        providers = {catalogue().offers[each].provider for each in self.in_use() if each in catalogue().offers}
        return [path for path in catalogue().files if str(path) in providers]

    def refuse_unknown_to_workers(self) -> None:
        """Refuse what only this process knows: a plugin that is neither installed nor a file.

        Raises:
            CaelabError: names the first.
        """
        known = {*installed_providers(), *map(str, self.plugin_files), *map(str, catalogue().files)}
        for kind, name in self.in_use():
            offer = catalogue().offers.get((kind, name))
            if offer and offer.provider not in known:
                raise CaelabError(
                    f"the {kind} {name!r} is offered by {offer.provider!r}, which only this process knows, so no "
                    "worker can use it; put it into a file and name that as plugin_files, or run with executor='serial'"
                )

    def check_labels(self) -> None:
        """Refuse two models of one label, which tables and figures could not tell apart.

        Raises:
            CaelabError: there are two.
        """
        labels = [config.label for config in self.configs]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise CaelabError(f"two models are called {sorted(twice)[0]!r}; name each model once")

    def check(self) -> None:
        """Refuse before anything is written what would fail later: labels, analyses, data, models, regularizers.

        Raises:
            CaelabError: the first thing that cannot work.
        """
        if not self.configs:
            raise CaelabError("a study has at least one model, but none came; name recipes, as in ['ae', 'cae']")
        self.check_labels()
        columns_of(self.analyses)
        for name, options in self.analyses.items():
            options_of(name, load_analysis(name), options)
        for config in self.configs:
            known_look(family_of(config.label))
            _check_config(config.with_seed(self.seeds[0]))

    def run(
        self,
        *,
        executor: str = "processes",
        workers: int = 1,
        done: Callable[[Outcome], None] = lambda _: None,
    ) -> StudyResult:
        """Carry out all jobs, once it is checked that they can work.

        A script needs no main guard: the workers do not run it.

        Args:
            executor: the name of an executor.
            workers: how many runs at once.
            done: called with each outcome as it comes.

        Raises:
            CaelabError: a run failed, or at the end some had no worker that lived; what is finished stays and is
                found again.
        """
        workers, done = count_of(workers, "workers"), function_of(done, "done")
        make = catalogue().get("executor", executor)
        self.check()
        if executor == "processes":
            self.refuse_unknown_to_workers()
        with without_main(), make(workers) as pool:
            asked = self.jobs()
            submitted = {place: pool.submit(carry_out, asked[place]) for place in free_first(asked)}
            jobs = {submitted[place]: job for place, job in enumerate(asked)}
            try:
                lost = {future: error for future in as_completed(jobs) if (error := _lost(future, done))}
            except BaseException:
                cancel(list(jobs))
                raise
        _refuse_lost({job: lost[future] for future, job in jobs.items() if future in lost}, len(jobs))
        outcomes = [future.result() for future in jobs]
        return StudyResult(outcomes, compared(outcomes, self.analyses))


@on_one_thread
def compared(outcomes: Sequence[Outcome], analyses: Mapping[str, Options]) -> Between:
    """What those analyses find that look at several runs at once; one that fails does not stop the others."""
    asked = {name: options for name, options in analyses.items() if compares(load_analysis(name))}
    if not asked or not outcomes:
        return Between()
    runs = [load_run(outcome.path) for outcome in outcomes]
    tables: dict[str, pd.DataFrame] = {}
    numbers: list[dict[str, Number]] = [{n: Number(OF_A_RUN, v) for n, v in o.numbers.items()} for o in outcomes]
    problems = []
    for name, options in asked.items():
        try:
            found = compared_runs(runs, name, options)
            measured = [outcome.tables[name] for outcome in outcomes if name in outcome.tables]
            sums = summaries(name, gather([*measured, found]), [(run.label, run.seed) for run in runs])
            for known, more in zip(numbers, sums, strict=True):
                _add_numbers(known, name, more)
            tables[name] = found
        except (SpoiledData, StorageError, ContractError):
            raise
        except CaelabError as error:
            log.debug("%s", format_exc())
            problems.append(Problem(ALL, name, str(error), applies=not isinstance(error, NotApplicable)))
    more_numbers = [{n: each.value for n, each in known.items() if each.analysis != OF_A_RUN} for known in numbers]
    return Between(tables, more_numbers, problems)


def free_first(jobs: Sequence[Job]) -> list[int]:
    """The order in which to begin the jobs: last those whose runs another process is training now."""
    if not any(list(job.out.glob(f"{PARTIAL}*.lock")) for job in jobs[:1]):
        return [*range(len(jobs))]
    busy = [is_being_written(run_folder(job.out, job.config, dataset_of(job.config))) for job in jobs]
    return sorted(range(len(jobs)), key=busy.__getitem__)


def _lost(future: Future[Outcome], done: Callable[[Outcome], None]) -> WorkerDied | None:
    """Tell of the outcome, or say why there is none because a worker died; the other runs go on."""
    try:
        outcome = future.result()
    except WorkerDied as error:
        return error
    done(outcome)
    for text in outcome.tracebacks:
        log.debug("%s, seed %d: %s", outcome.config.label, outcome.config.seed, text)
    return None


def _refuse_lost(lost: Mapping[Job, WorkerDied], count: int) -> None:
    """End a study of which runs are missing, so that nothing is summed up without them.

    Raises:
        CaelabError: names each, how its worker ended, and the code of others that it used.
    """
    if lost:
        each = "; ".join(f"{job} (its worker {error.how}{_others_of(job)})" for job, error in lost.items())
        raise CaelabError(
            f"{len(lost)} of {count} runs could not be finished, because {TRIES} workers died of each of them: "
            f"{each}; the other runs are stored, and the same command goes on from them"
        )


def _others_of(job: Job) -> str:
    used = [*job.config.in_use(), *(("analysis", name) for name in job.analyses)]
    found = [offer for each in used if (offer := catalogue().offers.get(each))]
    others = [f"the {each.kind} {each.name!r}" for each in found if not each.provider.startswith("caelab/")]
    return f"; not caelab's own: {', '.join(dict.fromkeys(others))}" if others else ""


def _checked_seeds(given: Any) -> list[int]:
    """Seeds as a list; a number stands for so many, counted from 0.

    >>> _checked_seeds(3), _checked_seeds([5, 7])
    ([0, 1, 2], [5, 7])

    Raises:
        CaelabError: there is none, one stands twice, or one is no whole number of at least 0.
    """
    try:
        if isinstance(given, bool | str):
            raise TypeError
        several = isinstance(given, Iterable) and not (isinstance(given, np.ndarray) and given.ndim == 0)
        seeds = [*map(operator.index, given)] if several else [*range(operator.index(given))]
    except TypeError:
        seeds = []
    if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
        raise CaelabError(f"expected how many seeds, at least 1, or different seeds of at least 0, but {given!r} came")
    return seeds


def cancel(futures: Sequence[Future[Any]]) -> None:
    """Cancel the calls that have not begun."""
    for future in futures:
        future.cancel()


def _check_config(config: RunConfig) -> None:
    """Build everything that a run needs, without training it."""
    dataset = dataset_of(config)
    model = build_model(config, dataset)
    check_objective(config.training.reconstruction, model, dataset.inputs, settable=output_is_set(config))
    checked_device(config.training.device)
    TrainingPlugins(make_regularizers(config, catalogue()))


def run_rows(result: StudyResult) -> pd.DataFrame:
    """One row per model and seed: every number that the analyses summarise."""
    between = result.between.numbers or [{}] * len(result.outcomes)
    return pd.DataFrame([_row(outcome, more) for outcome, more in zip(result.outcomes, between, strict=True)])


def _row(outcome: Outcome, more: Mapping[str, float]) -> dict[str, Any]:
    about = {"model": outcome.config.label, "seed": outcome.config.seed}
    return {**about, **outcome.numbers, **more, "run": outcome.path.name}
