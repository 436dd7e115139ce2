"""Training: from a config, or from objects, to a run."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from caelab.errors import CaelabError, StorageError
from caelab.models.reconstruction import check_objective
from caelab.process.torch_settings import pinned_settings
from caelab.registry.arguments import function_of, path_of
from caelab.registry.catalogue import catalogue
from caelab.runs.config import RunConfig
from caelab.runs.layers import is_stack
from caelab.runs.places import existing_run, near, run_folder
from caelab.runs.run import Run, as_called, build_model, load_run, of_type, output_is_set, record_of, write_run
from caelab.storage.files import aside, publish, told_as_storage
from caelab.storage.locks import clear_lock, one_writer
from caelab.streams import Streams
from caelab.training.asked import Asked, asked_for
from caelab.training.batches import Rows
from caelab.training.epochs import epochs_shown
from caelab.training.greedy import refuse_given_model, trained_stack
from caelab.training.loop import Trainer
from caelab.training.parallel import ParallelTrainer
from caelab.training.plugins import TrainingPlugins, make_regularizers, warmups_of
from caelab.training.processes import Group, group
from caelab.training.tracing import HookTrace
from caelab.training.watching import hold_to_watching

__all__ = ["existing_run", "run_folder", "train"]


def train(
    config: RunConfig | Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    model: nn.Module | None = None,
    dataset: Any = None,
    regularizers: Mapping[str, Any] | Sequence[str] | str | None = None,
    observers: Mapping[str, object] | None = None,
    splits: Sequence[int] | None = None,
    seed: int | None = None,
    trace: Callable[[str], None] | None = None,
    progress: bool | None = None,
) -> Run:
    """Train one run, or read it back if ``out`` already holds it.

    Everything that was given is part of the run's name and stands in its config: an object as a block of the kind
    ``given`` with its class and digests of its code and state. What has no such digest is not stored.

    Args:
        config: a checked config, a mapping of its keys, the name of a recipe, or the path of a YAML file.
        out: folder that runs are kept in; without it the run stays in memory.
        model: a module with ``encode`` and ``decode`` to train instead of the config's; a copy of it is trained.
        dataset: data to use instead of the config's: a name, a :class:`Dataset`, an array, tensor or table of inputs,
            shape (n, d) or (n, height, width[, channels]), or a pair of inputs and labels.
        regularizers: further regularizers by label: options, as ``{"weight": 1.0}``, of the one of that name; an
            instance, of which a copy is trained with; or a class that needs no options. A name, or a list of
            names, stands for these without options.
        observers: further plugin instances by label, for instance a progress display. Those that can change the run
            (they answer ``penalty_terms``, ``corrupt_input`` or ``extra_metrics``, or ask for the model) are part of
            it as regularizers are.
        splits: how many examples train, validate and test.
        seed: instead of the config's.
        trace: is told each call of a hook, once per kind of call: who answers, the arguments' shapes, the answer.
        progress: whether a display of the epochs is shown, which changes neither the run nor its name; None shows
            it in a notebook and on a terminal, and nowhere else.

    Returns:
        The run, its model in evaluation mode.

    Raises:
        CaelabError: a wrong config, impossible data, a plugin that fails, a NaN or a divergence; with ``out`` also an
            object that cannot be told from another.
    """
    given: dict[str, Any] = {"model": model, "dataset": dataset, "regularizers": regularizers, "observers": observers}
    place = Path() if out is None else path_of(out, "the folder out")
    trace = None if trace is None else function_of(trace, "trace")
    with pinned_settings(), near(None if out is None else place):
        asked = asked_for(config, **given, splits=splits, seed=seed, stored=out is not None)
        if is_stack(asked.config):
            refuse_given_model(asked)
        with epochs_shown(asked, progress) as asked:
            return _carried_out(asked, None if out is None else _place_of(place, asked), trace)


def _carried_out(asked: Asked, folder: Path | None, trace: Callable[[str], None] | None) -> Run:
    if together := group():
        with together.ending_together():
            return _shared(together, asked, folder, trace)
    return _made(asked, None, trace) if folder is None else _stored(asked, folder, trace)


def _made(asked: Asked, folder: Path | None, trace: Callable[[str], None] | None) -> Run:
    """The run that is to get this folder, or none; a greedy stack is made of runs that are kept beside it."""
    if is_stack(asked.config):
        return trained_stack(asked, None if folder is None else folder.parent, train, trace)
    return _trained(asked, None if folder is None else aside(folder), trace)


def _place_of(out: Path, asked: Asked) -> Path:
    """Where a run is, under whatever label, or will be."""
    return existing_run(out, asked.config, asked.dataset) or run_folder(out, asked.config, asked.dataset)


def _shared(together: Group, asked: Asked, folder: Path | None, trace: Callable[[str], None] | None) -> Run:
    """The run that several processes train; the first one watches and writes, and the others read what it wrote."""
    together.agree(str(folder) if folder else _name_of(asked), "runs to train")
    if together.rank:
        asked, trace = replace(asked, watchers={}), None
    if folder is None:
        return _made(asked, None, trace)
    with one_writer(folder) if together.rank == 0 else nullcontext():
        if not together.told_by_first(folder.is_dir()):
            run = _made(asked, folder, trace)
            if together.rank == 0:
                saved_run(run, aside(folder), folder)
        together.wait()
    return found_run(folder, asked)


def _stored(asked: Asked, folder: Path, trace: Callable[[str], None] | None) -> Run:
    """The run in its folder: trained by one process, found by all others."""
    if not folder.is_dir():
        with one_writer(folder):
            if not folder.is_dir():
                return saved_run(_made(asked, folder, trace), aside(folder), folder)
    if aside(folder).is_dir():
        _forget(aside(folder), folder)
    if trace:
        trace(f"no hook is called: {folder} holds this run already; give another folder with --out")
    return found_run(folder, asked)


def _forget(partial: Path, folder: Path) -> None:
    """Remove the checkpoint of a finished run, which a process left that was killed just then."""
    with suppress(StorageError), one_writer(folder):
        shutil.rmtree(partial, ignore_errors=True)


def found_run(folder: Path, asked: Asked) -> Run:
    """The run that is there already, if it is the one that was asked for.

    Raises:
        CaelabError: the folder says that it holds another run.
    """
    clear_lock(folder)
    run = load_run(folder, model=asked.model, dataset=asked.dataset)
    if run.config.with_label(asked.config.label).as_dict() != asked.config.as_dict():
        raise CaelabError(
            f"{folder} bears the name of this run but holds another one (its run.json was changed, or the folder "
            f"renamed); delete {folder} to train it again"
        )
    return replace(run, config=asked.config)


def _trained(asked: Asked, partial: Path | None, trace: Callable[[str], None] | None) -> Run:
    trainer = trainer_of(asked, partial, trace)
    started = time.perf_counter()
    trainer.fit()
    how = {"seconds": round(time.perf_counter() - started, 3), "threads": torch.get_num_threads()}
    if isinstance(trainer, ParallelTrainer):
        how["processes"] = trainer.group.size
    return run_of(asked, trainer, how)


def trainer_of(asked: Asked, partial: Path | None, trace: Callable[[str], None] | None) -> Trainer:
    """All that a run needs to be trained: model, plugins, data, streams; nothing is computed yet.

    Args:
        asked: the run.
        partial: where its checkpoint lies; None where nothing is stored.
        trace: is told each call of a hook.
    """
    config, dataset = asked.config, asked.dataset
    model = build_model(config, dataset) if asked.model is None else as_called(config, asked.model, dataset)
    dataset = of_type(model, dataset)
    scaling = None if dataset.scaling is None else dataset.scaling.kind
    check_objective(
        config.training.reconstruction, model, dataset.inputs, settable=output_is_set(config), scaling=scaling
    )
    device = checked_device(config.training.device)
    plugins = _training_plugins(asked)
    if trace:
        HookTrace(trace).attach(plugins.manager)
    parts: dict[str, Any] = {
        "model": model.to(device),
        "config": config,
        "plugins": plugins,
        "train_inputs": (
            Rows(dataset.inputs, dataset.train, device) if dataset.mapped else dataset.train_inputs.to(device)
        ),
        "valid_inputs": dataset.valid_inputs.to(device),
        "streams": Streams(config.seed, device),
        "checkpoint": partial / "checkpoint.safetensors" if partial else None,
        "name": _name_of(asked) if plugins.asks("before_training", "name") else "",
    }
    together = group()
    return ParallelTrainer(**parts, group=together) if together else Trainer(**parts)


def run_of(asked: Asked, trainer: Trainer, how: Mapping[str, Any]) -> Run:
    """The run that a trainer has trained; ``how`` goes into its record."""
    model = trainer.model.to("cpu")
    dataset = of_type(model, asked.dataset)
    record = {**record_of(asked.config, model, dataset), **how}
    if trainer.added():
        record["added"] = trainer.added()  # what plugins gave the model; whoever makes it anew must be told
    return Run(asked.config, model, dataset, trainer.history, record)


def _name_of(asked: Asked) -> str:
    """The name that the run has where it is stored; of what cannot be named, its label."""
    try:
        return run_folder(Path(), asked.config, asked.dataset).name
    except CaelabError:
        return asked.config.label


def _training_plugins(asked: Asked) -> TrainingPlugins:
    """The plugins of a run: those that its config names, those that were given, and those that watch."""
    named = {label: block for label, block in asked.config.regularizers.items() if label not in asked.plugins}
    config = asked.config.model_copy(update={"regularizers": named})
    made, warmups = make_regularizers(config, catalogue()), warmups_of(config, catalogue())
    plugins = TrainingPlugins({**made, **asked.plugins, **asked.watchers}, warmups)
    for label in asked.watchers:
        hold_to_watching(plugins.manager, label)
    return plugins


def checked_device(name: str) -> str:
    """The device's name, if it is there and numbers can be computed on it.

    Raises:
        CaelabError: it is not, or it holds no numbers, as ``meta``.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            float(torch.ones(1, device=name) + 1)
    except Exception as error:  # of any kind, from libraries that are not there to backends that compute nothing
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0][:200].rstrip(".")
        raise CaelabError(f"device {name!r} cannot be used here ({reason}); use --device cpu") from error
    return name


def saved_run(run: Run, partial: Path, folder: Path) -> Run:
    """Write the run beside its checkpoint, give it its name, and only then let the checkpoint go."""
    with told_as_storage(folder):
        shutil.rmtree(partial / "run", ignore_errors=True)  # of a process that was killed here
        (partial / "run").mkdir(parents=True, exist_ok=True)
    write_run(run, partial / "run")
    publish(partial / "run", folder)
    shutil.rmtree(partial, ignore_errors=True)
    return load_run(folder, model=run.model, dataset=run.dataset)
