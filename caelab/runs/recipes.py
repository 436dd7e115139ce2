"""Recipes, which are named configs: a recipe is laid over the base, and may be overridden key by key."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from caelab.errors import CaelabError, ContractError, shown
from caelab.registry.catalogue import Catalogue, catalogue, raise_if_from_file
from caelab.registry.importing import allow_code_in
from caelab.runs.config import RunConfig
from caelab.runs.settings import configured, merged

log = logging.getLogger(__name__)

BASE: dict[str, Any] = {
    "seed": 0,
    "dataset": {"kind": "mnist5k", "splits": [3000, 500, 1500]},
    "model": {"kind": "autoencoder", "hidden": [300]},
    "regularizers": {},
    "training": {
        "reconstruction": "cross-entropy",
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "epochs": 30,
        "batch_size": 100,
    },
}


@dataclass(frozen=True)
class Look:
    """How a model is drawn in every figure; marker and line style tell it apart without colour.

    Attributes:
        color: any colour of matplotlib, as ``"#d55e00"``.
        marker: any marker of matplotlib, as ``"*"``.
        linestyle: any line style of matplotlib, as ``"--"`` or ``(0, (8, 2))``.

    Raises:
        CaelabError: color or marker is no text; what matplotlib cannot draw is refused before a run.
    """

    color: str
    marker: str
    linestyle: Any = "-"

    def __post_init__(self) -> None:
        for key, value in (("color", self.color), ("marker", self.marker)):
            if not isinstance(value, str):
                raise ContractError(f"expected the {key} of a look as a text, but {shown(value)} came")

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of ``Axes.plot`` for a line with markers."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}


@dataclass(frozen=True)
class Recipe:
    """A named run.

    Attributes:
        about: what it is, in one line.
        config: what it lays over the base.
        tune: the other weights worth trying, by key.
        name: how readers know it, as ``"DAE-g"``; the name that it is registered by where this is empty.
        look: how figures draw it; without one it gets a look that no other model of the figure has.
        default: whether a comparison trains it unless it is told which recipes to train.
    """

    about: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Sequence[float]] = field(default_factory=dict)
    name: str = ""
    look: Look | None = None
    default: bool = False


def load_recipe(name: str, offers: Catalogue | None = None) -> Recipe:
    """The recipe of that name; a plain mapping stands for a recipe that lays it over the base.

    Raises:
        CaelabError: there is none of that name, or what the plugin registered is neither, or says something of itself
            that is not of the kind that is expected.
    """
    offers = catalogue() if offers is None else offers
    thing = offers.get("recipe", name)
    recipe = Recipe(config=thing) if isinstance(thing, Mapping) else thing
    whose = whose_recipe(name, offers)
    if not isinstance(recipe, Recipe):
        raise CaelabError(
            f"{whose} is {shown(thing)}, but a mapping of keys to values, or a caelab.Recipe, is expected"
        )
    for key, kind, expected in EXPECTED:
        value = getattr(recipe, key)
        if not isinstance(value, kind):
            raise CaelabError(f"{whose} has {key}={shown(value)}, but {expected} is expected")
    return recipe


EXPECTED: tuple[tuple[str, Any, str], ...] = (
    ("about", str, "a text"),
    ("config", Mapping, "a mapping of keys to values"),
    ("tune", Mapping, "a mapping of keys to lists of values"),
    ("name", str, "a text"),
    ("look", Look | None, "a caelab.Look(color, marker, linestyle)"),
    ("default", bool, "True or False"),
)


def whose_recipe(name: str, offers: Catalogue | None = None) -> str:
    """The recipe and who offers it, for a sentence."""
    offer = (offers or catalogue()).offers.get(("recipe", name))
    return f"the recipe {name!r}" + (f" of plugin {offer.provider!r}" if offer else "")


def default_recipes() -> list[str]:
    """The recipes that a comparison trains unless it is told which, in the order in which they are offered.

    One that cannot be used is told of and left out.
    """
    found = []
    for kind, name in catalogue().offers:
        if kind == "recipe":
            try:
                found += [name] if load_recipe(name).default else []
            except CaelabError as error:
                raise_if_from_file(error, (kind, name))
                log.warning("left out: %s", error)
    return found


def base_config(settings: Sequence[str] = (), **top: Any) -> RunConfig:
    """The checked config of the base that recipes are laid over: an auto-encoder without a regularizer."""
    return configured(deepcopy(BASE), {"label": "base", **top}, settings, (), catalogue())


def recipe_config(
    name: str,
    settings: Sequence[str] = (),
    *,
    offers: Catalogue | None = None,
    without: Sequence[str] = (),
    **top: Any,
) -> RunConfig:
    """The checked config of a recipe, with ``KEY=VALUE`` settings and top-level keys laid over it in turn.

    >>> recipe_config("cae", ["contractive.weight=0.3"], seed=7).regularizers["contractive"].options
    {'weight': 0.3}

    Raises:
        CaelabError: an unknown recipe or setting, or a value that does not fit.
    """
    offers = catalogue() if offers is None else offers
    if not isinstance(offers, Catalogue):
        raise CaelabError(f"expected offers as a Catalogue, but {shown(offers)} came")
    recipe = load_recipe(name, offers)
    allow_code_in(recipe.config)  # a recipe comes from a plugin that the user installed or named
    raw = merged(deepcopy(BASE), recipe.config)
    return configured(raw, {"label": name, **top}, settings, without, offers)
