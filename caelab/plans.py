"""From the words of a command to the configs of a comparison: recipes, settings, grids, and tuned weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caelab.catalogue import catalogue
from caelab.config import RunConfig, load_config, make_config, parse_setting, parse_value, with_setting
from caelab.errors import CaelabError
from caelab.recipes import Recipe, recipe_config
from caelab.study import Study, run_rows

Grid = Mapping[str, Sequence[Any]]

TUNED_BY = "fine-tuned validation error"


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """``contractive.weight=0.1,0.3,1`` as a key and its values.

    >>> parse_grid("contractive.weight=0.1,1e-3")
    ('contractive.weight', [0.1, 0.001])
    """
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise CaelabError(f"expected KEY=VALUE,VALUE,..., as in contractive.weight=0.1,0.3,1, but {text!r} came")
    return key.strip(), [parse_value(value) for value in values.split(",")]


def plan(recipes: Sequence[str], settings: Sequence[str] = (), grid: Grid | None = None, **top: Any) -> list[RunConfig]:
    """One config per recipe (or YAML file), or one per value where a recipe has a key of the grid.

    A setting of a regularizer applies to the recipes that have it, any other setting to all.

    Raises:
        CaelabError: an unknown recipe, or a setting or grid that no recipe of the comparison has.
    """
    configs = [named_config(name, **top) for name in recipes]
    for setting in settings:
        key, value = parse_setting(setting)
        configs = [changed(config, key, value) if has_key(config, key) else config for config in configs]
        refuse_idle(key, configs)
    for key, values in (grid or {}).items():
        refuse_idle(key, configs)
        configs = [each for config in configs for each in spread(config, key, values)]
    labels = [config.label for config in configs]
    for label in labels:
        if labels.count(label) > 1:
            raise CaelabError(f"two models of this comparison are called {label!r}; name each recipe or file once")
    return configs


def named_config(name: str, **top: Any) -> RunConfig:
    """The config of a recipe, or of a YAML file where the name ends in .yaml."""
    if not name.endswith((".yaml", ".yml")):
        return recipe_config(name, **top)
    raw = load_config(name).as_dict()
    return make_config({**raw, **top, "label": raw["label"] or Path(name).stem})


def has_key(config: RunConfig, key: str) -> bool:
    """Whether a config has that key, at the top or among its regularizers."""
    plain = config.as_dict()
    first, *rest = key.split(".")
    if first in plain and rest:
        return first != "model" or rest[0] in plain["model"]
    return first in plain["regularizers"]


def changed(config: RunConfig, key: str, value: Any, label: str | None = None) -> RunConfig:
    """The config with one key set."""
    return make_config({**with_setting(config.as_dict(), key, value), "label": label or config.label})


def spread(config: RunConfig, key: str, values: Sequence[Any]) -> list[RunConfig]:
    """One config per value, labelled with it; the config itself where it lacks the key."""
    if not has_key(config, key):
        return [config]
    return [changed(config, key, value, f"{config.label} {key}={value}") for value in values]


def refuse_idle(key: str, configs: Sequence[RunConfig]) -> None:
    """A setting that changes nothing is a mistake."""
    if not any(has_key(config, key) for config in configs):
        raise CaelabError(
            f"no model of this comparison has the setting {key!r} "
            f"(they are {', '.join(config.label for config in configs)}); name a recipe that has it"
        )


def tuned(configs: Sequence[RunConfig], seeds: Sequence[int], out: Path, **how: Any) -> list[RunConfig]:
    """Each config with the weight of its recipe's grid that validates best; the test examples are not looked at.

    The measure is the paper's: the validation error of the fine-tuned classifier, averaged over the seeds
    (Rifai et al. 2011, section 5). A config that is no recipe's, or whose recipe has no grid, stays as it is.
    """
    return [_best_of(candidates(config), seeds, out, how) for config in configs]


def candidates(config: RunConfig) -> list[RunConfig]:
    """The config under every value of its recipe's grid, all under one label."""
    names = catalogue().names("recipe")
    recipe: Recipe | None = catalogue().get("recipe", config.label) if config.label in names else None
    if recipe is None or not recipe.tune:
        return [config]
    return [changed(config, key, value) for key, values in recipe.tune.items() for value in values]


def _best_of(options: Sequence[RunConfig], seeds: Sequence[int], out: Path, how: Mapping[str, Any]) -> RunConfig:
    if len(options) == 1:
        return options[0]
    study = Study(options, seeds, {"classification": {}}, out)
    result = study.run(**how)
    if result.problems:
        raise CaelabError(f"{options[0].label!r} cannot be tuned: {result.problems[0].message}; leave --tune out")
    errors = run_rows(result)[TUNED_BY].to_numpy().reshape(len(options), len(seeds)).mean(axis=1)
    return options[int(errors.argmin())]
