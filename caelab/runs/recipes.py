"""Named runs. Each states its scientific choices; a recipe is laid over the base and may be overridden key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from caelab.errors import CaelabError, shown
from caelab.hookspecs import hookimpl
from caelab.registry.catalogue import Catalogue, catalogue
from caelab.registry.importing import allow_code_in
from caelab.runs.config import RunConfig, configured, merged

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
class Recipe:
    """A named run: what it is, what it lays over the base, and the other weights worth trying."""

    about: str
    config: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Sequence[float]] = field(default_factory=dict)


def _regularized(about: str, tune: Mapping[str, Sequence[float]], **regularizers: Mapping[str, Any]) -> Recipe:
    return Recipe(about, {"regularizers": regularizers}, tune)


RECIPES = {
    "ae": Recipe("auto-encoder without a regularizer"),
    "ae-wd": _regularized(
        "auto-encoder with weight decay",
        {"weight-decay.weight": [0.001, 0.003, 0.01, 0.03]},
        **{"weight-decay": {"weight": 0.01}},
    ),
    "dae-g": _regularized(
        "denoising auto-encoder, Gaussian corruption",
        {"gaussian.sigma": [0.1, 0.3, 0.6, 1.0]},
        gaussian={"sigma": 0.6},
    ),
    "dae-b": _regularized(
        "denoising auto-encoder, binary masking corruption",
        {"masking.p": [0.1, 0.25, 0.5, 0.7]},
        masking={"p": 0.5},
    ),
    "sparse-ae": _regularized(
        "sparse auto-encoder, KL divergence of the mean activation from a target",
        {"sparse-kl.weight": [0.3, 1.0, 3.0, 10.0]},
        **{"sparse-kl": {"weight": 3.0, "target": 0.1}},
    ),
    "cae": _regularized(
        "contractive auto-encoder (Rifai et al. 2011)",
        {"contractive.weight": [0.3, 1.0, 2.0, 5.0]},
        contractive={"weight": 2.0},
    ),
    "rcae": _regularized(
        "reconstruction-contractive auto-encoder (Alain and Bengio 2014)",
        {"reconstruction-contractive.weight": [0.01, 0.1, 0.36, 1.0]},
        **{"reconstruction-contractive": {"weight": 0.36}},
    ),
    "cae-h": _regularized(
        "higher-order contractive auto-encoder, CAE+H (Rifai et al. 2011, ECML)",
        {"higher-order-contractive.weight": [5, 20, 50, 200]},
        contractive={"weight": 2.0},
        **{"higher-order-contractive": {"weight": 50.0, "sigma": 0.1, "samples": 4}},
    ),
    "rbm": Recipe(
        "restricted Boltzmann machine, binary units, contrastive divergence",
        {
            "model": {"kind": "rbm", "hidden": 300, "steps": 1},
            "training": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 20},
        },
        {"training.learning_rate": [0.02, 0.05, 0.1, 0.2]},
    ),
}


@hookimpl
def register_recipes(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in recipes."""
    for name, recipe in RECIPES.items():
        register(name, recipe)


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
    recipe: Recipe = offers.get("recipe", name)
    allow_code_in(recipe.config)  # a recipe comes from a plugin that the user installed or named
    raw = merged(deepcopy(BASE), recipe.config)
    return configured(raw, {"label": name, **top}, settings, without, offers)
