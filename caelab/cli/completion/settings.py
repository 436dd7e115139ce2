"""Settings ``KEY=VALUE`` as words that a shell completes: the keys of a config, and values where they are a choice."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from caelab.cli.completion.files import files
from caelab.data.scaling_options import ScalingOptions
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.registry.source_options import Values, fields_in_source, options_in_source
from caelab.runs.config import OF_ANY, Block, DataBlock, RunConfig
from caelab.runs.recipes import BASE, load_recipe
from caelab.runs.safe_yaml import read_yaml
from caelab.runs.settings import merged, parse_setting, with_setting

DEVICES = ("cpu", "cuda")

Keys = dict[str, Values]


def setting(begun: str, keys: Mapping[str, Values], *, several: bool = False) -> list[str]:
    """How a setting goes on: keys with ``=`` behind them; behind that the values, if the key has a choice of them.

    Args:
        begun: the word so far.
        keys: each with its values; one that ends in a full stop has keys of its own.
        several: whether values are a list with commas between them.
    """
    key, equals, value = begun.partition("=")
    if not equals:
        return [each if each.endswith(".") else f"{each}=" for each in keys if each.startswith(key)]
    if key.rpartition(".")[2] == "path":
        return [f"{key}={each}" for each in files(value)]
    before, comma, last = value.rpartition(",") if several else ("", "", value)
    free = [each for each in keys.get(key, ()) if each not in before.split(",")]
    return [f"{key}={before}{comma}{each}" for each in free if each.startswith(last)]


def config_keys(recipes: Sequence[str], dataset: str | None, settings: Sequence[str], begun: str = "") -> Keys:
    """The keys of a run's config, with the options of the data, the models and the regularizers of these recipes.

    Args:
        recipes: names of recipes, or config files.
        dataset: the data set that was named.
        settings: that were made before.
        begun: the key so far; a regularizer that it names has its options, too.
    """
    known = [deepcopy(BASE), *(merged(BASE, _asked(name)) for name in recipes)]
    raws = [_with_settings(raw, dataset, settings) for raw in known[1:] or known]
    found = _fields_of(RunConfig)
    for kind in ("dataset", "model"):
        names = tuple(catalogue().names(kind))
        found |= {kind: names, f"{kind}.kind": names}
        for block in dict.fromkeys(str(_kind(raw.get(kind))).partition(":")[0] for raw in raws):
            found |= _under(kind, {**of_any(kind), **options_of(kind, block)})
    present = {label: _kind(block) or label for raw in raws for label, block in _regularizers(raw).items()}
    named = begun.partition(".")[0]
    present |= {named: named} if "." in begun and named in catalogue().names("regularizer") else {}
    for label, kind in present.items():
        found |= _under(label, {**options_of("regularizer", str(kind)), **of_any("regularizer")})
    found |= _worth_trying(recipes)
    return found | {f"{name}.": () for name in catalogue().names("regularizer") if name not in present}


def of_any(kind: str) -> Keys:
    """The options that everything of a kind has, whoever offers it."""
    model = ScalingOptions if kind == "dataset" else OF_ANY.get(kind)
    return {} if model is None else {name: values_of(each.annotation) for name, each in model.model_fields.items()}


def options_of(kind: str, name: str) -> Keys:
    """The options of what a plugin offers; none where they cannot be read without importing it."""
    offer = catalogue().offers.get((kind, name))
    if offer is None:
        return {}
    skip = GIVEN_BY_CORE.get(kind, ())
    if isinstance(offer.thing, str):
        found = options_in_source(offer.thing)
        return {key: values for key, values in found.items() if key not in skip}
    parts = [part for key in ("measure", "compare") if callable(part := getattr(offer.thing, key, None))]
    factories = parts or ([offer.thing] if callable(offer.thing) else [])
    return {key: values_of(p.annotation) for each in factories for key, p in _readable(each, skip).items()}


def method_options(method: str) -> Keys:
    """The options of a method of fine-tuning."""
    for fields in fields_in_source("caelab.classifiers.options").values():
        if fields.get("method") == (method,):
            own = {key: values for key, values in fields.items() if key not in ("method", "labels", "seed")}
            return own | ({"device": DEVICES} if "device" in own else {})
    return {}


def methods() -> list[str]:
    """The methods of fine-tuning."""
    every = fields_in_source("caelab.classifiers.options").values()
    return [name for fields in every for name in fields.get("method", ())]


def values_of(annotation: Any) -> Values:
    """The values that a type allows, as texts, where it is a choice or a boolean.

    >>> values_of(Literal["a", "b"] | None), values_of(bool), values_of(float)
    (('a', 'b'), ('true', 'false'), ())
    """
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if hasattr(annotation, "__metadata__"):
        return values_of(get_args(annotation)[0])
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    return tuple(value for part in parts for value in values_of(part))


def _fields_of(model: type[BaseModel], where: str = "") -> Keys:
    """The keys of a section of the config and of the sections in it."""
    found: Keys = {}
    for name, field in model.model_fields.items():
        inner = [part for part in _classes_in(field.annotation) if issubclass(part, BaseModel)]
        path = f"{where}{name}"
        if DataBlock in inner:
            found |= _under(path, dict.fromkeys(DataBlock.model_fields, ()))
        elif name == "device":
            found[path] = DEVICES
        elif not inner:
            found[path] = values_of(field.annotation)
        elif Block not in inner and get_origin(field.annotation) is not tuple:
            found |= _fields_of(inner[0], f"{path}.")
    return found


def _classes_in(annotation: Any) -> list[type]:
    if inspect.isclass(annotation):
        return [annotation]
    return [each for part in get_args(annotation) for each in _classes_in(part)]


def _under(path: str, keys: Mapping[str, Values]) -> Keys:
    return {f"{path}.{key}": values for key, values in keys.items()}


def _readable(factory: Any, skip: Iterable[str]) -> dict[str, inspect.Parameter]:
    with suppress(CaelabError):
        return option_fields(factory, tuple(skip))
    return {}


def _asked(name: str) -> dict[str, Any]:
    """What a recipe, or a config file, lays over the base."""
    with suppress(CaelabError, OSError, UnicodeDecodeError):
        if name in catalogue().names("recipe"):
            return dict(load_recipe(name).config)
        found = read_yaml(Path(name).read_text(encoding="utf-8"))
        return dict(found) if isinstance(found, Mapping) else {}
    return {}


def _with_settings(raw: dict[str, Any], dataset: str | None, settings: Sequence[str]) -> dict[str, Any]:
    raw = merged(raw, {"dataset": {"kind": dataset}}) if dataset else raw
    for each in settings:
        with suppress(CaelabError):
            raw = with_setting(raw, *parse_setting(each))
    return raw


def _kind(block: Any) -> Any:
    return block.get("kind") if isinstance(block, Mapping) else block


def _regularizers(raw: Mapping[str, Any]) -> dict[str, Any]:
    found = raw.get("regularizers")
    return {str(label): block for label, block in found.items()} if isinstance(found, Mapping) else {}


def _worth_trying(recipes: Sequence[str]) -> Keys:
    """The values that recipes call worth trying, by key."""
    found: Keys = {}
    for name in [name for name in recipes if name in catalogue().names("recipe")]:
        with suppress(CaelabError):
            found |= {key: tuple(map(str, values)) for key, values in load_recipe(name).tune.items()}
    return found
