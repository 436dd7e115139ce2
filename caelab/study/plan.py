"""The plan of a comparison: recipes, settings and grids as configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code_in
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.config import OfAnyModel, RunConfig, load_config, make_config, names_a_file
from caelab.runs.recipes import recipe_config
from caelab.runs.settings import chooses_kind, parse_setting, parse_value, with_setting

Grid = Mapping[str, Sequence[Any]]
Raw = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A model of a comparison: the recipe or file that was named, and the config that came of it."""

    name: str
    config: RunConfig


@dataclass(frozen=True)
class Step:
    """A key that gets a value, or in a grid one value per model that comes of it.

    Attributes:
        key: as ``contractive.weight``.
        values: one, or those of the grid.
        named: whether the value stands in the label of the model.
    """

    key: str
    values: Sequence[Any]
    named: bool = False


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """``contractive.weight=0.1,0.3,1`` as a key and its values; a value may be a list.

    >>> parse_grid("contractive.weight=0.1,1e-3"), parse_grid("model.hidden=[10],[20,5]")
    (('contractive.weight', [0.1, 0.001]), ('model.hidden', [[10], [20, 5]]))
    """
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise CaelabError(f"expected KEY=VALUE,VALUE,..., as in contractive.weight=0.1,0.3,1, but {text!r} came")
    found: list[Any] = parse_value(f"[{values}]")
    return key.strip(), found


def plan(recipes: Sequence[str], settings: Sequence[str] = (), grid: Grid | None = None, **top: Any) -> list[Planned]:
    """One model per recipe (or YAML file), or one per value where a recipe has a key of the grid.

    A setting of a regularizer applies to the recipes that have it, any other setting to all. What chooses a ``kind``
    comes first, wherever it stands, since the other settings are options of that kind.

    Raises:
        CaelabError: an unknown recipe, or a setting or grid that no recipe of the comparison has.
    """
    models = [(name, named_config(name, **top).as_dict()) for name in recipes]
    return planned(models, steps_of([*map(parse_setting, settings)], grid or {}))


def steps_of(settings: Sequence[tuple[str, Any]], grid: Grid) -> list[Step]:
    """Settings and a grid in the order in which they are made: what chooses a ``kind`` comes first.

    Code that a value names is allowed, since the user wrote it.
    """
    steps = [Step(key, [value]) for key, value in settings]
    steps += [Step(key, list(values), named=True) for key, values in grid.items()]
    allow_code_in([step.values for step in steps])
    return sorted(steps, key=lambda step: not chooses_kind(step.key, step.values[0]))


def planned(models: Sequence[tuple[str, Raw]], steps: Sequence[Step]) -> list[Planned]:
    """Every model after every step, checked.

    Args:
        models: names and configs as plain values.
        steps: each applies to the models that have its key.

    Raises:
        CaelabError: a key that no model has, two models of one label, or a config that is wrong.
    """
    for step in steps:
        _refuse_idle(step.key, [raw for _, raw in models])
        models = [(name, each) for name, raw in models for each in spread(raw, step.key, step.values, step.named)]
    refuse_twice([raw["label"] for _, raw in models])
    return [Planned(name, make_config(raw)) for name, raw in models]


def refuse_twice(labels: Sequence[str]) -> None:
    """Refuse two models of one label, which tables and figures could not tell apart.

    Raises:
        CaelabError: there are two.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise CaelabError(f"two models of this comparison are called {label!r}; name each recipe or file once")


def named_config(name: str, **top: Any) -> RunConfig:
    """The config of a recipe, or of a YAML file where the name ends in .yaml."""
    if not is_file(name):
        return recipe_config(name, **top)
    raw = load_config(name).as_dict()
    return make_config({**raw, "label": raw["label"] or Path(name).stem, **top})


def is_file(name: str) -> bool:
    """Whether a word of the command line stands for a config file rather than a recipe."""
    return names_a_file(name)


def has_key(raw: Mapping[str, Any], key: str) -> bool:
    """Whether a config has that key, at the top or among its regularizers."""
    first, *rest = key.split(".")
    if first == "model" and rest and rest[0] != "kind":
        factory = catalogue().get("model", raw["model"]["kind"])
        return rest[0] in {*option_fields(factory, GIVEN_BY_CORE["model"]), *OfAnyModel.model_fields}
    return first in raw if rest and first in raw else first in raw["regularizers"]


def spread(raw: Mapping[str, Any], key: str, values: Sequence[Any], named: bool = True) -> list[Raw]:
    """One config per value, labelled with it if ``named``; the config itself where it lacks the key."""
    if not has_key(raw, key):
        return [dict(raw)]
    labels = [f"{raw['label']} {key}={value}".replace("/", "_") if named else raw["label"] for value in values]
    return [{**with_setting(raw, key, value), "label": label} for label, value in zip(labels, values, strict=True)]


def _refuse_idle(key: str, models: Sequence[Mapping[str, Any]]) -> None:
    """A setting that changes nothing is a mistake."""
    if not any(has_key(raw, key) for raw in models):
        raise CaelabError(
            f"no model of this comparison has the setting {key!r} "
            f"(they are {', '.join(raw['label'] for raw in models)}); name a recipe that has it"
        )
