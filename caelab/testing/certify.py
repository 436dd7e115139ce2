"""Is a penalty what it claims to be? Its value against brute force, its gradient against differences, the museum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.testing.claims import CLAIMS, DRAWS, RECONSTRUCTION, Claim, Situation
from caelab.testing.functions import FunctionPenalty
from caelab.testing.museum import MUSEUM, Exhibit
from caelab.testing.outcome import Check, judged
from caelab.testing.references import parameter_differences
from caelab.testing.settings import EXAMPLES, Setting
from caelab.testing.subjects import Subject, Trial, is_refusal

ROUNDING = 1e-9  # float64, sums of some hundred terms
DEVIATIONS = 5.0  # standard errors by which two means of random values may differ
STOPPING_LAYERS = ("BatchNorm", "dropout")  # no Jacobian per example exists: refusing is right


@dataclass(frozen=True)
class Observation:
    """What a penalty does in one setting: its values and gradient, or why there are none."""

    setting: Setting
    values: Tensor | None = None
    gradient: Tensor | None = None
    refusal: str = ""

    @property
    def mean(self) -> float:
        """The value, or its mean."""
        return math.nan if self.values is None else float(self.values.mean())


def observe(subject: Subject, setting: Setting) -> Observation:
    """Look at a penalty in one setting.

    Raises:
        CaelabError: it fails, other than by refusing.
    """
    try:
        trial = Trial(subject, setting)
        return Observation(setting, trial.draws(None, DRAWS), trial.gradient())
    except CaelabError as error:
        if is_refusal(error) or setting.layer in STOPPING_LAYERS:
            return Observation(setting, refusal=str(error))
        raise


def same_values(found: Tensor, expected: Tensor) -> bool:
    """Equal to rounding; where values are random, equal means within so many standard errors."""
    error = math.sqrt(sum(float(v.var()) / len(v) for v in (found, expected) if len(v) > 1))
    mean, right = float(found.mean()), float(expected.mean())
    return abs(mean - right) <= ROUNDING * max(abs(mean), abs(right)) + DEVIATIONS * error


def same_gradients(found: Tensor, expected: Tensor) -> bool:
    """Equal to rounding, seen from the largest entry."""
    size = max(float(found.abs().max()), float(expected.abs().max()))
    return float((found - expected).abs().max()) <= 1e3 * ROUNDING * size


def expected_values(subject: Subject, claim: Claim, setting: Setting) -> Tensor:
    """The claimed quantity times the penalty's weight, by brute force in float64."""
    trial = Trial(subject, setting)
    draws = claim.draws(Situation(trial.model, trial.clean, trial.code(), subject.parameters))
    return subject.weight * torch.tensor(draws, dtype=torch.float64)


def check_values(subject: Subject, observations: list[Observation]) -> Iterator[Check]:
    """The value in every setting, against the claim."""
    claim = subject.claim
    if claim is None:
        known = ", ".join(sorted(CLAIMS))
        yield Check(
            "value", "skipped", "a claimed quantity", "none", f"say claims = NAME in the class, one of: {known}"
        )
        return
    for observation in observations:
        yield _compared(subject, claim, observation)


def _compared(subject: Subject, claim: Claim, seen: Observation) -> Check:
    name = f"value: {seen.setting.name}"
    if seen.values is None:
        stops = seen.setting.layer in STOPPING_LAYERS and claim.per_example
        return Check(name, "passed" if stops else "skipped", _wanted(claim, seen.setting), f"refused: {seen.refusal}")
    expected = expected_values(subject, claim, seen.setting)
    right = float(expected.mean())
    ratio = f", {seen.mean / right:.4g} of it" if right else ""
    found = f"{seen.mean:.8g}" + ("" if (passed := same_values(seen.values, expected)) else ratio)
    remedy = f"the claim is {claim.meaning}; mend the penalty, or its claim"
    return judged(name, passed, f"{right:.8g}{_alternative(claim, seen.setting)}", found, remedy)


def _wanted(claim: Claim, setting: Setting) -> str:
    return "a refusal, or the value in evaluation mode" if setting.layer and claim.per_example else claim.name


def _alternative(claim: Claim, setting: Setting) -> str:
    return " (evaluation mode), or a refusal" if setting.layer and claim.per_example else ""


