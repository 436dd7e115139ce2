"""What every tracker has in common: it watches, it never stops a run, and it logs no epoch twice."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import isfinite
from typing import Any

from caelab import CaelabError, hookimpl
from caelab.process.settings import ALL, Found

log = logging.getLogger(__name__)

OWN = "epoch"  # the metric that counts, and is none


class Tracker:
    """An observer that writes each epoch's metrics into a store; a store that fails is told once, and the run goes on.

    A subclass says how to ``start`` (or find) a run in its store, how to ``write`` one epoch, and how to ``finish``.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.failed = False
        self.logged: set[int] = set()

    def start(self, name: str, config: Any) -> set[int]:
        """Begin a run in the store, or find it there; return the epochs that it holds already."""
        raise NotImplementedError

    def write(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write one epoch so that it is in the store when this returns."""
        raise NotImplementedError

    def finish(self) -> None:
        """Say that the run is complete."""
        raise NotImplementedError

    @hookimpl
    def before_training(self, config: Any, name: str) -> None:
        """Begin, or go on with, the run of this name."""
        self.failed, self.logged = False, set()
        self._try(lambda: self.logged.update(self.start(name, config)))

    @hookimpl
    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the terms and metrics of one epoch."""
        self._log(epoch, metrics)

    @hookimpl
    def after_training(self, history: Sequence[Mapping[str, float]]) -> None:
        """Log what is not there yet: the epochs before this tracker was asked for; then end."""
        for metrics in history:
            self._log(int(metrics[OWN]), metrics)
        self._try(self.finish)

    def _log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch in self.logged:
            return
        finite = {name: value for name, value in metrics.items() if name != OWN and isfinite(value)}
        self._try(lambda: self.write(epoch, finite))
        self.logged.add(epoch)

    def _try(self, call: Callable[[], Any]) -> None:
        """Do something with the store; leave the settings of the process, and its random numbers, as they were."""
        if self.failed:
            return
        found = Found(ALL)
        try:
            with warnings.catch_warnings(action="ignore"):
                call()
        except Exception as error:  # a store may fail in any way
            self.failed = True
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            log.warning(
                "the tracker %s cannot write to %s (%s: %s), so the rest of this run is not tracked; the run goes on",
                *(type(self).__name__, self.target, type(error).__name__, reason),
            )
        finally:
            found.put_back(found.changes())


def needed(module: str, extra: str) -> Any:
    """A module of an optional library.

    Raises:
        CaelabError: it is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return import_module(module)
    except ImportError as error:
        raise CaelabError(
            f"the tracker {extra!r} needs a library that is not installed ({error}); install it with: "
            f"pip install caelab[{extra}]"
        ) from error


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names.

    >>> flat({"model": {"kind": "rbm", "hidden": [300]}, "seed": 1})
    {'model.kind': 'rbm', 'model.hidden': [300], 'seed': 1}
    """
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves
