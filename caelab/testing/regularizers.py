"""All checks of one regularizer, or of one penalty function, in a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from caelab.errors import CaelabError
from caelab.testing.certify import check_gradients, check_museum, check_reach, check_values, observe
from caelab.testing.company import check_company
from caelab.testing.conduct import check_conduct
from caelab.testing.corruption import check_corruption
from caelab.testing.functions import FunctionPenalty
from caelab.testing.numerics import check_numerics
from caelab.testing.outcome import Check, Report
from caelab.testing.reduction import check_reduction
from caelab.testing.settings import one_thread
from caelab.testing.subjects import Subject, Trial
from caelab.testing.trials import trial_options

Checks = Callable[[Subject], Iterator[Check]]


def check_regularizer(
    factory: Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    *,
    claims: str | None = None,
    name: str | None = None,
    raises: bool = True,
) -> Report:
    """Run every check on a regularizer.

    Args:
        factory: the class that a plugin registers, or anything that makes an instance.
        options: of the instance; what is not given follows from a recipe or from the types.
        claims: the known quantity it claims to be; by default what its attribute ``claims`` says.
        name: what to call it.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report; ``print(report)`` shows the table.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: options that do not fit, or a claim that nobody knows.
    """
    name = name or getattr(factory, "__name__", "regularizer").strip("<>")
    subject = Subject(name, factory, trial_options(name, factory, options), claims)
    subject.claim  # noqa: B018  an unknown claim is the caller's mistake, not a row
    with one_thread():
        report = examined(subject)
    return report.assert_passed() if raises else report


def check_penalty(
    function: Callable[..., Any],
    claims: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    raises: bool = True,
) -> Report:
    """Run every check on a penalty function of any script; its arguments are handed over by name.

    Names are ``model``, ``encode``, ``decode``, ``inputs`` (or ``x``), ``corrupted``, ``code`` (or ``h``),
    ``reconstruct`` (r = g∘f), ``reconstruction``, ``W`` (the weight of the only layer) and ``streams``.

    >>> def decay(model):
    ...     return sum((p**2).sum() for p in model.parameters() if p.ndim == 2) / 2
    >>> report = check_penalty(decay, claims="weight decay", raises=False)
    >>> report.passed, {check.found.partition(", ")[2] for check in report.failures}
    (False, {'0.5 of it'})

    Args:
        function: returns a scalar tensor.
        claims: the known quantity that it claims to be.
        options: values of its further parameters.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: a parameter whose name says nothing.
    """
    make = partial(FunctionPenalty, function, dict(options or {}))
    make()  # a parameter whose name says nothing ends here
    subject = Subject(getattr(function, "__name__", "penalty"), make, {}, claims)
    subject.claim  # noqa: B018
    with one_thread():
        report = examined(subject)
    return report.assert_passed() if raises else report


def examined(subject: Subject) -> Report:
    """The report on a subject; a check that raises is a row that fails."""
    rows: list[Check] = []
    try:
        if subject.penalises:
            Trial(subject, subject.home).gradient()
    except Exception as error:  # a plugin may fail in any way
        return Report(subject.name, [raised("runs", error)])
    rows.append(Check("runs", "passed", "terms of a loss with a gradient", _roles(subject)))
    mistakes: list[str] = []
    if subject.penalises:
        found, mistakes = certified(subject)
        rows += found
        for checks in (check_reduction, check_conduct, check_numerics):
            rows += guarded(checks, subject)
    if subject.corrupts:
        rows += guarded(check_corruption, subject)
    rows += guarded(check_company, subject)
    return Report(subject.name, rows, mistakes)


def certified(subject: Subject) -> tuple[list[Check], list[str]]:
    """Value, gradient, and the name of the mistake where one of them fails."""
    try:
        observations = [observe(subject, setting) for setting in subject.settings]
    except Exception as error:  # a plugin may fail in any way
        return [raised("value", error)], []
    rows = [*check_values(subject, observations), *check_gradients(subject, observations), *check_reach(subject)]
    if all(row.verdict != "failed" for row in rows):
        return rows, []
    named, mistakes = check_museum(subject, observations)
    return [*named, *rows], mistakes


def guarded(checks: Checks, subject: Subject) -> list[Check]:
    """The rows of some checks; what raises ends them with a row that fails."""
    rows: list[Check] = []
    try:
        rows.extend(checks(subject))
    except Exception as error:  # a plugin may fail in any way
        rows.append(raised(checks.__name__.removeprefix("check_"), error))
    return rows


def raised(name: str, error: Exception) -> Check:
    """The row on a plugin that raises where it should not."""
    told = str(error) if isinstance(error, CaelabError) else f"{type(error).__name__}: {error}"
    return Check(name, "failed", "no error", told, "mend the plugin; in a run, --debug shows where it is raised")


def _roles(subject: Subject) -> str:
    roles = ["adds to the loss"] * subject.penalises + ["corrupts the input"] * subject.corrupts
    return " and ".join(roles) or "watches"
