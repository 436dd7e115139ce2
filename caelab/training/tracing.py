"""Tracing hooks: what passes between the loop and plugins, with shapes in place of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy
from torch import Tensor

from caelab.jacobian.service import Jacobian
from caelab.streams import Streams

COUNTERS = ("epoch", "step")


class HookTrace:
    """Tells each call of a training hook: who answers it, with what arguments, and what came back.

    A call that differs from an earlier one only in its epoch and step is not told again, so that a run of many
    batches says as much as its first epoch. Nothing is computed and nothing is changed: a lazy Jacobian stays lazy.

    Args:
        tell: receives one line per distinct call.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.told: set[tuple[str, ...]] = set()

    def attach(self, manager: pluggy.PluginManager) -> None:
        """Listen to every call of this manager's hooks."""
        manager.add_hookcall_monitoring(self.before, self.after)

    def before(self, hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        """Log nothing before the answer is known."""

    def after(self, outcome: Any, hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        """Log a call that somebody answers, unless one like it was logged."""
        if not implementations:
            return
        names = ", ".join(str(each.plugin_name) for each in reversed(implementations))  # in the order of the calls
        given = ", ".join(f"{name} {described(value)}" for name, value in arguments.items() if name not in COUNTERS)
        signature = (hook, names, given, answer(outcome))
        if signature in self.told:
            return
        self.told.add(signature)
        when = ", ".join(f"{name} {arguments[name]}" for name in COUNTERS if name in arguments)
        self.tell(f"{hook}{f' ({when})' if when else ''} [{names}]: {given} -> {answer(outcome)}")


def answer(outcome: Any) -> str:
    """What a call returned, or the error it ended in."""
    if outcome.exception is not None:
        error = outcome.exception.__cause__ or outcome.exception
        return f"{type(error).__name__}: {error}"
    result = outcome.get_result()
    return "nothing" if result is None or result == [] else described(result)


def described(value: Any) -> str:
    """A value by its shape and type, without its numbers.

    >>> import torch
    >>> described(torch.zeros(2, 3)), described({"mine": torch.tensor(1.0), "loss": 0.5}), described([{"a": 1.0}])
    ('float32 (2, 3)', '{mine: float32 (), loss: float}', '[{a: float}]')
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {described(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(dict.fromkeys(map(described, value))) + "]"
    if isinstance(value, Jacobian):
        return repr(value)
    if isinstance(value, Streams):
        return Streams.__name__
    return "None" if value is None else type(value).__name__
