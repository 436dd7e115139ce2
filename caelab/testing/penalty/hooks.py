"""Checking that a plugin answers hooks, and that the training loop can use the answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.hookspecs import TrainingHooks
from caelab.registry.reserved import OWN_TERMS, is_own_metric
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.arguments import ON_A_COPY, UNCHANGED, changed_weights, check_arguments
from caelab.testing.penalty.functions import ONE_SCALAR
from caelab.testing.penalty.gradients import untrainable_terms, why_no_gradient
from caelab.testing.penalty.subjects import Subject, Trial
from caelab.training.answers import ChangedArgument

ADDS = "adds to the loss"

HOOKS = tuple(name for name in vars(TrainingHooks) if not name.startswith("_"))


def check_hooks(subject: Subject) -> Iterator[Check]:
    """Check that methods with names of hooks are marked as such, and that there is one."""
    methods = {name: getattr(subject.sample, name, None) for name in HOOKS}
    methods = {name: method for name, method in methods.items() if callable(method)}
    unmarked = [name for name, method in methods.items() if not hasattr(method, "caelab_impl")]
    remedy = f"write @hookimpl above def {unmarked[0]}: without it nobody calls it" if unmarked else _NO_HOOK
    found = f"not marked: {', '.join(unmarked)}" if unmarked else ", ".join(methods) or "none"
    yield judged("hooks", bool(methods) and not unmarked, "hooks of a run, each marked @hookimpl", found, remedy)


_NO_HOOK = f"a regularizer answers at least one hook, under @hookimpl: {', '.join(HOOKS)}"


def check_terms(subject: Subject) -> Iterator[Check]:
    """Check that the plugin runs, and that its terms are finite numbers with a gradient."""
    if not marked(subject, "penalty_terms"):
        yield Check("runs", "passed", "no error", _roles(subject))
        return
    trial = Trial(subject, subject.home)
    try:
        trial.gradient()
    except (CaelabError, RuntimeError) as error:
        row = changed_weights(subject) or _known_failure(trial, error)
        if row is None:
            raise
        yield row
        return
    if row := changed_weights(subject):
        yield row
        return
    run = _run(subject, trial)
    yield run
    if run.verdict == "passed":
        yield _adds(subject)
    if getattr(trial.instance, "note", "") == ONE_SCALAR:
        yield Check("shape", "reported", "shape ()", ONE_SCALAR, "sum or average without keepdim")


def _adds(subject: Subject) -> Check:
    """The row on terms that train nothing, of which a run refuses each."""
    why, idle = why_no_gradient(subject), untrainable_terms(subject)
    why = why or "; ".join(f"the term {name!r} {reason}" for name, reason in idle.items())
    names = f": {', '.join(idle)}" if idle else ""
    found = f"terms without a gradient, which train nothing{names}" if why else "so"
    return judged(ADDS, not why, "terms with a gradient", found, why)


def _known_failure(trial: Trial, error: Exception) -> Check | None:
    """The row on an error whose cause is plain."""
    if isinstance(error.__cause__, ChangedArgument):
        return Check("arguments left alone", "failed", UNCHANGED, str(error), ON_A_COPY)
    if isinstance(error, RuntimeError) and trial.memory.graphs:
        found = f"it keeps {', '.join(trial.memory.graphs)} with the graph of the step before, which is gone by then"
        return Check("the step after", "failed", "a gradient again", found, "keep x.detach() in place of x")
    if "modified by an inplace operation" in str(error):
        row = check_arguments(trial.subject)
        return row if row.verdict == "failed" else None
    return None


def _run(subject: Subject, trial: Trial) -> Check:
    names, value = [name for name in trial.terms() if name not in OWN_TERMS], trial.number()
    if not names:
        remedy = "end penalty_terms with return {name: term}"
        return Check("runs", "failed", "{name: scalar}", "penalty_terms returns None or an empty dictionary", remedy)
    if not math.isfinite(value):
        remedy = "look for a logarithm or square root of something negative, 0/0, a division by a norm"
        return Check("runs", "failed", "a finite number", f"{value}", remedy)
    return Check("runs", "passed", "finite terms of a loss", _roles(subject))


def marked(subject: Subject, hook: str) -> bool:
    """Whether a subject answers a hook."""
    return hasattr(getattr(subject.sample, hook, None), "caelab_impl")


def _roles(subject: Subject) -> str:
    roles = ["adds to the loss"] * subject.penalises + ["corrupts the input"] * subject.corrupts
    return " and ".join(roles) or "watches"


def check_metrics(subject: Subject) -> Iterator[Check]:
    """Check that ``extra_metrics`` returns numbers under names of its own."""
    if not marked(subject, "extra_metrics"):
        return
    trial = Trial(subject, subject.home)
    trial.model.eval()
    with torch.no_grad():
        answers = trial.plugins.call("extra_metrics", 1, model=trial.model, inputs=trial.clean)
    wrong = _wrong_metrics(answers[0] if answers else None)
    remedy = "return {name: float(number)}, under names that the core does not use: early stopping reads its own"
    yield judged("metrics", not wrong, "{name: number}, names of its own", wrong or "so", remedy)


def _wrong_metrics(metrics: Any) -> str:
    """What is wrong with an answer, if anything."""
    if not isinstance(metrics, Mapping):
        return type(metrics).__name__
    wrong = [f"{name} is a {type(value).__name__}" for name, value in metrics.items() if not is_number(value)]
    taken = [name for name in metrics if is_own_metric(str(name))]
    return ", ".join(wrong + [f"{name} is the core's own" for name in taken])


def is_number(value: Any) -> bool:
    """Whether the history can hold it."""
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
