"""Checking the answers of hooks, and naming the plugin that gave each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

import pluggy
from torch import Tensor

from caelab.errors import CaelabError, reason, shown
from caelab.process.exits import EndsTheProgram, ends, running
from caelab.registry.reserved import OWN_TERMS, is_own_metric
from caelab.training.tracing import described
from caelab.training.watch import ChangedArgument as ChangedArgument
from caelab.training.watch import Interference

LONGEST = 100  # letters of the name of a term or a metric
INSTEAD = {
    "terms": "answer penalty_terms to add a term",
    "metrics": "answer extra_metrics to add a metric",
    "history": "answer extra_metrics to add a metric",
}


class WrongAnswer(Exception):
    """The answer of a hook is of the wrong kind: what came, what was expected, and what to do."""


class PluginFailure(Exception):
    """One plugin of a run failed; what it raised, or answered wrongly, is the cause."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin


def told(plugin: str, hook: str, epoch: int | None, error: BaseException) -> CaelabError:
    """The sentence for the user: plugin, hook, epoch, and what happened."""
    where = f"{hook} at epoch {epoch}" if epoch is not None else hook
    if isinstance(error, ChangedArgument):
        names, first = " and ".join(map(repr, error.names)), error.names[0]
        instead = INSTEAD.get(first, f"let it work on a copy, as {first}.clone() of a tensor")
        return CaelabError(
            f"plugin {plugin!r} changes its argument {names} in place in {where}; others are handed the same one, so "
            f"{instead}"
        )
    if isinstance(error, WrongAnswer):
        return CaelabError(f"plugin {plugin!r} answers {where} with {error}")
    if isinstance(error, Interference):
        return CaelabError(f"plugin {plugin!r} in {where} {error}")
    if isinstance(error, CaelabError):
        return CaelabError(f"plugin {plugin!r} in {where}: {error}")
    if isinstance(error, EndsTheProgram):
        return CaelabError(f"plugin {plugin!r} in {where} ends the whole program with {error}; raise an error instead")
    return CaelabError(f"plugin {plugin!r} failed in {where}: {reason(error)}")


class Watcher(Protocol):
    """The protocol of what calls plugins and sees what they leave behind."""

    def call(
        self, plugin: str, hook: str, names: Sequence[str], function: Callable[..., Any], given: Sequence[Any]
    ) -> Any:
        """The plugin's answer."""

    def check_term(self, plugin: str, name: str, term: Tensor) -> str:
        """Why a term would train nothing, or the empty text."""


def name_failures(
    manager: pluggy.PluginManager, hooks: Mapping[str, Any], watcher: Callable[[], Watcher | None]
) -> None:
    """Make every implementation raise ``PluginFailure`` with its plugin's name, from now on.

    Causes are what it raised, a wrong answer, and an argument that it changed in place.

    Args:
        manager: of the hooks.
        hooks: their names.
        watcher: who looks on at a call, if anybody does.
    """
    for hook in hooks:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if not (implementation.wrapper or implementation.hookwrapper):
                implementation.function = _named(implementation, hook, CHECKS.get(hook, _anything), watcher)


def _named(
    implementation: pluggy.HookImpl, hook: str, check: Callable[[Any], Any], watcher: Callable[[], Watcher | None]
) -> Callable[..., Any]:
    function, names = implementation.function, implementation.argnames
    plugin = str(implementation.plugin_name)
    whose = f"plugin {plugin!r} in {hook}"

    def asked(arguments: Sequence[Any]) -> Any:
        watch = watcher()
        if watch is None:
            return check(function(*arguments))
        found = check(watch.call(plugin, hook, names, function, arguments))
        if hook == "penalty_terms":
            refuse_untrainable(found, plugin, watch)
        return found

    def answer(*arguments: Any) -> Any:
        running[0] = whose
        before = [_state(argument) for argument in arguments]
        try:
            answered = asked(arguments)
            changed = [n for n, old, new in zip(names, before, arguments, strict=True) if old != _state(new)]
            if changed:
                raise ChangedArgument(changed)
            return answered
        except BaseException as error:  # a plugin may fail in any way
            cause = _cause(error, plugin)
            if cause is None:
                raise
            raise PluginFailure(plugin) from cause
        finally:
            running[0] = ""

    return answer


