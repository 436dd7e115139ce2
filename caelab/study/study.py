"""The study: every config from every seed is trained and measured in a worker, and found again next time."""

from __future__ import annotations

import json
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caelab.analysis.contract import columns_of, load_analysis, options_of
from caelab.analysis.plotting import family_of, known_look
from caelab.errors import CaelabError
from caelab.models.reconstruction import check_objective
from caelab.progress import display
from caelab.registry.arguments import by_label, count_of, function_of, path_of, rows_of, texts_of
from caelab.registry.catalogue import catalogue, installed_providers
from caelab.registry.importing import allowed_code
from caelab.runs.config import RunConfig
from caelab.runs.layers import is_stack, layer_configs
from caelab.runs.run import build_model, dataset_of, output_is_set
from caelab.study.agreement import expected_code
from caelab.study.engine import Told, performed
from caelab.study.executors import made_executor, without_main
from caelab.study.jobs import Job, asked_of, begun, compared
from caelab.study.outcomes import Failure, Outcome, StudyResult
from caelab.training import checked_device
from caelab.training.asked import as_config
from caelab.training.plugins import TrainingPlugins, make_regularizers, warmups_of
from caelab.training.tracking import settled, trackers_of

log = logging.getLogger(__name__)


class RunsFailed(CaelabError):
    """Some runs of a study failed; all others were carried out.

    Attributes:
        results: what there is, by the name of the study.
    """

    def __init__(self, message: str, results: Mapping[str, StudyResult]) -> None:
        super().__init__(message)
        self.results = results

    @property
    def result(self) -> StudyResult:
        """What there is of one study alone."""
        (found,) = self.results.values()
        return found


