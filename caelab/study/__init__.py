"""Many runs: plan, executors, workers, tuning."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("Study",):  # these stood here before the room had modules
        return getattr(import_module("caelab.study.study"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
