"""The run folder: writing it, and reading it back."""

from __future__ import annotations

import inspect
import json
import logging
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from caelab.data import Dataset, load_dataset
from caelab.data.dataset import called
from caelab.data.given import as_dataset, as_inputs, split_hash
from caelab.data.memory import free_memory, sized
from caelab.data.scaling_options import scaling_in
from caelab.errors import CaelabError, DamagedFile, RefusedInput, reason
from caelab.models.adapted import adapted, dtype_of
from caelab.models.identity import (
    check_outputs,
    check_parameters,
    copied,
    first_difference,
    load_weights,
    materialised,
    outputs_of,
    repr_of,
)
from caelab.models.reconstruction import reconstruction_error
from caelab.models.stack import stacked
from caelab.process.exits import held_open
from caelab.process.settings import CHEAP, OTHERS, left_as_found
from caelab.process.torch_settings import pinned_settings
from caelab.registry.arguments import path_of
from caelab.registry.catalogue import catalogue
from caelab.registry.promised import promised
from caelab.runs.config import GIVEN, RunConfig, make_config, of_any
from caelab.runs.layers import is_stack, layer_configs, of_its_layer, told_of_layer
from caelab.runs.places import folder_near, near
from caelab.runs.record import bears_its_name, check_facts, fingerprints_in
from caelab.storage.checked_files import RECORD, WEIGHTS, damaged, read_files, stored_facts, write_files
from caelab.storage.checksums import FILES
from caelab.storage.files import PARTIAL
from caelab.streams import seeded
from caelab.version import __version__

log = logging.getLogger(__name__)

