"""The request for a run: its config, and the objects that a user gave beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from caelab.data import Dataset
from caelab.data.given import as_dataset, split_hash
from caelab.data.given_tables import is_of_huggingface
from caelab.data.scaling_options import scaling_in
from caelab.errors import CaelabError, shown
from caelab.models.identity import copied, materialised, structure_of, weights_of
from caelab.models.shared import refuse_lost_by_copying
from caelab.registry.arguments import by_label
from caelab.registry.object_fingerprints import Unnameable, fingerprint
from caelab.registry.paths import as_name
from caelab.runs.config import GIVEN, Block, DataBlock, RunConfig, load_config, make_config, of_any
from caelab.runs.recipes import recipe_config
from caelab.runs.run import checked_model, dataset_of
from caelab.training.watching import merely_watches

DIGITS = 16  # hexadecimal digits of an object's digest in a config
UNKNOWN = "unknown"  # the digest of what cannot be told from another; such a run is never stored


@dataclass(frozen=True)
class Asked:
    """A request for one run, as its config and the objects that were given.

    Attributes:
        config: all that determines the run; an object stands in it as a block of the kind ``given``.
        dataset: inputs, labels and splits.
        model: a copy of the model that was given, or None.
        plugins: the regularizers and observers that were given and that can change the run, by label.
        watchers: the observers that only watch, by label.
    """

    config: RunConfig
    dataset: Dataset
    model: nn.Module | None = None
    plugins: Mapping[str, object] = field(default_factory=dict)
    watchers: Mapping[str, object] = field(default_factory=dict)


def as_config(config: RunConfig | Mapping[str, Any] | str | Path) -> RunConfig:
    """A checked config from whatever describes one: itself, its keys, the name of a recipe, or a YAML file."""
    if isinstance(config, Path) or (isinstance(config, str) and config.endswith((".yaml", ".yml"))):
        return load_config(config)
    if isinstance(config, str):
        return recipe_config(config)
    if not isinstance(config, RunConfig | Mapping):
        raise CaelabError(
            f"expected a config, its keys, the name of a recipe or the path of a YAML file, but {shown(config)} came"
        )
    return config if isinstance(config, RunConfig) else make_config(config)


def asked_for(
    config: RunConfig | Mapping[str, Any] | str | Path,
    *,
    model: nn.Module | None = None,
    dataset: Any = None,
    regularizers: Mapping[str, Any] | Sequence[str] | str | None = None,
    observers: Mapping[str, object] | None = None,
    splits: Sequence[int] | None = None,
    seed: int | None = None,
    stored: bool = False,
) -> Asked:
    """The request that the arguments of ``train`` make.

    Raises:
        CaelabError: a wrong config, impossible data, a label that is used twice, or, where the run is to be stored, an
            object that cannot be told from another.
    """
    config = as_config(config) if seed is None else make_config({**as_config(config).as_dict(), "seed": seed})
    config, data = _with_data(config, dataset, splits)
    config, plugins = _with_regularizers(config, by_label(regularizers, "regularizers", names=True), stored)
    observing = by_label(observers, "observers")
    watchers = {label: each for label, each in observing.items() if merely_watches(label, each)}
    _refuse_taken(config, watchers)
    changing = {label: each for label, each in observing.items() if label not in watchers}
    config = _with_blocks(config, changing, stored)
    if model is None:
        return Asked(config, data, None, {**plugins, **changing}, watchers)
    refuse_lost_by_copying(checked_model(model))
    own = materialised(copied(model), data.inputs, config.seed)
    block = Block.model_construct(**{**_model_block(own, stored).model_dump(), **of_any("model", config.model)})
    config = config.model_copy(update={"model": block})
    return Asked(config, data, own, {**plugins, **changing}, watchers)


def _with_data(config: RunConfig, given: Any, splits: Sequence[int] | None) -> tuple[RunConfig, Dataset]:
    given = as_name(given) if isinstance(given, PathLike) else given
    scaling = scaling_in(config.dataset.options)
    if given is None or isinstance(given, str) or (isinstance(given, Mapping) and not is_of_huggingface(given)):
        block = {**scaling, "kind": given} if isinstance(given, str) else dict(given or {})
        block = block or config.dataset.model_dump(mode="json")
        block |= {} if splits is None else {"splits": splits if isinstance(splits, str) else list(splits)}
        config = make_config({**config.as_dict(), "dataset": block}) if given is not None or splits else config
        return config, dataset_of(config)
    dataset = as_dataset(given, splits=splits, seed=config.split, scaling=scaling)
    return (config if _is_that_of(config, dataset) else _with_given_data(config, dataset)), dataset


def _is_that_of(config: RunConfig, dataset: Dataset) -> bool:
    """Whether a data set is the very one that the config names."""
    block = config.dataset
    path = block.options.get("path")
    if dataset.name != (block.kind if path is None else f"{block.kind}:{path}"):
        return False
    with suppress(CaelabError):  # it is not there any more
        named = dataset_of(config)
        return named is dataset or (
            named.content_hash == dataset.content_hash
            and split_hash(named) == split_hash(dataset)
            and type(named.truth) is type(dataset.truth)
        )
    return False


def _with_given_data(config: RunConfig, dataset: Dataset) -> RunConfig:
    facts = {"name": dataset.name, "shape": list(dataset.inputs.shape), "split_hash": split_hash(dataset)[:DIGITS]}
    truth = {} if dataset.truth is None else {"truth": fingerprint(dataset.truth, "truth")[:DIGITS]}
    scaling = {} if dataset.scaling is None else dict(dataset.scaling.asked)
    sizes = (len(dataset.train), len(dataset.valid), len(dataset.test))
    block: Any = {"kind": GIVEN, "splits": sizes, **facts, **truth, **scaling}
    return config.model_copy(update={"dataset": DataBlock.model_construct(**block)})


def _with_regularizers(
    config: RunConfig, regularizers: Mapping[str, Any], stored: bool
) -> tuple[RunConfig, dict[str, object]]:
    """Options go into the config as if they stood there; instances, and classes without options, are copied."""
    _refuse_taken(config, regularizers)
    options = {label: dict(each) for label, each in regularizers.items() if isinstance(each, Mapping)}
    if options:
        raw = config.as_dict()
        config = make_config({**raw, "regularizers": {**raw["regularizers"], **options}})
    objects = {label: _instance(label, each) for label, each in regularizers.items() if label not in options}
    return _with_blocks(config, objects, stored), {label: _copied(label, each) for label, each in objects.items()}


def _instance(label: str, given: Any) -> object:
    if not inspect.isclass(given):
        return given
    try:
        return given()
    except Exception as error:  # a user's class may fail in any way
        raise CaelabError(
            f"the regularizer {label!r} cannot be made from the class {given.__name__} alone "
            f"({type(error).__name__}: {error}); give an instance, as {given.__name__}(weight=1.0)"
        ) from error


def _copied(label: str, plugin: object) -> object:
    try:
        return deepcopy(plugin)
    except Exception as error:  # a user's object may hold anything
        raise CaelabError(
            f"the regularizer {label!r} cannot be copied, and a run never changes the object that was given "
            f"({type(error).__name__}: {error}); take what cannot be copied out of its attributes"
        ) from error


def _refuse_taken(config: RunConfig, labels: Mapping[str, Any]) -> None:
    for label in labels:
        if label in config.regularizers:
            raise CaelabError(f"two plugins of this run are called {label!r}; give one another name")


def _with_blocks(config: RunConfig, plugins: Mapping[str, object], stored: bool) -> RunConfig:
    _refuse_taken(config, plugins)
    blocks = {label: _plugin_block(label, plugin, stored) for label, plugin in plugins.items()}
    both = dict(sorted({**config.regularizers, **blocks}.items()))
    return config.model_copy(update={"regularizers": both}) if blocks else config


def _plugin_block(label: str, plugin: object, stored: bool) -> Block:
    """What a config says of a plugin that was given as an object: its class, its plain attributes, a digest of all."""
    facts: dict[str, Any] = {"name": type(plugin).__qualname__, "digest": _digest(fingerprint, stored, plugin, label)}
    state = getattr(plugin, "__dict__", {}) if not inspect.ismodule(plugin) else {}
    plain = {k: v for k, v in state.items() if isinstance(v, bool | int | float | str) and k != "kind"}
    return Block.model_construct(kind=GIVEN, **{**plain, **facts})


def _model_block(model: nn.Module, stored: bool) -> Block:
    """What a config says of a model that was given as an object: its class, what it is made of, its initial weights."""
    structure, weights = _digest(structure_of, stored, model), _digest(weights_of, stored, model)
    return Block.model_construct(kind=GIVEN, name=type(model).__qualname__, structure=structure, weights=weights)


def _digest(digest: Callable[..., str], stored: bool, *arguments: Any) -> str:
    try:
        return digest(*arguments)[:DIGITS]
    except Unnameable:
        if stored:
            raise
        return UNKNOWN
