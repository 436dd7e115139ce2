"""Functions of rooms above this one, by the names that are promised to users; looked up when they are called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def promised(name: str) -> Callable[..., Any]:
    """The function ``caelab.NAME``, for methods that stand for it: this room itself imports nothing from above."""
    function: Callable[..., Any] = getattr(import_module("caelab"), name)
    return function
