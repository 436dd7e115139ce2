"""Things that are registered in the running session alone: a penalty or an analysis from a notebook's cell."""

from __future__ import annotations

from typing import Any

from caelab.errors import CaelabError, unknown_name
from caelab.registry.arguments import text_of
from caelab.registry.catalogue import HOOKS, SESSION, Offer, catalogue, checked_name
from caelab.registry.object_fingerprints import fingerprint


def register(kind: str, name: str, thing: Any) -> Any:
    """Offer something in this process alone, under a name that configs, studies and comparisons may use.

    Registering it again replaces it, so that a cell can be run again. Other processes do not know it:
    ``caelab.compare`` then trains in this process, and a command needs a plugin file.

    >>> register("recipe", "light", {"training": {"epochs": 2}})["training"]
    {'epochs': 2}

    Args:
        kind: ``"regularizer"``, ``"analysis"``, ``"model"``, ``"dataset"``, ``"recipe"``, ``"claim"`` or another kind
            that a plugin may offer.
        name: letters, digits, ``_``, ``-``, ``+`` and ``.``.
        thing: what a plugin's hook would register: the class of a regularizer, an object with ``measure`` and
            ``draw``, a function that makes a model, a mapping or a ``caelab.Recipe``.

    Returns:
        The thing.

    Raises:
        CaelabError: an unknown kind, a name that cannot be one, or that a plugin has taken; or a thing that holds what
            cannot be told from another of its kind, as an open file.
    """
    if text_of(kind, "the kind") not in HOOKS:
        raise unknown_name("kind", kind, HOOKS)
    try:
        checked_name(name, kind)
    except ValueError as error:
        raise CaelabError(str(error)) from error
    taken = catalogue().offers.get((kind, name))
    if taken is not None and taken.provider != SESSION:
        raise CaelabError(f"the {kind} {name!r} is offered by {taken.provider!r}; give yours another name")
    catalogue().offers[kind, name] = Offer(kind, name, SESSION, thing, fingerprint(thing, f"the {kind} {name!r}"))
    return thing
