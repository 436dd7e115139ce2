"""Checking a regularizer or a penalty function: all checks, in one report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import StringIO
from typing import Any

from torch import nn

from caelab.errors import CaelabError
from caelab.testing.certify import check_known_mistakes, check_values
from caelab.testing.outcome import Check, Report
from caelab.testing.penalty.conduct import check_conduct, check_memory
from caelab.testing.penalty.corruption import ALONE, check_corruption
from caelab.testing.penalty.declared import known_activations
from caelab.testing.penalty.functions import FunctionPenalty, title
from caelab.testing.penalty.gradients import check_gradients
from caelab.testing.penalty.hooks import ADDS, check_hooks, check_metrics, check_terms
from caelab.testing.penalty.interactions import check_interactions
from caelab.testing.penalty.memory import Memory
from caelab.testing.penalty.numerics import check_constants, check_numerics
from caelab.testing.penalty.observing import observe
from caelab.testing.penalty.reduction import check_reduction
from caelab.testing.penalty.settings import EXAMPLES, INPUTS, UNITS, one_thread
from caelab.testing.penalty.subjects import Subject, one_line
from caelab.testing.side_effects import hushed, noticed
from caelab.testing.trials import trial_options

MEND = (
    f"mend the plugin, which is looked at with {EXAMPLES} examples of {INPUTS} inputs (as an image 3 by 3) and {UNITS} "
    "units; in a run, --debug shows where the error is raised"
)

Checks = Callable[[Subject], Iterator[Check]]


def check_regularizer(
    factory: Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    *,
    claims: str | None = None,
    activations: Sequence[str] = (),
    name: str | None = None,
    raises: bool = True,
) -> Report:
    """Run every check on a regularizer.

    Args:
        factory: the class that a plugin registers, or anything that makes an instance.
        options: of the instance; what is not given follows from a recipe or from the types.
        claims: the known quantity it claims to be; by default what its attribute ``claims`` says.
        activations: those that it is for; by default what its attribute ``activations`` says, or all.
        name: what to call it.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report; ``print(report)`` shows the table.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: options that do not fit, or a claim that nobody knows, or that there is nothing to hold against.
    """
    name = name or getattr(factory, "__name__", "regularizer").strip("<>")
    subject = Subject(name, factory, trial_options(name, factory, options), claims, known_activations(activations))
    return reported(subject, raises)


def check_penalty(
    function: Callable[..., Any],
    claims: str | None = None,
    *,
    activations: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    raises: bool = True,
) -> Report:
    """Run every check on a penalty function of any script; its arguments are handed over by name.

    Names are ``model``, ``encode``, ``decode``, ``inputs`` (or ``x``), ``corrupted``, ``code`` (or ``h``),
    ``reconstruct`` (r = g∘f), ``reconstruction``, ``W`` (the weight of the only layer), ``W0`` (before training),
    ``encoder_jacobian``, ``reconstruction_jacobian``, ``epoch`` and ``streams``. All but ``corrupted`` belong to the
    clean batch. A parameter ``weight`` or ``lam`` is the factor in front of what is claimed. What the function keeps
    in its module or its closure is put back for every run that is looked at.
    A function for some activations only is taken for one of a single layer.

    >>> def decay(model):
    ...     return sum((p**2).sum() for p in model.parameters() if p.ndim == 2) / 2
    >>> report = check_penalty(decay, claims="weight decay", raises=False)
    >>> report.passed, any(check.found.endswith("0.5 of it") for check in report.failures)
    (False, True)

    Args:
        function: returns a scalar tensor.
        claims: the known quantity that it claims to be.
        activations: those that it is for; by default what its attribute ``activations`` says, or all.
        options: values of its further parameters.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: a parameter whose name says nothing.
    """
    return reported(penalty_subject(function, claims, activations=activations, options=options), raises)


def penalty_subject(
    function: Callable[..., Any],
    claims: str | None = None,
    *,
    activations: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Subject:
    """A penalty function as something to check.

    Raises:
        CaelabError: a parameter whose name says nothing, an option that is no parameter, an unknown activation.
    """
    make = partial(FunctionPenalty, function, dict(options or {}))
    kept = Memory(make(), nn.Module())  # a parameter whose name says nothing ends here

    def anew() -> FunctionPenalty:
        kept.restore()
        return make()

    return Subject(title(function), anew, {}, claims, known_activations(activations), may_crash=True)


def reported(subject: Subject, raises: bool) -> Report:
    """The report on a subject that can be checked at all.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: what is asked makes no sense.
    """
    if subject.claim_name and not subject.penalises:
        raise CaelabError(
            f"expected a penalty to be {subject.claim_name!r}, but {subject.name!r} adds nothing to the loss; leave "
            "the claim out"
        )
    subject.claim  # noqa: B018  an unknown claim is the caller's mistake, not a row
    if subject.penalises and not subject.weight:
        raise CaelabError(f"a penalty times 0 cannot be told from any other; give {subject.name!r} another weight")
    report = watched(subject)
    return report.assert_passed() if raises else report


def watched(subject: Subject) -> Report:
    """The report, with rows on what the plugin prints, and on what it changes for the whole process."""
    with one_thread(), hushed(StringIO()) as said, subject.recorder.throughout("a call"):
        report = examined(subject)
    report.checks.extend(noticed(subject.recorder, said))
    return report


def examined(subject: Subject) -> Report:
    """The report on a subject; a check that raises is a row that fails."""
    rows, mistakes = guarded(check_hooks, subject), list[str]()
    if not failed(rows):
        rows += guarded(check_terms, subject, "runs")
    if failed(rows) - {ADDS}:
        return Report(subject.name, rows)
    if subject.penalises:
        rows += guarded(check_memory, subject)
        if not subject.recalled.put_back:
            return Report(subject.name, rows)
        rows += [*guarded(_check_epochs, subject), *guarded(check_constants, subject)]
        found, mistakes = certified(subject)
        rows += found
        for checks in (check_reduction, check_conduct, check_numerics):
            rows += guarded(checks, subject)
    if subject.corrupts:
        rows += guarded(check_corruption, subject)
    rows += guarded(check_metrics, subject)
    if not failed(rows) & {ADDS, ALONE} and not subject.recorder.changed:  # with those no run goes on
        rows += guarded(check_interactions, subject)
    return Report(subject.name, rows, mistakes)


def failed(rows: Sequence[Check]) -> set[str]:
    """The names of the rows that failed."""
    return {row.name for row in rows if row.verdict == "failed"}


def _check_epochs(subject: Subject) -> Iterator[Check]:
    """Whether the value changes with the epoch, and in which epoch it is looked at."""
    if subject.stated_epoch:
        yield Check("epoch", "reported", "the epoch to look at", f"{subject.stated_epoch}, as it says")
    elif subject.by_epoch:
        told = ", ".join(f"{value:.4g} in {epoch}" for epoch, value in subject.by_epoch.items())
        found = f"other values in other epochs: {told}; looked at in epoch {subject.epoch}"
        yield Check("epoch", "reported", "the same in every epoch", found, "say in which epoch to look, epoch = N")


def certified(subject: Subject) -> tuple[list[Check], list[str]]:
    """Value, gradient, and the name of the mistake where one of them fails."""
    observations = [observe(subject, setting) for setting in subject.settings]
    rows = [*check_values(subject, observations), *check_gradients(subject, observations)]
    if all(row.verdict != "failed" for row in rows):
        return rows, []
    named, mistakes = check_known_mistakes(subject, observations)
    return [*named, *rows], mistakes


def guarded(checks: Checks, subject: Subject, name: str = "") -> list[Check]:
    """The rows of some checks; what raises ends them with a row that fails."""
    rows: list[Check] = []
    try:
        rows.extend(checks(subject))
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        name = name or checks.__name__.removeprefix("check_")
        rows.append(Check(name, "failed", "no error", one_line(error), MEND))
    return rows
