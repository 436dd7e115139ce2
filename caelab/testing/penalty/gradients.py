"""Checking the gradient of a penalty against central differences; where there is none, the check says why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from caelab.registry.reserved import OWN_TERMS
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.functions import NUMBER
from caelab.testing.penalty.observing import Observation
from caelab.testing.penalty.references import directional_differences, directions
from caelab.testing.penalty.settings import Setting
from caelab.testing.penalty.subjects import NO_DERIVATIVE, Subject, Trial
from caelab.training.gradients import untrainable

STEPS = (1e-5, 1e-6, 1e-4)  # a kink within one is none within another
COARSE = (torch.bfloat16, torch.float16, torch.float32)
LARGE = 0.3  # far enough that a value that moves in steps has moved
CUT = "look for .detach(), .data, torch.no_grad(), .item(), .numpy(), or torch.autograd.grad without create_graph"
IN_STEPS = "its value moves in steps; look for //, round, int, argmax or a comparison, and leave it out"


def check_gradients(subject: Subject, observations: Sequence[Observation]) -> Iterator[Check]:
    """Check the gradient in every setting: it equals central differences, is not zero, and reaches what counts."""
    why = why_no_gradient(subject)
    for seen in observations:
        if seen.values is not None and not seen.setting.layer and seen.setting.weights in ("random", "trained"):
            yield _differenced(subject, seen.setting, why)
    yield _not_zero(subject, observations, why)
    yield _reach(subject, why)


def why_no_gradient(subject: Subject) -> str:
    """Why the value can train nothing, with what to do; the empty text if it can."""
    trial = Trial(subject, subject.home)
    value = trial.value()
    if value.requires_grad:
        reason = untrainable(value, {id(parameter) for parameter in trial.model.parameters()})
        return (reason and f"the value {reason}") or lacking_derivative(trial, value)
    if getattr(trial.instance, "note", "") == NUMBER:
        return "it returns a number; return the tensor, without .item() or float()"
    if any(slopes.any() for slopes in _slopes(trial).values()):
        return f"the value is cut from the graph; {CUT}"
    if any(slopes.any() for slopes in _slopes(trial, LARGE).values()):
        return IN_STEPS
    return "no parameter of the model moves its value; compute it from the model, the code or a Jacobian"


def lacking_derivative(trial: Trial, value: Tensor) -> str:
    """The sentence for a value made by an operator without a derivative in torch; else the empty text."""
    if not value.requires_grad:
        return ""
    try:
        with trial.working():
            torch.autograd.grad(value, list(trial.model.parameters()), allow_unused=True, retain_graph=True)
    except RuntimeError as error:
        if NO_DERIVATIVE in str(error):
            return f"{error}; {IN_STEPS if 'floor_divide' in str(error) else 'use an operator that has one'}"
        raise
    return ""


def untrainable_terms(subject: Subject) -> dict[str, str]:
    """The terms that train nothing by themselves, each with the reason: a sum hides them behind the others."""
    trial = Trial(subject, subject.home)
    known = {id(parameter) for parameter in trial.model.parameters()}
    terms = {name: term for name, term in trial.terms().items() if name not in OWN_TERMS}
    reasons = {n: untrainable(term, known) or lacking_derivative(trial, term) for n, term in terms.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def rounded(subject: Subject) -> str:
    """The sentence for a value that is rounded to a coarser type; the empty text if it is not."""
    coarse = _digits_of(subject)
    return f"the value is rounded to {coarse}, so it moves in steps; compute it in the batch's own type" * bool(coarse)


def _digits_of(subject: Subject) -> torch.dtype | None:
    """The coarser type that all its values are exact numbers of, if there is one: they were rounded to it."""
    settings = [setting for setting in subject.settings if not setting.layer][:4]
    values = {Trial(subject, setting).number() for setting in settings}
    if len(values) < 3:
        return None
    return next((t for t in COARSE if all(float(torch.tensor(v).to(t)) == v for v in values)), None)


def _slopes(trial: Trial, step: float = STEPS[0]) -> dict[str, Tensor]:
    """Central differences of the value along a few directions in every parameter; below rounding they are zero."""
    noise = _rounding(trial, step)
    found = {n: directional_differences(trial.number, p, step) for n, p in trial.model.named_parameters()}
    return {name: torch.where(slopes.abs() > noise, slopes, 0.0) for name, slopes in found.items()}


def _rounding(trial: Trial, step: float) -> float:
    """What rounding of the value, in float64 over some hundred operations, makes of a difference."""
    return 1e-14 / step * (1 + abs(trial.number()))


@dataclass(frozen=True)
class Difference:
    """How far differences are off, the largest of them, what is rounding, and what no gradient reaches."""

    worst: float
    size: float
    rounding: float
    missed: list[str]

    @property
    def is_none(self) -> bool:
        """Whether gradient and differences agree."""
        return self.worst <= 1e-5 * self.size + self.rounding


def _differenced(subject: Subject, setting: Setting, why: str) -> Check:
    trial = Trial(subject, setting)
    gradients = trial.gradients()
    first = found = _difference(trial, gradients, STEPS[0])
    for step in STEPS[1:]:
        found = found if found.is_none else _difference(trial, gradients, step)
    if not found.is_none and not why:
        why = rounded(subject)
    found = found if found.is_none else first
    told = f"off by {found.worst:.3g}, largest entry {found.size:.3g}"
    told += f"; nothing reaches {', '.join(found.missed)}" if found.missed else ""
    remedy = why or "the gradient is not that of the value: look for .detach(), .data, state_dict() or rounding"
    row = judged(f"gradient: {setting.name}", found.is_none, "that of central differences", told, remedy)
    return _unless_on_purpose(subject, row)


def _difference(trial: Trial, gradients: dict[str, Tensor], step: float) -> Difference:
    slopes, worst, size = _slopes(trial, step), 0.0, 0.0
    for name, parameter in trial.model.named_parameters():
        own = torch.stack([(gradients[name] * direction).sum() for direction in directions(parameter)]).double()
        worst = max(worst, float((own - slopes[name]).abs().max()))
        size = max(size, float(own.abs().max()), float(slopes[name].abs().max()))
    missed = [n for n, slope in slopes.items() if not gradients[n].any() and float(slope.abs().max()) > 1e-4 * size]
    return Difference(worst, size, _rounding(trial, step), missed)


def _unless_on_purpose(subject: Subject, check: Check) -> Check:
    """What a plugin says it holds constant, or remembers, is cut from the graph on purpose, or may be.

    A wrong gradient cannot be told from that.
    """
    if check.verdict == "passed" or not (subject.held_constant or subject.remembers):
        return check
    if subject.held_constant:
        found = f"cannot tell: it holds constant, on purpose, {subject.held_constant}"
        return replace(check, verdict="reported", found=found, remedy="compare the gradient with that held constant")
    found = f"cannot tell: it keeps {', '.join(subject.remembers)}, which may be cut from the graph on purpose"
    return replace(check, verdict="reported", found=found, remedy="compare the gradient without what it remembers")


def _not_zero(subject: Subject, observations: Sequence[Observation], why: str) -> Check:
    """A gradient in some setting; where there is none, whether the value is cut off, moves in steps, or is flat."""
    name, expected = "gradient: not zero", "a gradient"
    largest = float(Trial(subject, subject.home).gradient().abs().max())
    if largest == 0:
        seen = [float(o.gradient.abs().max()) for o in observations if o.gradient is not None and o.gradient.numel()]
        largest = max([0.0, *(entry for entry in seen if math.isfinite(entry))])
    found = f"largest entry {largest:.3g}"
    if why or largest > 0:
        return judged(name, largest > 0, expected, found, f"the penalty trains nothing: {why}")
    values = {f"{o.mean:.12g}" for o in observations if o.values is not None}
    if len(values) > 1:
        return Check(name, "failed", expected, found, f"the penalty trains nothing: {IN_STEPS}")
    found = f"cannot tell: its value is {', '.join(values)} and flat wherever it is looked at"
    return Check(name, "failed", expected, found, "give it options with which it acts, as a lower threshold")


def _reach(subject: Subject, why: str) -> Check:
    """Which parameters the gradient reaches, of those that move the value."""
    trial = Trial(subject, subject.home)
    gradients = trial.gradients()
    moving = [name for name, slopes in _slopes(trial).items() if slopes.any()]
    missed = [name for name in moving if not gradients[name].any()]
    remedy = why or f"the value moves with {', '.join(missed)}, but gets no gradient there: do not detach it"
    found = f"{', '.join(name for name in gradients if gradients[name].any()) or 'none'}"
    row = judged("gradient: reaches", not missed, ", ".join(moving) or "no parameter", found, remedy)
    return _unless_on_purpose(subject, row)
