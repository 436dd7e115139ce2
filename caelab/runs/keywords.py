"""Configs built in Python by keywords: ``recipe("cae", weight=0.3, epochs=20)`` instead of nested dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from caelab.data.scaling_options import NAMES as SCALINGS
from caelab.errors import CaelabError, shown, unknown_name
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code_in
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.config import GIVEN, OF_ANY, RunConfig, Training, load_config, make_config, names_a_file
from caelab.runs.in_keywords import in_keywords
from caelab.runs.recipes import recipe_config
from caelab.runs.settings import chooses_kind, with_setting

TOP = ("seed", "dataset", "model", "pretraining", "layers", "regularizers")
DATA = ("splits", "split_seed", *SCALINGS)


@in_keywords()
def recipe(name: str | Path = "ae", /, **settings: Any) -> RunConfig:
    """The checked config of a recipe, with keywords laid over it.

    A keyword is the last word of a key where only one key of this config ends so (``weight``, ``hidden``, ``epochs``,
    ``learning_rate``), or the whole key with ``__`` for the full stop and ``_`` for a hyphen
    (``contractive__weight``, ``training__epochs``). A regularizer that the recipe does not have is added.

    >>> recipe("cae", weight=0.3, epochs=5).regularizers["contractive"].options
    {'weight': 0.3}
    >>> recipe("cae", weight=0.3).label, recipe("cae", epochs=5).label, recipe("cae", label="mine").label
    ('cae contractive.weight=0.3', 'cae', 'mine')

    Args:
        name: of a recipe, as ``caelab plugins`` lists them, or the path of a YAML file.
        settings: by keyword. ``label`` is what tables and figures call the model; without it the settings of
            regularizers stand behind the recipe's name, as in a grid.

    Raises:
        CaelabError: an unknown recipe or keyword, a keyword that several keys end in, or a value that does not fit.
    """
    label = settings.pop("label", None)
    if not isinstance(name, str | Path):
        raise CaelabError(f"expected the name of a recipe or the path of a YAML file, but {shown(name)} came")
    config = load_config(name) if names_a_file(name) else recipe_config(str(name))
    changed, keys = with_keywords(config, settings)
    if label == "":
        raise CaelabError("expected a label that tables and figures can show, but '' came; leave it out, or name one")
    if label is not None:
        return make_config({**changed.as_dict(), "label": label})
    named = [f"{key}={value}" for key, value in keys.items() if key.partition(".")[0] in changed.regularizers]
    return changed.with_label(" ".join([config.label, *named]).replace("/", "_"))


def with_keywords(config: RunConfig, settings: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """A config with keywords laid over it, and the full key of each.

    Raises:
        CaelabError: as ``recipe``.
    """
    if settings.get("regularizers") == {}:
        raise CaelabError(
            f"regularizers={{}} adds none to {config.label!r} and takes none away; for a model without them start from "
            "a recipe without them"
        )
    values = {keyword: _block(keyword, plain(value)) for keyword, value in settings.items()}
    allow_code_in(values)
    keys: dict[str, Any] = {}
    for kinds in (True, False):  # a block of another kind has other options
        chosen = {each: value for each, value in values.items() if _chooses_kind(each, value) == kinds}
        found = _by_key(config, chosen)
        raw = config.as_dict()
        for key, value in found.items():
            raw = with_setting(raw, key, value)
        config, keys = (make_config(raw) if found else config), {**keys, **found}
    return config, keys


def _by_key(config: RunConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    keywords: dict[str, str] = {}
    for keyword in settings:
        key = key_of(config, keyword)
        if key in keywords:
            raise CaelabError(f"{keywords[key]!r} and {keyword!r} both say {key} of {config.label!r}; give one of them")
        keywords[key] = keyword
    return {key: settings[keyword] for key, keyword in keywords.items()}


def _chooses_kind(keyword: str, value: Any) -> bool:
    return chooses_kind(keyword.replace("__", "."), value)


def _block(keyword: str, value: Any) -> Any:
    """The name of a data set or a model stands for a block of that kind, which starts afresh."""
    return {"kind": value} if keyword in ("dataset", "model") and isinstance(value, str) else value


def plain(value: Any) -> Any:
    """A value as YAML has it: numpy's numbers and arrays as Python's own, tuples as lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def key_of(config: RunConfig, keyword: str) -> str:
    """The key that a keyword stands for.

    >>> config = recipe_config("cae")
    >>> key_of(config, "weight"), key_of(config, "weight_decay__weight"), key_of(config, "splits")
    ('contractive.weight', 'weight-decay.weight', 'dataset.splits')

    Raises:
        CaelabError: none, or several keys end so.
    """
    if keyword in TOP:
        return keyword
    full = keyword.replace("__", ".")
    if "." in full:
        return _hyphenated(full)
    ends = dict(_ends(config))
    found = [key for key, end in ends.items() if end == keyword]
    if len(found) == 1:
        return found[0]
    if not found and keyword not in catalogue().names("regularizer"):
        raise unknown_name(f"setting of {config.label!r}", keyword, {*ends.values(), *TOP, "label"})
    if not found:
        return keyword
    ways = " or ".join(f"{key.replace('.', '__').replace('-', '_')}=..." for key in found)
    raise CaelabError(f"{keyword!r} of {config.label!r} may be {' or '.join(found)}; say which, as {ways}")


def _ends(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Every key that a keyword may stand for, with its last word."""
    blocks = {"model": config.model, "dataset": config.dataset, **config.regularizers}
    for label, block in blocks.items():
        kind = label if label in ("model", "dataset") else "regularizer"
        names = {*block.options, *_options(kind, block.kind)}
        yield from ((f"{label}.{name}", name) for name in sorted(names))
    yield from ((f"training.{name}", name) for name in Training.model_fields)
    yield from ((f"dataset.{name}", name) for name in DATA)


def _options(kind: str, name: str) -> Iterable[str]:
    if name == GIVEN:
        return ()
    common = OF_ANY["model"].model_fields if kind == "model" else ()
    return {*option_fields(catalogue().get(kind, name), GIVEN_BY_CORE.get(kind, ())), *common}


def _hyphenated(key: str) -> str:
    """A key whose regularizer is spelt with ``_`` for ``-``, since a keyword of Python has no hyphen."""
    first, dot, rest = key.partition(".")
    spelt = {name.replace("-", "_"): name for name in catalogue().names("regularizer")}
    return f"{spelt.get(first, first)}{dot}{rest}"
