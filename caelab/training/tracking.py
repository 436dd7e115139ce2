"""Trackers: observers that write what a run measures where people already look, asked for as NAME:TARGET."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from caelab.errors import CaelabError
from caelab.registry.arguments import texts_of
from caelab.registry.catalogue import catalogue
from caelab.training.watching import merely_watches

log = logging.getLogger(__name__)


def trackers_of(asked: Iterable[str]) -> dict[str, object]:
    """The trackers of one run, by label.

    Raises:
        CaelabError: a text is not NAME:TARGET, no plugin offers such a tracker, its library is not installed, it cannot
            be made, or it could change the run.
    """
    return {f"tracker {text}": _made(text) for text in dict.fromkeys(texts_of(asked, "trackers"))}


def _made(text: str) -> object:
    name, _, target = text.partition(":")
    if not target:
        raise CaelabError(
            f"expected a tracker as NAME:TARGET, such as tensorboard:logs, but {text!r} came; caelab plugins lists the "
            "trackers"
        )
    factory = catalogue().get("tracker", name)
    try:
        made: object = factory(target)
    except CaelabError:
        raise
    except Exception as error:  # a plugin may fail in any way
        raise CaelabError(
            f"the tracker {name!r} cannot be made for {target!r}: {type(error).__name__}: {error}"
        ) from error
    if not merely_watches(name, made):
        raise CaelabError(
            f"the tracker {name!r} asks for the model, or answers a hook whose answer counts, so it could change the "
            "run; use only config, name, epoch, step, terms, metrics and history"
        )
    return made


def trackers_in_worker(asked: Iterable[str]) -> Mapping[str, object]:
    """The same in a worker, where nothing about tracking may end a run: what cannot be made is told and left out."""
    found: dict[str, object] = {}
    for text in asked:
        try:
            found |= trackers_of([text])
        except CaelabError as error:
            log.warning("%s; this run is not tracked there", error)
    return found


def settled(text: str) -> str:
    """NAME:TARGET with a path that holds in any working folder; an address of another scheme than sqlite stays.

    >>> settled("mlflow:http://127.0.0.1:5000")
    'mlflow:http://127.0.0.1:5000'
    """
    name, _, target = text.partition(":")
    scheme, slashes, path = target.rpartition("://")
    if not target or scheme not in ("", "sqlite"):
        return text
    place = Path(path[1:] if scheme else path).expanduser().absolute()
    return f"{name}:{scheme}{slashes}{'/' if scheme else ''}{place}"
