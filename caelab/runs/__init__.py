"""One run: its config, its recipe, its record on disk."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("Run", "load_run"):  # these stood here before the room had modules
        return getattr(import_module("caelab.runs.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