@dataclass(frozen=True, repr=False)
class Study:
    """Runs from every config and every seed, and the analyses to measure each with.

    All models of one seed share splits and initial weights, so that comparisons over seeds are paired.

    Attributes:
        configs: one per model and data set, each a config, its keys, the name of a recipe, or a YAML file; labels on
            the same data must differ.
        seeds: the seeds of every model, or how many, counted from 0.
        analyses: options by analysis name, or only the names.
        out: folder of the runs.
        plugin_files: plugins that are not installed; those that this process has read already need not be named.
        track: where the metrics of every epoch are written too, each as NAME:TARGET.
        folder: where it is recorded what each run left, so that the next time goes on from there; None where it is not.
        splits: seeds of the random splits of the data, or how many, counted from 0, each with every seed; without them
            a run's own seed gives its split.
        resources: what one run takes of a machine: ``cores``, ``gpus`` and ``memory`` in bytes.

    Raises:
        CaelabError: no config, no seed, one that stands twice, or a config that is wrong.
    """

    configs: Sequence[Any]
    seeds: Any
    analyses: Any
    out: Any
    plugin_files: Sequence[Any] = field(default=())
    track: Sequence[str] = ()
    folder: Any = None
    splits: Any = None
    resources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        configs = [self.configs] if isinstance(self.configs, RunConfig | Mapping) else rows_of(self.configs, "configs")
        files = rows_of(self.plugin_files, "plugin_files")
        plain = {
            "configs": [as_config(config) for config in configs],
            "seeds": checked_seeds(self.seeds),
            "analyses": by_label(self.analyses, "analyses", names=True),
            "out": path_of(self.out, "the folder out").expanduser(),
            "plugin_files": tuple(path_of(file, "each plugin file").expanduser().resolve() for file in files),
            "track": tuple(map(settled, texts_of(self.track, "track"))),
            "folder": None if self.folder is None else path_of(self.folder, "the study's folder").expanduser(),
            "splits": None if self.splits is None else checked_seeds(self.splits, "splits"),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """What is to be carried out, in one line."""
        models = ", ".join(dict.fromkeys(config.label for config in self.configs))
        return f"<Study of {models}: {len(self.run_configs())} runs, analyses {', '.join(self.analyses) or 'none'}>"

    def run_configs(self) -> list[RunConfig]:
        """The config of every run: every model, of each every split, of each every seed."""
        splits = [None] if self.splits is None else self.splits
        return [
            (config if split is None else config.with_split(split)).with_seed(seed)
            for config in self.configs
            for split in splits
            for seed in self.seeds
        ]

    def jobs(self) -> list[Job]:
        """Every run of the study."""
        files = tuple(dict.fromkeys([*self.plugin_files, *self.files_in_use()]))
        asked = "" if self.folder is None else asked_of(self.analyses)
        name, expected = self.dataset_names(), expected_code(self.in_use())
        return [
            Job(
                config,
                self.out,
                self.analyses,
                files,
                allowed_code(),
                self.folder,
                name(config),
                asked,
                tuple(self.track),
                expected,
            )
            for config in self.run_configs()
        ]

    def dataset_names(self) -> Callable[[RunConfig], str]:
        """How results call the data of a config: by their kind, with their options where the kind does not tell."""
        names = names_of_data([config.dataset.model_dump(mode="json") for config in self.configs])
        return lambda config: names[_data_key(config.dataset.model_dump(mode="json"))]

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
        """Refuse two models of one label on the same data, which tables and figures could not tell apart.

        Raises:
            CaelabError: there are two.
        """
        name = self.dataset_names()
        labels = [(config.label, name(config)) for config in self.configs]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise CaelabError(f"two models are called {sorted(twice)[0][0]!r}; name each model once")

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
            first = (config if self.splits is None else config.with_split(self.splits[0])).with_seed(self.seeds[0])
            _check_config(first)

    def run(
        self,
        *,
        executor: str = "processes",
        workers: int = 1,
        done: Callable[[Told], None] = lambda _: None,
        progress: bool | None = None,
        **options: Any,
    ) -> StudyResult:
        """Carry out all jobs, once it is checked that they can work; one that fails does not stop the others.

        A script needs no main guard: the workers do not run it.

        Args:
            executor: the name of an executor.
            workers: how many runs at once.
            done: called with each outcome, or failure, as it comes.
            progress: whether progress over the runs is shown; None shows it in a notebook and on a terminal.
            options: of the executor, as ``address``.

        Raises:
            RunsFailed: once all others are carried out, some runs failed; what there is stands in its ``result``.
            CaelabError: nothing could be begun, or a plugin does what spoils every other run.
        """
        how = {"executor": executor, "workers": workers, "done": done, "progress": progress, **options}
        return run_together({"": self}, **how)[""]


def run_together(
    studies: Mapping[str, Study],
    *,
    executor: str = "processes",
    workers: int = 1,
    done: Callable[[Told], None] = lambda _: None,
    progress: bool | None = None,
    **options: Any,
) -> dict[str, StudyResult]:
    """Carry out several studies with one executor, so that all workers are busy to the end; see ``Study.run``.

    Args:
        studies: by name.
        executor: the name of an executor.
        workers: how many runs at once.
        done: called with each outcome, or failure, as it comes.
        progress: whether progress over the runs is shown; None shows it in a notebook and on a terminal.
        options: of the executor.

    Raises:
        RunsFailed: once all others are carried out, some runs failed.
        CaelabError: nothing could be begun, or a plugin does what spoils every other run.
    """
    workers, done = count_of(workers, "workers"), function_of(done, "done")
    resources = next((study.resources for study in studies.values() if study.resources), {})
    make = made_executor(executor, {**({"resources": dict(resources)} if resources else {}), **options})
    for study in studies.values():
        study.check()
        if executor == "processes":
            study.refuse_unknown_to_workers()
    jobs = {name: study.jobs() for name, study in studies.items()}
    together = [job for each in jobs.values() for job in each]
    with display("runs", len(together), progress) as advance, without_main(), make(workers) as pool:
        found = iter(performed(begun(pool, together), pool, told_both(done, advance)))
    results = {name: result_of([next(found) for _ in jobs[name]], study.analyses) for name, study in studies.items()}
    failures = [failure for result in results.values() for failure in result.failures]
    if failures:
        raise RunsFailed(failures_told(failures, len(together)), results)
    return results


def told_both(done: Callable[[Told], None], advance: Callable[[Told], None]) -> Callable[[Told], None]:
    """A function that passes on to both what it is told."""

    def tell(told: Told) -> None:
        done(told)
        advance(told)

    return tell


def result_of(found: Sequence[Told], analyses: Mapping[str, Any]) -> StudyResult:
    """The result of a study from what became of its jobs."""
    outcomes = [each for each in found if isinstance(each, Outcome)]
    failures = [each for each in found if isinstance(each, Failure)]
    return StudyResult(outcomes, compared(outcomes, analyses), failures)


def failures_told(failures: Sequence[Failure], count: int) -> str:
    """The sentence for runs that failed, with the reason of the first few."""
    first = [str(failure).replace(": FAILED", "", 1) for failure in failures[:SHOWN]]
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    return f"{len(failures)} of {count} runs failed, the others are stored: {'; '.join(first)}{more}"


SHOWN = 3


def names_of_data(blocks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A name for each block ``{kind: NAME, ...}``, by its key; with its options where the kind does not tell.

    >>> sorted(names_of_data([{"kind": "digits"}, {"kind": "digits", "splits": [9, 3, 5]}, {"kind": "rings"}]).values())
    ['digits', 'digits splits=[9, 3, 5]', 'rings']
    """
    keyed = {_data_key(block): dict(block) for block in blocks}
    kinds = [block["kind"] for block in keyed.values()]
    return {key: _data_name(block, kinds.count(block["kind"]) > 1) for key, block in keyed.items()}


def _data_name(block: Mapping[str, Any], with_options: bool) -> str:
    options = [f"{key}={value}" for key, value in block.items() if key != "kind" and value is not None]
    return " ".join([str(block["kind"]), *(options if with_options else [])])


def _data_key(block: Mapping[str, Any]) -> str:
    """What tells data from others; of which split the data are does not count."""
    return json.dumps({k: v for k, v in block.items() if k != "split_seed"}, sort_keys=True)


def checked_seeds(given: Any, what: str = "seeds") -> list[int]:
    """Seeds as a list; a number stands for so many, counted from 0.

    >>> checked_seeds(3), checked_seeds([5, 7])
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
        raise CaelabError(
            f"expected how many {what}, at least 1, or different {what} of at least 0, but {given!r} came"
        )
    return seeds


def _check_config(config: RunConfig) -> None:
    """Build everything that a run needs, without training it."""
    dataset = dataset_of(config)
    model = build_model(config, dataset)
    scaling = None if dataset.scaling is None else dataset.scaling.kind
    check_objective(
        config.training.reconstruction, model, dataset.inputs, settable=output_is_set(config), scaling=scaling
    )
    checked_device(config.training.device)
    for each in layer_configs(config) if is_stack(config) else [config]:
        TrainingPlugins(make_regularizers(each, catalogue()), warmups_of(each, catalogue()))