def check_gradients(subject: Subject, observations: list[Observation]) -> Iterator[Check]:
    """The gradient in every setting, against central differences of the value; not zero; not detached."""
    for seen in observations:
        if seen.values is not None and not seen.setting.layer and seen.setting.weights in ("random", "trained"):
            yield _differenced(subject, seen.setting)
    home = Trial(subject, subject.home)
    largest = float(home.gradient().abs().max())
    remedy = "the penalty trains nothing: look for .detach(), .data, torch.no_grad(), //, or a comparison in its place"
    yield judged("gradient: not zero", largest > 0, "a gradient", f"largest entry {largest:.3g}", remedy)


def _differenced(subject: Subject, setting: Setting) -> Check:
    trial, worst, cut = Trial(subject, setting), 0.0, []
    gradients = trial.gradients()
    differences = {name: parameter_differences(trial.number, p) for name, p in trial.model.named_parameters()}
    size = max(float(entry.abs().max()) for entry in (*differences.values(), *gradients.values()))
    for name, difference in differences.items():
        worst = max(worst, float((gradients[name] - difference).abs().max()))
        if not gradients[name].any() and float(difference.abs().max()) > 1e-4 * size:
            cut.append(name)
    passed = worst <= 1e-5 * size + 1e-9 * (1 + abs(trial.number()))
    found = f"off by {worst:.3g}, largest entry {size:.3g}" + (f"; nothing reaches {', '.join(cut)}" if cut else "")
    remedy = "the gradient is not that of the value: look for .detach(), .data, state_dict() or rounding"
    return judged(f"gradient: {setting.name}", passed, "that of central differences", found, remedy)


def check_reach(subject: Subject) -> Iterator[Check]:
    """Which parameters the gradient reaches, of those that move the value."""
    trial = Trial(subject, subject.home)
    gradients = trial.gradients()
    moving = [n for n, p in trial.model.named_parameters() if parameter_differences(trial.number, p).abs().max() > 1e-7]
    missed = [name for name in moving if not gradients[name].any()]
    remedy = f"the value moves with {', '.join(missed)}, but gets no gradient there: do not detach it"
    found = f"{', '.join(name for name in gradients if gradients[name].any()) or 'none'}"
    yield judged("gradient: reaches", not missed, ", ".join(moving) or "no parameter", found, remedy)


def named_mistake(subject: Subject, observations: list[Observation]) -> tuple[Exhibit, str] | None:
    """The mistake that a penalty equals, in value and gradient, in every setting, and what comes on top of it."""
    claim = subject.claim
    if claim is None:
        return None
    further = (
        ("", False, 1),
        (", and at the corrupted point", True, 1),
        (", and summed over examples", False, EXAMPLES),
    )
    for told, at_corrupted, factor in further:
        for exhibit in MUSEUM:
            if claim.name not in exhibit.claims:
                continue
            mistake = as_subject(exhibit, subject, claim, at_corrupted)
            if _equals(exhibit, mistake, observations, factor * subject.weight):
                return exhibit, told
    return None


def as_subject(exhibit: Exhibit, subject: Subject, claim: Claim, at_corrupted: bool) -> Subject:
    """A mistake, with the options of the penalty under test, about the map that the claim is about."""
    options = {name: value for name, value in subject.parameters.items() if name in exhibit.options}
    make = partial(
        FunctionPenalty,
        exhibit.function,
        options,
        of_reconstruction=claim.name == RECONSTRUCTION,
        at_corrupted=at_corrupted,
    )
    return Subject("mistake", make)


def _equals(exhibit: Exhibit, mistake: Subject, observations: list[Observation], factor: float) -> bool:
    seen = [o for o in observations if o.values is not None and o.setting.layer != "dropout"]
    if len(seen) < 3 or exhibit.shows_in not in {"", *(o.setting.name for o in seen)}:
        return False
    return all(_same(one, observe(mistake, one.setting), factor) for one in seen)


def _same(seen: Observation, other: Observation, factor: float) -> bool:
    if seen.values is None or other.values is None or seen.gradient is None or other.gradient is None:
        return False
    if not same_values(seen.values, factor * other.values):
        return False
    return len(seen.values) > 1 or same_gradients(seen.gradient, factor * other.gradient)


def check_museum(subject: Subject, observations: list[Observation]) -> tuple[list[Check], list[str]]:
    """The row that names a known mistake; asked for where something failed."""
    found = named_mistake(subject, observations)
    expected = subject.claim.name if subject.claim else "no known mistake"
    if found is None:
        return [Check("known mistake", "reported", expected, f"none of the museum's {len(MUSEUM)}")], []
    exhibit, further = found
    row = Check("known mistake", "failed", expected, f"{exhibit.name}{further}", exhibit.explanation)
    return [row], [exhibit.name]