def _cause(error: BaseException, plugin: str) -> BaseException | None:
    """What is told of an error with the plugin's name; None where the error goes on as it is.

    So goes the user's interrupt, what others ask for by its kind, as a full disk, and a sentence that names the plugin.
    """
    if isinstance(error, CaelabError):
        return error if type(error) is CaelabError and repr(plugin) not in str(error) else None
    if isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit):
        return EndsTheProgram(ends(error)) if ends(error) else None
    return error


def _state(argument: Any) -> Any:
    """What differs once an argument was changed in place; of most kinds nothing is known."""
    if isinstance(argument, Tensor):
        return 0 if argument.is_inference() else argument._version
    if isinstance(argument, dict):
        return dict(argument)
    return [_state(each) for each in argument] if isinstance(argument, list) else None


def refuse_untrainable(terms: Mapping[str, Tensor], plugin: str, watch: Watcher) -> None:
    """Refuse a term that would be printed and train nothing.

    Raises:
        WrongAnswer: the term's name, and what to use instead.
    """
    for name, term in terms.items():
        reason = watch.check_term(plugin, name, term)
        if reason:
            raise WrongAnswer(f"the term {name!r}, which {reason}")


def _anything(answer: Any) -> Any:
    return answer


def _checked_terms(answer: Any) -> dict[str, Tensor]:
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
        if not _is_real(term):
            raise WrongAnswer(f"{described(answer)}, but a term is a real number; {_real(term, name)}")
    return dict(answer)


def _is_real(value: Tensor) -> bool:
    """Whether a tensor holds numbers that are added to others, as floats, without loss and without a device's help."""
    return not (value.is_complex() or value.is_meta or (value.is_floating_point() and value.element_size() < 2))


def _real(value: Tensor, name: str) -> str:
    if value.is_complex():
        return f"take the real part, or the square of the absolute value, of {name!r}"
    return f"a tensor on meta holds none, compute {name!r}" if value.is_meta else f"compute {name!r} in float32"


def _checked_metrics(answer: Any) -> dict[str, float]:
    """The numbers that one plugin measured; a scalar tensor is converted.

    Raises:
        WrongAnswer: it is no dictionary of numbers, or a name is the core's own.
    """
    _refuse_no_mapping(answer, "number", "where nothing is measured")
    for name, value in answer.items():
        if isinstance(value, Tensor) and value.numel() == 1 and not _is_real(value):
            raise WrongAnswer(f"{described(answer)}, but a metric is a real number; {_real(value, name)}")
        if is_own_metric(name):
            raise WrongAnswer(f"the name {name!r}, which is the core's own metric; choose another name")
        if not (isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)):
            raise WrongAnswer(f"{described(answer)}, but a metric is a number; make {name!r} one with float(...)")
    return {name: float(value) for name, value in answer.items()}


def _refuse_no_mapping(answer: Any, what: str, otherwise: str) -> None:
    if not (isinstance(answer, Mapping) and all(isinstance(name, str) for name in answer)):
        raise WrongAnswer(f"{described(answer)}, but {{name: {what}}} is expected; return {{}} {otherwise}")
    for name in answer:
        _refuse_odd_name(name)


def _refuse_odd_name(name: str) -> None:
    """Names become columns of tables and are printed, so they hold nothing that steers a terminal or names a place."""
    if not (name.strip() == name != "" and name.isprintable() and len(name) <= LONGEST and not set(name) & set("/\\")):
        raise WrongAnswer(
            f"the name {shown(name)}; a name has letters that can be printed, at most {LONGEST}, and no slash"
        )


def checked_batch(answer: Any, clean: Tensor) -> Tensor:
    """The corrupted batch, if it has the shape and type of the clean one.

    Raises:
        WrongAnswer: it is no tensor of the clean batch's shape and type.
    """
    same = isinstance(answer, Tensor) and (answer.shape, answer.dtype) == (clean.shape, clean.dtype)
    if not same:
        raise WrongAnswer(f"{described(answer)}, but a corrupted copy of the batch {described(clean)} is expected")
    if (answer.device, answer.layout) != (clean.device, clean.layout):
        raise WrongAnswer(
            f"a batch on {answer.device}, {answer.layout}, but one on {clean.device}, {clean.layout}, is expected"
        )
    batch: Tensor = answer
    return batch


CHECKS: dict[str, Callable[[Any], Any]] = {"penalty_terms": _checked_terms, "extra_metrics": _checked_metrics}
