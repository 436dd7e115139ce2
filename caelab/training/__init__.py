"""Training: from a config to a run."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from caelab.catalogue import catalogue
from caelab.config import RunConfig, make_config
from caelab.data import Dataset
from caelab.errors import CaelabError, StorageError
from caelab.files import aside, publish, told_as_storage
from caelab.locks import one_writer
from caelab.models.reconstruction import check_objective
from caelab.recipes import recipe_config
from caelab.runs import Run, build_model, checked_model, dataset_of, load_run, versions, write_run
from caelab.streams import Streams
from caelab.training.loop import Trainer
from caelab.training.plugins import TrainingPlugins, make_regularizers
from caelab.training.tracing import HookTrace

__all__ = ["run_folder", "train"]


def train(
    config: RunConfig | Mapping[str, Any] | str,
    *,
    out: str | Path | None = None,
    model: nn.Module | None = None,
    dataset: Dataset | None = None,
    observers: Mapping[str, object] | None = None,
    trace: Callable[[str], None] | None = None,
) -> Run:
    """Train one run, or read it back if ``out`` already holds it.

    Args:
        config: a checked config, a mapping of its keys, or the name of a recipe.
        out: folder that runs are kept in; without it the run stays in memory.
        model: a module with ``encode`` and ``decode`` to train instead of the config's.
        dataset: data to use instead of the config's.
        observers: further plugin instances by name, for instance a progress display.
        trace: is told each call of a hook, once per kind of call: who answers, the arguments' shapes, the answer.

    Returns:
        The run, its model in evaluation mode.

    Raises:
        CaelabError: a wrong config, impossible data, a plugin that fails, a NaN or a divergence.
    """
    config = as_config(config)
    dataset = dataset or dataset_of(config)
    if out is None:
        return _trained(config, dataset, model, observers or {}, None, trace)
    folder = run_folder(Path(out), config, dataset, model)
    if not folder.is_dir():
        with one_writer(folder):
            if not folder.is_dir():
                run = _trained(config, dataset, model, observers or {}, aside(folder), trace)
                return _saved(run, aside(folder), folder)
    if aside(folder).is_dir():
        _forget(aside(folder), folder)
    if trace:
        trace(f"no hook is called: {folder} holds this run already; give another folder with --out")
    return load_run(folder, model=model, dataset=dataset)


def _forget(partial: Path, folder: Path) -> None:
    """Remove the checkpoint of a finished run, which a process left that was killed just then."""
    with suppress(StorageError), one_writer(folder):
        shutil.rmtree(partial, ignore_errors=True)


def as_config(config: RunConfig | Mapping[str, Any] | str) -> RunConfig:
    """A checked config from whatever describes one."""
    if isinstance(config, str):
        return recipe_config(config)
    return config if isinstance(config, RunConfig) else make_config(config)


def run_folder(out: Path, config: RunConfig, dataset: Dataset, model: nn.Module | None = None) -> Path:
    """Where a run lives: named by its label and by the hash of all that determines it."""
    given = _fingerprint(model) if model else ""
    return out / f"{config.label}-{config.content_hash(dataset.content_hash + given)}"


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _trained(
    config: RunConfig,
    dataset: Dataset,
    model: nn.Module | None,
    observers: Mapping[str, object],
    partial: Path | None,
    trace: Callable[[str], None] | None,
) -> Run:
    model = checked_model(model) if model else build_model(config, dataset)
    check_objective(config.training.reconstruction, model, dataset.inputs)
    device = checked_device(config.training.device)
    plugins = TrainingPlugins({**make_regularizers(config, catalogue()), **observers})
    if trace:
        HookTrace(trace).attach(plugins.manager)
    trainer = Trainer(
        model=model.to(device),
        config=config,
        plugins=plugins,
        train_inputs=dataset.train_inputs.to(device),
        valid_inputs=dataset.valid_inputs.to(device),
        streams=Streams(config.seed, device),
        checkpoint=partial / "checkpoint.safetensors" if partial else None,
    )
    started = time.perf_counter()
    history = trainer.fit()
    record = {
        "data_hash": dataset.content_hash,
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Run(config, model.to("cpu"), dataset, history, record)


def checked_device(name: str) -> str:
    """The device's name, if it is there.

    Raises:
        CaelabError: it is not.
    """
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise CaelabError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); use --device cpu"
        ) from error
    return name


def _saved(run: Run, partial: Path, folder: Path) -> Run:
    """Write the run beside its checkpoint, give it its name, and only then let the checkpoint go."""
    with told_as_storage(folder):
        shutil.rmtree(partial / "run", ignore_errors=True)  # of a process that was killed here
        (partial / "run").mkdir(parents=True, exist_ok=True)
    write_run(run, partial / "run")
    publish(partial / "run", folder)
    shutil.rmtree(partial, ignore_errors=True)
    return load_run(folder, model=run.model, dataset=run.dataset)
