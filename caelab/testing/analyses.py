"""Checking an analysis: all checks, on tiny trained runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from io import StringIO
from typing import Any

from caelab.analysis.contract import compares, load_analysis, measures
from caelab.analysis.isolation import run_left_as_found
from caelab.errors import CaelabError, NotApplicable
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.recipes import base_config
from caelab.runs.run import Run
from caelab.testing.analysis_checks import CHECKS, Subject, check_description, snapshot
from caelab.testing.outcome import Check, Report, judged
from caelab.testing.penalty.settings import one_thread
from caelab.testing.penalty.subjects import one_line
from caelab.testing.side_effects import Recorded, SideEffectRecorder, hushed, noticed
from caelab.testing.trials import noisy_config, trial_options
from caelab.training import train

SETTINGS = ["model.hidden=[6]", "training.epochs=2", "training.batch_size=20"]
LINEAR = ["training.reconstruction=squared-error", "model.output=identity"]  # for data outside [0, 1]
RUNS: tuple[tuple[bool, dict[str, Any], list[str]], ...] = (
    (False, {"kind": "digits", "splits": [80, 40, 40]}, []),
    (True, {"kind": "gaussian-mixture", "splits": [80, 40, 40]}, LINEAR),
    (False, {"kind": "sphere", "splits": [80, 40, 40]}, LINEAR),
)
"""Labelled images; a known density, with noise; a known manifold: an analysis is looked at on the first that suits."""


@cache
def trial_runs(place: int) -> tuple[Run, ...]:
    """Two tiny runs on one kind of data, told apart by label and seed."""
    noisy, dataset, settings = RUNS[place]
    config = (noisy_config if noisy else base_config)([*SETTINGS, *settings], dataset=dataset)
    configs = [config.with_seed(seed).with_label(f"{config.label} {seed}") for seed in (0, 1)]
    return tuple(train(each, progress=False) for each in configs)


def check_analysis(
    analysis: Any,
    options: Mapping[str, Any] | None = None,
    *,
    run: Run | None = None,
    name: str | None = None,
    raises: bool = True,
) -> Report:
    """Run every check on an analysis.

    Args:
        analysis: its name, or anything with ``measure(run, streams)`` or ``compare(runs, streams)``, and
            ``draw(table)``.
        options: of ``measure``; what is not given is the default, or follows from the types.
        run: a run to measure; by default tiny ones of several kinds of data are tried.
        name: what to call it.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: an unknown analysis, or options that do not fit.
    """
    name = name or (analysis if isinstance(analysis, str) else str(getattr(analysis, "__name__", "analysis")))
    analysis = load_analysis(analysis) if isinstance(analysis, str) else analysis
    recorder = SideEffectRecorder()
    with one_thread(), hushed(StringIO()) as said, recorder.throughout("a call"):
        report = Report(name, [*examined(Recorded(analysis, recorder), name, dict(options or {}), run)])
    report.checks.extend(noticed(recorder, said))
    return report.assert_passed() if raises else report


def examined(analysis: Any, name: str, options: dict[str, Any], run: Run | None) -> Iterator[Check]:
    """Run all checks; an error ends them with a row that fails."""
    missing = [] if measures(analysis) or compares(analysis) else ["measure"]
    missing += [] if callable(getattr(analysis, "draw", None)) else ["draw"]
    found = f"no {' and no '.join(missing)}" if missing else "both"
    remedy = "write measure(run, streams) -> DataFrame, or compare(runs, streams) of several, and draw(table) -> Figure"
    yield judged("parts", not missing, "measure and draw", found, remedy)
    if missing:
        return
    yield from check_description(analysis)
    options = _tried_with(name, analysis, options)
    try:
        subject = _suitable(analysis, options, run)
        if subject is None:
            expected, remedy = "a run that suits it", "give one, check_analysis(analysis, run=...)"
            yield Check("measure", "skipped", expected, "none of caelab's trial runs", remedy)
            return
        with ExitStack() as stack:
            for each in subject.runs:  # what it changes is a row of its own; the runs are for the next check too
                stack.enter_context(put_back(each, name))
            for checks in CHECKS:
                yield from checks(subject)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        remedy = "mend measure or draw; NotApplicable says that a run does not suit"
        yield Check("runs", "failed", "no error", one_line(error), remedy)


def _tried_with(name: str, analysis: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options to try ``measure`` and ``compare`` with; each takes those that it names."""
    parts = [part for key in ("measure", "compare") if callable(part := getattr(analysis, key, None))]
    found: dict[str, Any] = {}
    for part in parts:
        known = option_fields(part, GIVEN_BY_CORE["analysis"])
        mine = {key: value for key, value in given.items() if key in known or len(parts) == 1}
        found |= trial_options(name, part, mine, GIVEN_BY_CORE["analysis"])
    return found


@contextmanager
def put_back(run: Run, name: str) -> Iterator[None]:
    """Undo within the block whatever happens to a run."""
    raised: list[BaseException] = []
    with suppress(CaelabError), run_left_as_found(run, f"the analysis {name!r}"):
        try:
            yield
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            raised.append(error)
    if raised:
        raise raised[0]


def _suitable(analysis: Any, options: Mapping[str, Any], run: Run | None) -> Subject | None:
    """The analysis on the given run, or on the first trial runs that suit it."""
    for place in range(1 if run else len(RUNS)):
        runs = (run,) if run else trial_runs(place)
        for each in runs:
            each.model.zero_grad()  # what training left there belongs to nobody, and is forgotten by every look
        subject = Subject(analysis, options, runs, snapshot(runs[0]))
        try:
            subject.tables  # noqa: B018  measures
        except NotApplicable:
            continue
        return subject
    return None
