"""The study: every config from every seed is trained and measured in a worker, and found again next time."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caelab.analysis.contract import columns_of, load_analysis, options_of
from caelab.analysis.plotting import family_of, known_look
from caelab.errors import CaelabError
from caelab.models.reconstruction import check_objective
from caelab.registry.arguments import by_label, count_of, function_of, path_of, rows_of, texts_of
from caelab.registry.catalogue import catalogue, installed_providers
from caelab.registry.importing import allowed_code
from caelab.runs.config import RunConfig
from caelab.runs.run import build_model, dataset_of, output_is_set
from caelab.storage.files import PARTIAL
from caelab.storage.locks import is_being_written
from caelab.study.agreement import expected_code
from caelab.study.executors import made_executor, without_main
from caelab.study.jobs import Job, begun, carry_out, compared
from caelab.study.outcomes import Outcome, StudyResult
from caelab.study.workers import WorkerDied
from caelab.training import checked_device, run_folder
from caelab.training.asked import as_config
from caelab.training.plugins import TrainingPlugins, make_regularizers
from caelab.training.tracking import settled, trackers_of

log = logging.getLogger(__name__)


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
        track: where the metrics of every epoch are written too, each as NAME:TARGET.

    Raises:
        CaelabError: no config, no seed, one that stands twice, or a config that is wrong.
    """

    configs: Sequence[Any]
    seeds: Any
    analyses: Any
    out: Any
    plugin_files: Sequence[Any] = field(default=())
    track: Sequence[str] = ()

    def __post_init__(self) -> None:
        configs = [self.configs] if isinstance(self.configs, RunConfig | Mapping) else rows_of(self.configs, "configs")
        files = rows_of(self.plugin_files, "plugin_files")
        plain = {
            "configs": [as_config(config) for config in configs],
            "seeds": _checked_seeds(self.seeds),
            "analyses": by_label(self.analyses, "analyses", names=True),
            "out": path_of(self.out, "the folder out").expanduser(),
            "plugin_files": tuple(path_of(file, "each plugin file").expanduser().resolve() for file in files),
            "track": tuple(map(settled, texts_of(self.track, "track"))),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def jobs(self) -> list[Job]:
        """Every run of the study."""
        files = tuple(dict.fromkeys([*self.plugin_files, *self.files_in_use()]))
        expected = expected_code(self.in_use())
        return [
            Job(config.with_seed(seed), self.out, self.analyses, files, allowed_code(), tuple(self.track), expected)
            for config in self.configs
            for seed in self.seeds
        ]

    def in_use(self) -> list[tuple[str, str]]:
        """Kind and name of everything that the study takes from the catalogue."""
        used = [pair for config in self.configs for pair in config.in_use()]
        trackers = [("tracker", text.partition(":")[0]) for text in self.track]
        return list(dict.fromkeys([*used, *(("analysis", name) for name in self.analyses), *trackers]))

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
        trackers_of(self.track)
        for config in self.configs:
            known_look(family_of(config.label))
            _check_config(config.with_seed(self.seeds[0]))

    def run(
        self,
        *,
        executor: str = "processes",
        workers: int = 1,
        done: Callable[[Outcome], None] = lambda _: None,
        **options: Any,
    ) -> StudyResult:
        """Carry out all jobs, once it is checked that they can work.

        A script needs no main guard: the workers do not run it.

        Args:
            executor: the name of an executor.
            workers: how many runs at once.
            done: called with each outcome as it comes.
            options: of the executor, as ``address`` of a cluster's scheduler.

        Raises:
            CaelabError: a run failed, or at the end some had no worker that lived; what is finished stays and is
                found again.
        """
        workers, done = count_of(workers, "workers"), function_of(done, "done")
        make = made_executor(executor, options)
        self.check()
        if executor == "processes":
            self.refuse_unknown_to_workers()
        with without_main(), make(workers) as pool:
            asked = begun(pool, self.jobs())
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
        died = max(error.tries for error in lost.values())
        raise CaelabError(
            f"{len(lost)} of {count} runs could not be finished, because {died} workers died of each of them: "
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
