"""The built-in trackers: runs in TensorBoard and MLflow, offered through the same hooks as anyone's.

A tracker is an observer that only watches: it changes neither the weights nor the name of a run. Its library is an
extra, and is imported when the tracker is made.
"""

from collections.abc import Callable
from typing import Any

from caelab import hookimpl

__all__ = ["MLflow", "TensorBoard"]

TRACKERS = {
    "mlflow": "caelab_trackers.ml_flow:MLflow",
    "tensorboard": "caelab_trackers.tensor_board:TensorBoard",
}


@hookimpl
def register_trackers(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in trackers."""
    for name, target in TRACKERS.items():
        register(name, target)


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        module, _, attribute = TRACKERS[name.lower()].partition(":")
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
