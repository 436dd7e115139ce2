"""Checking arguments of the Python interface: a wrong type is refused in one sentence."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from caelab.errors import CaelabError, shown

if TYPE_CHECKING:
    from torch import Tensor


def path_of(given: Any, what: str) -> Path:
    """The ``Path`` of an argument that was given as a text or as a ``Path``.

    Raises:
        CaelabError: it is neither.
    """
    try:
        return Path(given)
    except TypeError:
        raise CaelabError(f"expected {what} as a text or a pathlib.Path, but {shown(given)} came") from None


def text_of(given: Any, what: str) -> str:
    """Check that an argument is a text, and return it.

    Raises:
        CaelabError: it is none.
    """
    if not isinstance(given, str):
        raise CaelabError(f"expected {what} as a text, but {shown(given)} came")
    return given


def rows_of(given: Any, what: str) -> list[Any]:
    """An argument as a list; a text or a path counts as a list of one.

    Raises:
        CaelabError: it is no row.
    """
    if isinstance(given, str | os.PathLike):
        return [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable) or isinstance(given, type):
        raise CaelabError(f"expected {what} as a list, but {shown(given)} came")
    try:
        return [*given]
    except TypeError:  # an array without axes
        raise CaelabError(f"expected {what} as a list, but {shown(given)} came") from None


def texts_of(given: Any, what: str) -> list[str]:
    """An argument as a list of texts.

    Raises:
        CaelabError: it is no row, or something in it is no text.
    """
    return [text_of(each, f"each of {what}") for each in rows_of(given, what)]


def by_label(given: Any, what: str, *, names: bool = False) -> dict[str, Any]:
    """An argument as a mapping of labels to things; empty for None.

    Args:
        given: a mapping; where ``names`` are taken too, a name or a list of them, which stand for no options.
        what: it is, for a message.
        names: whether names alone will do.

    Raises:
        CaelabError: it is none of these, or a label is no text.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {text_of(label, f"the label of each of {what}"): each for label, each in given.items()}
    if names and isinstance(given, str | list | tuple):
        return {name: {} for name in texts_of(given, what)}
    also = ", a name or a list of names" if names else ""
    raise CaelabError(f"expected {what} as a dictionary by label{also}, but {shown(given)} came")


def function_of(given: Any, what: str) -> Any:
    """Check that an argument can be called, and return it.

    Raises:
        CaelabError: it cannot.
    """
    if not callable(given):
        raise CaelabError(f"expected {what} as a function, but {shown(given)} came")
    return given


def tensor_of(given: Any, what: str) -> Tensor:
    """Check that an argument is a tensor, and return it.

    Raises:
        CaelabError: it is none.
    """
    if not hasattr(given, "is_sparse") or isinstance(given, type):  # without importing torch
        raise CaelabError(f"expected {what} as a tensor, but {shown(given)} came; torch.as_tensor makes one")
    return cast("Tensor", given)


def count_of(given: Any, what: str) -> int:
    """Check that an argument is a whole number of at least 1, and return it.

    Raises:
        CaelabError: it is none.
    """
    return _whole(given, f"{what} as a whole number of at least 1", 1)


def seed_of(given: Any) -> int:
    """Check that an argument is a seed, a whole number, and return it.

    Raises:
        CaelabError: it is no whole number of at least 0.
    """
    return _whole(given, "a seed as a whole number of at least 0", 0)


def _whole(given: Any, expected: str, least: int) -> int:
    try:
        number = least - 1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = least - 1
    if number < least:
        raise CaelabError(f"expected {expected}, but {shown(given)} came")
    return number
