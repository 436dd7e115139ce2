"""Attributes by which a plugin describes itself, on its class, on an instance, or on its function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from caelab.errors import CaelabError, unknown_name
from caelab.testing.penalty.settings import ALL_ACTIVATIONS

MISSING = object()
BEHIND = ("func", "__wrapped__", "__self__", "function")  # of a partial, a wrapper, a method, a plugin of a function
ALIASES = {"swish": "silu", "linear": "identity", "logistic": "sigmoid"}


def declared(things: Iterable[Any], name: str, default: Any = None) -> Any:
    """The attribute of the first thing that has it, or of what a partial, a wrapper or a method stands for.

    >>> from functools import partial
    >>> def loss(code): ...
    >>> loss.over_batch = True
    >>> declared([partial(loss), None], "over_batch")
    True
    """
    for thing in things:
        if (found := _of(thing, name)) is not MISSING:
            return found
    return default


def _of(thing: Any, name: str, depth: int = 4) -> Any:
    found = getattr(thing, name, MISSING)
    if found is not MISSING or not depth:
        return found
    behind = [getattr(thing, place, None) for place in BEHIND]
    return next(
        (f for each in behind if each is not None and (f := _of(each, name, depth - 1)) is not MISSING), MISSING
    )


def known_activations(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names as models take them; one alone counts too, and so do torch's own spellings.

    >>> known_activations(["sigmoid", "leaky_relu", "LeakyReLU", "swish"])
    ('sigmoid', 'leaky-relu', 'leaky-relu', 'silu')

    Raises:
        CaelabError: there is none of that name; the nearest is offered.
    """
    plain = {_plain(name): name for name in ALL_ACTIVATIONS} | ALIASES
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if _plain(str(name)) not in plain:
            raise unknown_name("activation", str(name), ALL_ACTIVATIONS)
    return tuple(plain[_plain(name)] for name in names)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def checked_epoch(subject: str, epoch: Any) -> int | None:
    """The attribute ``epoch`` of a plugin, if it is a whole number; None and 0 say nothing.

    Raises:
        CaelabError: it is no whole number.
    """
    if epoch is None or (epoch == 0 and isinstance(epoch, int)):
        return None
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise CaelabError(
            f"expected a whole number, at least 1, as the attribute epoch of {subject!r}, the epoch at which it is "
            f"checked, but {epoch!r} came"
        )
    return epoch


def checked_flag(subject: str, name: str, flag: Any) -> bool:
    """The attribute of that name as true or false, as ``over_batch``.

    Raises:
        CaelabError: it is neither true nor false.
    """
    if not isinstance(flag, (bool, int)):
        raise CaelabError(f"expected True or False as the attribute {name} of {subject!r}, but {flag!r} came")
    return bool(flag)
