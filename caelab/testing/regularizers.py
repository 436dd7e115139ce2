"""All checks of one regularizer, or of one penalty function, in a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from caelab.errors import CaelabError, unknown_name
from caelab.testing.certify import check_gradients, check_museum, check_reach, check_values
from caelab.testing.company import check_company
from caelab.testing.conduct import check_conduct
from caelab.testing.corruption import check_corruption
from caelab.testing.functions import FunctionPenalty, title
from caelab.testing.hooks import check_hooks, check_metrics, check_terms
from caelab.testing.numerics import check_numerics
from caelab.testing.observing import observe
from caelab.testing.outcome import Check, Report
from caelab.testing.reduction import check_reduction
from caelab.testing.settings import ALL_ACTIVATIONS, one_thread
from caelab.testing.subjects import Subject
from caelab.testing.trials import trial_options

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
    ``reconstruct`` (r = g∘f), ``reconstruction``, ``W`` (the weight of the only layer), ``W0`` (before training) and
    ``streams``. All but ``corrupted`` belong to the clean batch. A parameter ``weight`` or ``lam`` is the factor in
    front of what is claimed. A function for some activations only is taken for one of a single layer.

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
    """A function as something to check.

    Raises:
        CaelabError: a parameter whose name says nothing, an option that is no parameter, an unknown activation.
    """
    make = partial(FunctionPenalty, function, dict(options or {}))
    make()  # a parameter whose name says nothing ends here
    known = known_activations(activations or getattr(function, "activations", ()))
    return Subject(title(function), make, {}, claims, known, may_crash=True)


def known_activations(names: Sequence[str]) -> tuple[str, ...]:
    """The names, if there are such activations.

    Raises:
        CaelabError: there is none of that name; the nearest is offered.
    """
    for name in names:
        if name not in ALL_ACTIVATIONS:
            raise unknown_name("activation", name, ALL_ACTIVATIONS)
    return tuple(names)


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
    with one_thread():
        report = examined(subject)
    return report.assert_passed() if raises else report


def examined(subject: Subject) -> Report:
    """The report on a subject; a check that raises is a row that fails."""
    try:
        rows = [*check_hooks(subject), *check_terms(subject)]
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        return Report(subject.name, [raised("runs", error)])
    if any(row.verdict == "failed" for row in rows):
        return Report(subject.name, rows)
    mistakes: list[str] = []
    if subject.penalises:
        found, mistakes = certified(subject)
        rows += found
        for checks in (check_reduction, check_conduct, check_numerics):
            rows += guarded(checks, subject)
    if subject.corrupts:
        rows += guarded(check_corruption, subject)
    rows += guarded(check_metrics, subject)
    if not any(row.name == "clean batch left alone" and row.verdict == "failed" for row in rows):  # no run goes on then
        rows += guarded(check_company, subject)
    return Report(subject.name, rows, mistakes)


def certified(subject: Subject) -> tuple[list[Check], list[str]]:
    """Value, gradient, and the name of the mistake where one of them fails."""
    observations = [observe(subject, setting) for setting in subject.settings]
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
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        rows.append(raised(checks.__name__.removeprefix("check_"), error))
    return rows


def raised(name: str, error: BaseException) -> Check:
    """The row on a plugin that raises where it should not."""
    told = str(error) if isinstance(error, CaelabError) else f"{type(error).__name__}: {error}"
    return Check(
        name,
        "failed",
        "no error",
        " ".join(told.split()),
        "mend the plugin; in a run, --debug shows where it is raised",
    )
