"""The code of others that a run is made of: when it changes, the run is another one."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from caelab.catalogue import catalogue
from caelab.errors import CaelabError


def sources_of(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A digest for each kind and name in use that is not caelab's own; it follows the code and the version.

    The code is the plugin file, and the module that holds the thing itself. A module that these import does not count.
    """
    return {f"{kind} {name}": digest for kind, name in used if (digest := _digest(kind, name))}


def _digest(kind: str, name: str) -> str:
    offer = catalogue().offers.get((kind, name))
    if offer and offer.provider.startswith("caelab/"):
        return ""
    provider = offer.provider if offer else ""
    thing = None
    with suppress(CaelabError):  # what cannot be loaded is told where it is used
        thing = catalogue().get(kind, name)
    files = dict.fromkeys(file for file in (provider, _file_of(thing)) if file)
    parts = [_version(provider), *(_content(file) for file in files)]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if any(parts) else ""


def _file_of(thing: Any) -> str:
    try:
        return inspect.getfile(thing)
    except (TypeError, OSError):  # neither a class nor a function, or one typed into a shell
        return ""


def _version(provider: str) -> str:
    try:
        return version(provider.partition("/")[0])
    except (PackageNotFoundError, ValueError):
        return ""


@cache  # what counts is the code that this process has in memory, whatever becomes of the file meanwhile
def _content(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