COPIES = 4  # of every parameter: itself, its gradient, and Adam's two averages


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One trained model with the config that made it and the data it saw.

    Attributes:
        config: what was asked.
        model: the trained model, in evaluation mode.
        dataset: inputs, labels and splits.
        metrics: of every epoch, as plain values; ``history`` is the same as a table.
        record: what was found: versions, data hash, seconds.
        path: its folder, if it was saved.
    """

    config: RunConfig
    model: Any
    dataset: Dataset
    metrics: list[dict[str, float]]
    record: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def label(self) -> str:
        """The name of the model in tables and figures."""
        return self.config.label

    @property
    def seed(self) -> int:
        """The seed that fixed splits, initial weights and every random stream."""
        return self.config.seed

    @property
    def history(self) -> pd.DataFrame:
        """The metrics of every epoch, one row each: ``epoch``, and per example ``train_...`` and ``valid_...``."""
        return pd.DataFrame(self.metrics)

    def history_table(self) -> pd.DataFrame:
        """The earlier name of ``history``."""
        return self.history

    @overload
    def encode(self, inputs: Tensor) -> Tensor: ...
    @overload
    def encode(self, inputs: Any) -> Any: ...
    def encode(self, inputs: Any) -> Any:
        """The code h = f(x), shape (batch, code), without gradients.

        Args:
            inputs: a tensor, an array or a table of the data's own scale, shape (batch, d).

        Returns:
            A tensor for a tensor; for anything else a numpy array.

        Raises:
            CaelabError: inputs of another width, or no finite numbers.
        """
        return self._answered(inputs, self.model.encode)

    @overload
    def reconstruct(self, inputs: Tensor) -> Tensor: ...
    @overload
    def reconstruct(self, inputs: Any) -> Any: ...
    def reconstruct(self, inputs: Any) -> Any:
        """The reconstruction r(x) = g(f(x)), shape (batch, d), without gradients; as ``encode`` takes and returns."""
        return self._answered(inputs, lambda x: self.model.decode(self.model.encode(x)))

    @overload
    def reconstruction_error(self, inputs: Tensor) -> Tensor: ...
    @overload
    def reconstruction_error(self, inputs: Any) -> Any: ...
    def reconstruction_error(self, inputs: Any) -> Any:
        """L(x, r(x)) of clean inputs, summed over the inputs' entries, shape (batch,); as ``encode`` takes them."""
        kind = self.config.training.reconstruction
        return self._answered(inputs, lambda x: reconstruction_error(kind, self.model, self.model.encode(x), x))

    def analyse(self, name: str, **options: Any) -> pd.DataFrame:
        """The table of an analysis of this run; see ``caelab.analyse``.

        Args:
            name: of the analysis, as ``caelab plugins`` lists them.
            options: of the analysis.

        Raises:
            CaelabError: an unknown analysis or option, or one that fails.
            NotApplicable: the analysis has no meaning for this run.
        """
        table: pd.DataFrame = promised("analyse")(self, name, **options)
        return table

    def figure(self, name: str, axes: Any = None, **options: Any) -> Any:
        """The figure of an analysis of this run, which is measured first; see ``caelab.draw``.

        Args:
            name: of the analysis.
            axes: to draw onto, one for each panel, in the caller's style; without them a figure is made.
            options: of the analysis.

        Raises:
            CaelabError: as ``analyse``, or the analysis cannot draw its table.
            ValueError: another number of axes than the analysis has panels.
        """
        return promised("draw")(name, self.analyse(name, **options), axes)

    def __repr__(self) -> str:
        """What the run is, in one line."""
        epochs = f"{len(self.metrics)} epochs" if len(self.metrics) != 1 else "1 epoch"
        where = "" if self.path is None else f", {str(self.path)!r}"
        return f"<Run {self.label!r} on {called(self.dataset)}, seed {self.seed}, {epochs}{where}>"

    def _repr_html_(self) -> str:
        return str(promised("html_of")(self))

    @torch.no_grad()
    def _answered(self, inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
        checked = self._inputs(inputs)
        answer = function(checked)
        return answer if isinstance(inputs, Tensor) else answer.numpy(force=True)

    def _inputs(self, inputs: Any) -> Tensor:
        """The inputs as a tensor of the model's type, one row per example."""
        found = inputs if isinstance(inputs, Tensor) else as_inputs(inputs)
        found = found.flatten(1) if found.ndim > 2 else found
        width = self.dataset.inputs.shape[1]
        if found.ndim != 2 or found.shape[1] != width:
            raise RefusedInput(
                f"expected inputs of shape (batch, {width}), as {self.label!r} was trained on, but "
                f"{tuple(np.shape(inputs))} came; reshape them"
            )
        return found.to(dtype_of(self.model))


def dataset_of(config: RunConfig) -> Dataset:
    """The data set of a run, split by its seed; the last few stay in memory, until a file of theirs changes.

    Raises:
        CaelabError: it cannot be loaded, or was given as an object, which no config can make again.
    """
    block = config.dataset
    if block.kind == GIVEN:
        raise CaelabError(
            f"the data of {config.label!r} ({block.options.get('name')}) were given as an object; give them again, "
            "as in: caelab.load_run(path, dataset=...)"
        )
    files: tuple[object, ...] = tuple(state for place in _places_in(block.options) for state in _files_at(place))
    files += (str(folder_near()),) if "of" in block.options else ()  # made from a run that lies there
    return _loaded(block.kind, block.splits, config.split, json.dumps(block.options, sort_keys=True), files)


@lru_cache(maxsize=4)
def _loaded(
    kind: str, splits: tuple[int, int, int] | None, seed: int, options: str, files: tuple[object, ...]
) -> Dataset:
    return load_dataset(kind, splits=splits, seed=seed, **json.loads(options))


def _places_in(options: Any) -> list[str]:
    """What may be paths in the options of a data set, as they are, behind a kind (``idx:FOLDER``), before a key (#)."""
    if isinstance(options, Mapping):
        return [place for value in options.values() for place in _places_in(value)]
    if not isinstance(options, str):
        return []
    return [*dict.fromkeys((options, options.partition(":")[2] or options, options.rpartition("#")[0] or options))]


def _files_at(path: str) -> list[tuple[str, int, int, int]]:
    """The place, number, size and time of change of a file, or of every file in a folder."""
    place = Path(path).expanduser().absolute()
    with suppress(OSError, ValueError):  # it need not be a path
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        return [(str(each), s.st_ino, s.st_size, s.st_mtime_ns) for each in found for s in [each.stat()]]
    return []


def forget_data() -> None:
    """Load data sets anew when they are asked for again."""
    _loaded.cache_clear()


def build_model(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The model with its initial weights, which depend on nothing but the run's seed and the model's shape.

    A greedy stack is made of its layers, each with the initial weights that it is trained from.

    Raises:
        CaelabError: an unknown model, one that fails when it is made, one without ``encode`` and ``decode``, or a layer
            that does not fit.
    """
    if not is_stack(config):
        return _built(config, dataset.inputs, dataset.image_shape)
    layers: list[Any] = []
    inputs, shape = dataset.inputs[:2], dataset.image_shape
    for place, each in enumerate(layer_configs(config), start=1):
        with told_of_layer(place, config.label):
            layers.append(_built(each, inputs, shape).eval())
        with torch.no_grad():
            inputs, shape = layers[-1].encode(inputs).flatten(1), None
    return stacked(layers)


def _built(config: RunConfig, inputs: Tensor, image_shape: tuple[int, ...] | None) -> nn.Module:
    kind, options = config.model.kind, config.model.options
    if kind == GIVEN:
        raise CaelabError(
            f"the model of {config.label!r} ({options.get('name')}) was given as an object; give it again, "
            "as in: caelab.load_run(path, model=...)"
        )
    factory = catalogue().get("model", kind)
    common = of_any("model", config.model, factory)
    options = {name: value for name, value in options.items() if name not in common}
    given = _asked_of(factory, {"inputs": inputs.shape[1], "image_shape": image_shape})
    try:
        if getattr(factory, "__module__", "").startswith("caelab."):
            _refuse_too_large(lambda: factory(**given, **options))
        with (
            left_as_found(f"the model {kind!r}", [*CHEAP, *OTHERS]),
            seeded(config.seed, "initial weights"),
            held_open(),
        ):
            model = factory(**given, **options)
    except CaelabError:
        raise
    except (Exception, SystemExit) as error:  # a user's model may fail in any way
        raise CaelabError(f"the model {kind!r} cannot be made with {given | options}: {reason(error)}") from error
    return adapted(checked_model(model), inputs, image_shape, seed=config.seed, **common)


def as_called(config: RunConfig, model: nn.Module, dataset: Dataset) -> nn.Module:
    """A model that was given as an object, as caelab calls it; see ``adapted``."""
    return adapted(model, dataset.inputs, dataset.image_shape, seed=config.seed, **of_any("model", config.model))


def of_type(model: nn.Module, dataset: Dataset) -> Dataset:
    """The data set in the type of the model's parameters: a float64 model computes in float64."""
    dtype = dtype_of(model)
    return dataset if dtype is dataset.inputs.dtype else replace(dataset, inputs=dataset.inputs.to(dtype))


def _refuse_too_large(make: Callable[[], nn.Module]) -> None:
    """Refuse a model for whose parameters, their gradients and an optimiser's two averages there is no memory.

    Raises:
        CaelabError: says how much it would take, and how much there is.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # shapes without numbers
        needed = COPIES * sum(p.numel() * p.element_size() for p in make().parameters())
    if needed > (free := free_memory()):
        raise CaelabError(
            f"a model of this size takes {sized(needed)} to train, but {sized(free)} are free; make it smaller, as "
            "in --set model.hidden=[300]"
        )


def output_is_set(config: RunConfig) -> bool:
    """Whether the config's model has the option ``output``."""
    with suppress(ValueError, TypeError):  # its parameters cannot be read
        kind = config.model.kind
        return kind != GIVEN and "output" in inspect.signature(catalogue().get("model", kind)).parameters
    return False


def _asked_of(factory: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a factory names, out of those that can be given."""
    parameters = inspect.signature(factory).parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {name: value for name, value in given.items() if everything or name in parameters}


def checked_model(model: Any) -> nn.Module:
    """Refuse what is not a module with ``encode`` and ``decode``."""
    missing = [name for name in ("encode", "decode") if not callable(getattr(model, name, None))]
    if missing or not isinstance(model, nn.Module):
        raise CaelabError(
            f"a model is an nn.Module with encode(inputs) and decode(code), but {type(model).__name__} "
            f"{'lacks ' + ' and '.join(missing) if missing else 'is not an nn.Module'}"
        )
    return model


def versions() -> dict[str, str]:
    """The versions that the numbers of a run depend on."""
    return {
        "python": platform.python_version(),
        "caelab": __version__,
        **{name: version(name) for name in ("torch", "numpy")},
    }


def record_of(config: RunConfig, model: nn.Module, dataset: Dataset) -> dict[str, Any]:
    """What is known of a run beside its config: data, model, the code of others, and versions."""
    named = {} if dataset.label_names is None else {"label_names": list(dataset.label_names)}
    scaling = {} if dataset.scaling is None else {"scaling": dataset.scaling.as_record()}
    return {
        "data_hash": dataset.content_hash,
        "split_hash": split_hash(dataset),
        "data": {"name": dataset.name, "shape": list(dataset.inputs.shape), **named, **scaling},
        "model": {"class": type(getattr(model, "inner", model)).__qualname__, "repr": repr_of(model)},
        "fingerprints": config.fingerprints(),
        "versions": versions(),
    }


def write_run(run: Run, folder: Path) -> None:
    """Write a run into a folder that exists: weights, history, config and record.

    Raises:
        StorageError: a file cannot be written.
    """
    record = {**run.record, "outputs": outputs_of(run.model, run.dataset.inputs)}
    facts = {"config": run.config.as_dict(), "record": record}
    write_files(folder, run.model.state_dict(), run.history, facts)


def load_run(path: str | Path, *, model: nn.Module | None = None, dataset: Any = None) -> Run:
    """Read a run back from its folder.

    Args:
        path: the folder that ``train`` named.
        model: the model, where it was given as an object; its weights do not matter, and it stays as it is.
        dataset: the data, where they were given as an object: anything that ``train`` takes.

    Raises:
        CaelabError: the folder is no run, is damaged, its data have changed since, or the model computes something
            else than the one that was trained.
    """
    path = path_of(path, "the folder of a run")
    with near(path.parent):
        return _loaded_run(path, model, dataset)


def _loaded_run(path: Path, model: nn.Module | None, dataset: Any) -> Run:
    config, record = read_record(path, given=model is not None)
    weights, history = read_files(path)
    with pinned_settings():
        data = dataset_of(config) if dataset is None else _given_data(config, dataset)
        _check_data(path, record, data)
        own = (
            build_model(config, data)
            if model is None
            else as_called(config, materialised(copied(model), data.inputs, config.seed), data)
        )
        data = of_type(own, data)
        added = [name for name in record.get("added", []) if name in weights and name not in own.state_dict()]
        load_weights(own, {name: weights[name] for name in added}, added)
        check_parameters(own, weights, f"run {path}")
        own.load_state_dict(weights)
        _check_model(own.eval(), data, record, path)
    return Run(config, own, data, of_its_layer(history), record, path)


def _given_data(config: RunConfig, given: Any) -> Dataset:
    splits = None if isinstance(given, Dataset) else config.dataset.splits
    name = str(config.dataset.options.get("name", config.dataset.kind))
    return as_dataset(given, splits=splits, seed=config.split, name=name, scaling=scaling_in(config.dataset.options))


def _check_data(path: Path, record: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse data other than those that a run was trained on, or another split of them.

    Raises:
        CaelabError: they are others.
    """
    expected = record.get("data_hash", "nothing")
    if dataset.content_hash != expected:
        raise CaelabError(
            f"the data of run {path} have changed: it was trained on {expected[:12]}, but "
            f"{dataset.name} now holds {dataset.content_hash[:12]}; restore the data or train again"
        )
    if record.get("split_hash", split_hash(dataset)) != split_hash(dataset):
        raise CaelabError(
            f"the data of run {path} are split otherwise now: other examples train, validate or test than those it "
            "was trained with; give the same splits and seed, or train again"
        )


def _check_model(model: nn.Module, dataset: Dataset, record: Mapping[str, Any], path: Path) -> None:
    """Refuse a model that is not the one of the record: what it shows of itself, and what it computes.

    What a module shows of itself counts under the versions that the run was made with only, since libraries may
    change it.

    Raises:
        CaelabError: it is another one.
    """
    check_outputs(model, dataset.inputs, record.get("outputs", {}), f"run {path}")
    then = record.get("model", {}).get("repr", repr_of(model))
    if then != repr_of(model) and record.get("versions") == versions():
        before, now = first_difference(then, repr_of(model))
        raise CaelabError(
            f"this is not the model of run {path}: it shows {now!r} where that one shows {before!r}; "
            "give the model that was trained, or train again in another folder"
        )


def read_record(path: Path, *, given: bool = False) -> tuple[RunConfig, dict[str, Any]]:
    """The config and the record of a run's folder.

    Args:
        path: the folder.
        given: whether its model was given as an object.

    Raises:
        CaelabError: the folder is no run, or its record was changed after it was written.
    """
    found = stored_facts(path)
    try:
        check_facts(found)
        config = make_config(found["config"])
        if FILES not in found:
            _check_name(path, found, config, given)
    except (DamagedFile, ValueError, KeyError, TypeError) as error:
        raise damaged(path / RECORD, error) from error
    return config, dict(found["record"])


def _check_name(path: Path, facts: Mapping[str, Any], config: RunConfig, given: bool) -> None:
    """Refuse a run without checksums whose config, data or code are not those that its folder is named by.

    What was given as an object, and the code of others, stand in the names of the oldest runs but not in their records.

    Raises:
        DamagedFile: it was changed after it was written.
    """
    unknown = fingerprints_in(facts["record"]) is None and (given or config.fingerprints())
    if not unknown and bears_its_name(path, facts) is False:
        raise DamagedFile(
            "it has no checksum, and its config and data are not those that the folder is named by: it was changed "
            "after it was written, or the folder bears another run's name"
        )
    if unknown or bears_its_name(path, facts) is None:
        log.warning(
            "%s has no checksum, and its folder's name does not say what it is: nothing tells if it is whole", path
        )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, be it damaged or not finished."""
    return folder.name.startswith(PARTIAL) or any((folder / file).is_file() for file in (RECORD, WEIGHTS))
