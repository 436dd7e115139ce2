"""Checking the reduction of a penalty: over examples, over the batch, over inputs and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.gradients import rounded
from caelab.testing.penalty.settings import Setting
from caelab.testing.penalty.subjects import Subject, Trial

DRAWS = 100  # for penalties that draw numbers: their differences are averaged over so many seeds
DEVIATIONS = 5.0


def check_reduction(subject: Subject) -> Iterator[Check]:
    """Check duplicates, order and size of the batch, how examples combine, and proportionality to the weight."""
    for row in _rows(subject):
        why = rounded(subject) if row.verdict == "failed" else ""
        yield replace(row, remedy=why) if why else row


def _rows(subject: Subject) -> Iterator[Check]:
    trial = Trial(subject, subject.home)
    clean = trial.clean
    half = len(clean) // 2
    yield _duplicates(subject, trial, clean)
    yield _per_example(subject, _same(
        "order", trial, [clean.flip(0)], [clean], "the same when the batch is turned round",
        f"examples count differently by their place in the batch; treat them alike, or {SAY_SO}",
    ))  # fmt: skip
    yield _per_example(subject, _same(
        "batch size", trial, [clean[:half], clean[half:]], [clean, clean], "the mean of its values on both halves",
        f"make it a mean over examples; {SAY_SO}",
    ))  # fmt: skip
    first, second, third, fourth = clean[:half], clean[half:], 1 - clean[:half], clean[half:].square()
    crossed = [torch.cat([first, fourth]), torch.cat([third, second])]
    yield _per_example(subject, _same(
        "no mixing of examples", trial, [torch.cat([first, second]), torch.cat([third, fourth])], crossed,
        "what one example adds does not depend on the others", f"compute per example and average; {SAY_SO}",
    ))  # fmt: skip
    yield from _proportional(subject)
    yield _scaling("inputs", subject, lambda setting, factor: replace(setting, inputs=setting.inputs * factor))
    yield _scaling("units", subject, lambda setting, factor: replace(setting, hidden=(setting.hidden[0] * factor,)))


SAY_SO = "a penalty that is defined over the batch says over_batch = True"


def _duplicates(subject: Subject, trial: Trial, clean: Tensor) -> Check:
    """A sum over the batch is twice as large; what is neither a sum nor a mean is something over the batch."""
    row = _same(
        "duplicates", trial, [clean.repeat(2, 1)], [clean], "the same when the batch holds every example twice",
        "it is a sum, or divides by a fixed number; use .mean() over the batch axis",
    )  # fmt: skip
    once, twice = (float(trial.draws(batch, DRAWS).mean()) for batch in (clean, clean.repeat(2, 1)))
    if row.verdict == "passed" or math.isclose(twice, 2 * once, rel_tol=0.05 if trial.is_random else 1e-6):
        return row
    return _per_example(subject, replace(row, remedy=f"make it a mean over examples; {SAY_SO}"))


def _same(name: str, trial: Trial, found: list[Tensor], expected: list[Tensor], wanted: str, remedy: str) -> Check:
    left, right = ([trial.draws(batch, DRAWS) for batch in batches] for batches in (found, expected))
    differences = torch.stack(left).sum(dim=0) - torch.stack(right).sum(dim=0)
    size = float(torch.stack(right).abs().sum(dim=0).mean())
    error = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    off = abs(float(differences.mean()))
    passed = off <= 1e-9 * size + DEVIATIONS * error
    about = f" ± {error / size:.2g}" if error else ""
    return judged(name, passed, wanted, f"off by {off / size if size else off:.3g}{about} of it", remedy)


def _per_example(subject: Subject, check: Check) -> Check:
    """A penalty that says it is defined over the batch, or remembers others, is told what that means, not failed."""
    if check.verdict == "failed" and (subject.over_batch or subject.stateful):
        what = "is defined over the batch" if subject.over_batch else "remembers earlier batches"
        return replace(check, verdict="reported", remedy=f"it {what}: keep the batch size fixed")
    return check


def _proportional(subject: Subject) -> Iterator[Check]:
    if "weight" not in subject.options:
        return
    values = [
        Trial(
            replace(subject, options={**subject.options, "weight": weight}),
            subject.home,
            epoch=subject.epoch,
            mode=subject.in_double or nullcontext(),
        ).number()
        for weight in (0.0, 1.0, 2.0)
    ]
    none, one, two = values
    passed = none == 0 and abs(two - 2 * one) <= 1e-12 * abs(two)
    found = f"{none:.6g}, {one:.6g}, {two:.6g} for the weights 0, 1, 2"
    yield judged("proportional to its weight", passed, "twice the value for twice the weight, 0 for 0", found,
                 "multiply the whole term by the weight, once")  # fmt: skip


def _scaling(what: str, subject: Subject, grown: Callable[[Setting, int], Setting]) -> Check:
    start = replace(subject.home, weights="random")
    values = [Trial(subject, grown(start, factor)).number() for factor in (1, 4, 16)]
    exponent = math.log(values[2] / values[0]) / math.log(16) if values[0] > 0 and values[2] > 0 else math.nan
    told = ", ".join(f"{value:.3g}" for value in values)
    found = f"about {what}^{exponent:.1f} at random initialisation ({told} at 1, 4, 16 times as many)"
    return Check(f"scaling with {what}", "reported", "known to whoever chooses the weight", found)
