"""Trial options: options that a plugin is checked with, from a recipe, its class, or its types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code_in
from caelab.registry.signatures import checked_options, option_fields
from caelab.runs.config import RunConfig
from caelab.runs.recipes import base_config, load_recipe, recipe_config
from caelab.training.plugins import TrainingPlugins, make_regularizers

CANDIDATES: tuple[Any, ...] = (1.0, 2, 1, True, [2], [0.5])
"""Values for a type without constraints of its own, the first that fits."""


def trial_options(
    name: str, factory: Callable[..., Any], given: Mapping[str, Any] | None = None, skip: Collection[str] = ()
) -> dict[str, Any]:
    """A working set of options: the given ones, those of a recipe, of the class, of the types.

    A class that no recipe uses and whose types do not say enough gives a set in its attribute ``trial_options``.

    >>> def factory(weight: float, samples: int, tied: bool = True): ...
    >>> trial_options("mine", factory, {"samples": 3})
    {'weight': 1.0, 'samples': 3, 'tied': True}

    Raises:
        CaelabError: an option's type says nothing, or the given ones do not fit.
    """
    given, fields = dict(given or {}), option_fields(factory, skip)
    known = {**_recipe_options(name), **getattr(factory, "trial_options", {})}
    options = {key: value for key, value in known.items() if key in fields} | given
    if "weight" in fields and "weight" not in given:
        options["weight"] = 1.0
    for field in fields.values():
        if field.name not in options and field.default is inspect.Parameter.empty:
            options[field.name] = _plausible(name, field)
    allow_code_in(options)  # typed, or of an installed plugin, or of the one that is being checked
    return checked_options(factory, options, name, skip)


def _recipe_options(name: str) -> dict[str, Any]:
    """The options that the first recipe with this regularizer gives it."""
    for known in catalogue().names("recipe"):
        try:
            regularizers = load_recipe(known).config.get("regularizers", {})
        except CaelabError:  # a broken recipe is told of where it is asked for
            continue
        for label, block in regularizers.items():
            if block.get("kind", label) == name:
                return {key: value for key, value in block.items() if key != "kind"}
    return {}


def noisy_config(settings: Sequence[str] = (), **top: Any) -> RunConfig:
    """The config of the recipe that is offered first of those that corrupt their inputs; else of the base."""
    for name in (name for kind, name in catalogue().offers if kind == "recipe"):
        with suppress(CaelabError):  # a broken recipe is told of where it is asked for
            config = recipe_config(name, settings, **top)
            if TrainingPlugins(make_regularizers(config, catalogue())).corrupter:
                return config
    return base_config(settings, **top)


def _plausible(name: str, field: inspect.Parameter) -> Any:
    """A value that an option's type accepts.

    Raises:
        CaelabError: none of the candidates fits.
    """
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)
    for candidate in _candidates(field.annotation):
        try:
            adapter.validate_python(candidate, strict=not isinstance(candidate, float))
        except ValidationError:
            continue
        return candidate
    raise CaelabError(
        f"no value for {name}.{field.name} follows from its type; give it with --set {field.name}=VALUE, or as "
        f"trial_options in the class"
    )


def _candidates(annotation: Any) -> tuple[Any, ...]:
    """Whole numbers first for int; for a bounded float what lies inside, so 0.3 before 1."""
    base = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    return (2, 1, 0) if base is int else (0.3, *CANDIDATES)
