"""What the hooks of a run may answer, and whose answer it was: pluggy itself keeps no names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import pluggy
from torch import Tensor

from caelab.errors import CaelabError
from caelab.training.tracing import described

OWN_TERMS = ("reconstruction", "training_loss")
OWN_METRICS = ("epoch", "valid_reconstruction")


class WrongAnswer(Exception):
    """What came, what was expected, and what to do."""


class PluginFailure(Exception):
    """One plugin of a run failed; what it raised, or answered wrongly, is the cause."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin


class ChangedArgument(Exception):
    """A plugin changed, in place, what all plugins of the run are handed."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


def told(plugin: str, hook: str, epoch: int | None, error: Exception) -> CaelabError:
    """The sentence for the user: plugin, hook, epoch, and what happened."""
    where = f"{hook} at epoch {epoch}" if epoch is not None else hook
    if isinstance(error, ChangedArgument):
        names = " and ".join(map(repr, error.names))
        return CaelabError(
            f"plugin {plugin!r} changes its argument {names} in place in {where}; others are handed the same one, so "
            f"let it work on a copy, as {error.names[0]}.clone() of a tensor"
        )
    if isinstance(error, WrongAnswer):
        return CaelabError(f"plugin {plugin!r} answers {where} with {error}")
    return CaelabError(f"plugin {plugin!r} failed in {where}: {type(error).__name__}: {error}")


def name_failures(manager: pluggy.PluginManager, hooks: Mapping[str, Any]) -> None:
    """From now on every implementation raises ``PluginFailure`` with its plugin's name.

    Causes are what it raised, a wrong answer, and an argument that it changed in place.
    """
    for hook in hooks:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if not (implementation.wrapper or implementation.hookwrapper):
                implementation.function = _named(implementation, CHECKS.get(hook, _anything))


def _named(implementation: pluggy.HookImpl, check: Callable[[Any], Any]) -> Callable[..., Any]:
    function, names = implementation.function, implementation.argnames

    def answer(*arguments: Any) -> Any:
        before = [_state(argument) for argument in arguments]
        try:
            answered = check(function(*arguments))
            changed = [n for n, old, new in zip(names, before, arguments, strict=True) if old != _state(new)]
            if changed:
                raise ChangedArgument(changed)
            return answered
        except CaelabError:
            raise
        except Exception as error:  # a plugin may fail in any way
            raise PluginFailure(str(implementation.plugin_name)) from error

    return answer


def _state(argument: Any) -> Any:
    """What differs once an argument was changed in place; of most kinds nothing is known."""
    if isinstance(argument, Tensor):
        return 0 if argument.is_inference() else argument._version
    if isinstance(argument, dict):
        return dict(argument)
    return [_state(each) for each in argument] if isinstance(argument, list) else None


def _anything(answer: Any) -> Any:
    return answer


def checked_terms(answer: Any) -> dict[str, Tensor]:
    """The terms that one plugin adds to the loss.

    Raises:
        WrongAnswer: it is no dictionary of scalar tensors, or a name is the core's own.
    """
    _refuse_no_mapping(answer, "weighted scalar tensor", "where there is no term")
    for name, term in answer.items():
        if name in OWN_TERMS:
            raise WrongAnswer(f"the name {name!r}, which is the model's own term; choose another name")
        if not isinstance(term, Tensor):
            raise WrongAnswer(
                f"{described(answer)}, but a term is a scalar tensor; a number has no gradient, keep {name!r} a tensor"
            )
        if term.ndim:
            raise WrongAnswer(
                f"{described(answer)}, but a term is a scalar tensor; sum {name!r} over its entries and average over "
                "the examples"
            )
    return dict(answer)


def checked_metrics(answer: Any) -> dict[str, float]:
    """The numbers that one plugin measured; a scalar tensor is converted.

    Raises:
        WrongAnswer: it is no dictionary of numbers, or a name is the core's own.
    """
    _refuse_no_mapping(answer, "number", "where nothing is measured")
    for name, value in answer.items():
        if name in OWN_METRICS or name.startswith("train_"):
            raise WrongAnswer(f"the name {name!r}, which is the core's own metric; choose another name")
        if not (isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)):
            raise WrongAnswer(f"{described(answer)}, but a metric is a number; make {name!r} one with float(...)")
    return {name: float(value) for name, value in answer.items()}


def _refuse_no_mapping(answer: Any, what: str, otherwise: str) -> None:
    if not (isinstance(answer, Mapping) and all(isinstance(name, str) for name in answer)):
        raise WrongAnswer(f"{described(answer)}, but {{name: {what}}} is expected; return {{}} {otherwise}")


def checked_batch(answer: Any, clean: Tensor) -> Tensor:
    """A corrupted batch.

    Raises:
        WrongAnswer: it is no tensor of the clean batch's shape and type.
    """
    same = isinstance(answer, Tensor) and (answer.shape, answer.dtype) == (clean.shape, clean.dtype)
    if not same:
        raise WrongAnswer(f"{described(answer)}, but a corrupted copy of the batch {described(clean)} is expected")
    batch: Tensor = answer
    return batch


CHECKS: dict[str, Callable[[Any], Any]] = {"penalty_terms": checked_terms, "extra_metrics": checked_metrics}
