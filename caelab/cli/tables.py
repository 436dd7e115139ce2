"""Terminal tables of what is installed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import click

from caelab.errors import CaelabError
from caelab.hookspecs import TrainingHooks
from caelab.registry.catalogue import HOOKS, Offer, catalogue
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.recipes import Recipe, load_recipe

log = logging.getLogger(__name__)


def plugin_rows() -> list[list[str]]:
    """Kind, name, options, provider and one line about it, for everything in the catalogue."""
    rows = [_row(offer) for offer in catalogue()]
    broken = [["(broken)", provider, "", provider, why] for provider, why in catalogue().failures.items()]
    return rows + broken


def hook_rows() -> list[list[str]]:
    """Hook, place in the order of the calls, who answers it, what it asks for; every hook, answered or not.

    For the training hooks these are all regularizers that are offered: a run calls those of its config, in this
    order whatever their labels are, as long as no two are of one class.
    """
    return [*_catalogue_rows(), *_training_rows()]


def _catalogue_rows() -> list[list[str]]:
    answers = catalogue().answers
    return _numbered(
        {hook: [(provider, "register", provider) for provider in answers.get(hook, [])] for hook in HOOKS.values()}
    )


def _training_rows() -> list[list[str]]:
    from caelab.training.plugins import ordered_manager

    offers = {offer.name: offer for offer in catalogue() if offer.kind == "regularizer"}
    manager = ordered_manager({name: thing for name, offer in offers.items() if (thing := _class_of(offer))})
    hooks = [name for name in vars(TrainingHooks) if not name.startswith("_")]
    called = {hook: reversed(getattr(manager.hook, hook).get_hookimpls()) for hook in hooks}
    return _numbered(
        {
            hook: [(each.plugin_name, ", ".join(each.argnames), offers[each.plugin_name].provider) for each in answers]
            for hook, answers in called.items()
        }
    )


def _class_of(offer: Offer) -> Any:
    """The class whose instances answer the hooks; None where a function makes them, or the plugin is broken."""
    from caelab.training.plugins import ordered_manager

    try:
        factory = offer.load()
        made = factory if inspect.isclass(factory) else get_type_hints(factory).get("return")
        ordered_manager({offer.name: made} if inspect.isclass(made) else {})
    except (CaelabError, NameError, TypeError) as error:
        log.warning("the regularizer %r of plugin %r is left out: %s", offer.name, offer.provider, error)
        return None
    return made if inspect.isclass(made) else None


def _numbered(answers: Mapping[str, Sequence[tuple[str, str, str]]]) -> list[list[str]]:
    rows = []
    for hook, those in answers.items():
        numbered = [[hook, str(place), *answer] for place, answer in enumerate(those, start=1)]
        rows += numbered or [[hook, "", "nobody", "", ""]]
    return rows


def _row(offer: Offer) -> list[str]:
    try:
        thing = _loaded(offer)
        return [offer.kind, offer.name, _options_text(offer.kind, thing), offer.provider, about(thing)]
    except CaelabError as error:
        return [offer.kind, offer.name, "", offer.provider, f"broken: {error}"]


def _loaded(offer: Offer) -> Any:
    """The thing, as far as its kind says what it must be."""
    if offer.kind == "recipe":
        return load_recipe(offer.name)
    if offer.kind == "analysis":
        from caelab.analysis.contract import load_analysis

        return load_analysis(offer.name)
    return offer.load()


def _options_text(kind: str, thing: Any) -> str:
    """The options with types and defaults, as ``weight: float, samples: int = 4``."""
    if isinstance(thing, Recipe):
        return ", ".join(f"{key}: {list(values)}" for key, values in thing.tune.items())
    parts = [part for key in ("measure", "compare") if callable(part := getattr(thing, key, None))]
    factory = parts[0] if parts else thing
    if not callable(factory) or isinstance(thing, click.Command):
        return ""
    fields = option_fields(factory, GIVEN_BY_CORE.get(kind, ())).values()
    return ", ".join(_option(field) for field in fields)


def _option(field: inspect.Parameter) -> str:
    default = "" if field.default is field.empty else f" = {field.default}"
    return f"{field.name}: {_type_name(field.annotation)}{default}"


def _type_name(annotation: Any) -> str:
    """A type as a person writes it.

    >>> from typing import Annotated
    >>> _type_name(list[Annotated[int, "at least 1"]]), _type_name(float | None), _type_name(tuple[int, ...])
    ('list[int]', 'float | None', 'tuple[int, ...]')
    """
    if hasattr(annotation, "__metadata__"):
        return _type_name(get_args(annotation)[0])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, UnionType) or origin is Union:
        return " | ".join(map(_type_name, arguments))
    if inspect.isclass(origin):
        return f"{origin.__name__}[{', '.join(map(_type_name, arguments))}]"
    if annotation is NoneType or annotation is ...:
        return "None" if annotation is NoneType else "..."
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation).replace("typing.", "")


def about(thing: Any) -> str:
    """The first sentence of a thing's docstring."""
    if isinstance(thing, Recipe):
        return thing.about
    text = inspect.getdoc(thing) or ""
    return " ".join(text.split("\n\n")[0].split())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on the terminal; tab-separated lines where the output is piped."""
    from rich.console import Console

    from caelab.cli.progress import table_of

    console = Console()
    if console.is_terminal:
        console.print(table_of(title, list(columns), [list(row) for row in rows]))
        return
    for row in [columns, *rows]:
        click.echo("\t".join(str(cell) for cell in row))
