"""Checking a penalty against what it claims to be: its value by brute force, and the known mistake that it equals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from caelab.testing.mistakes.known import DETACHED_PENALTY, KNOWN_MISTAKES
from caelab.testing.mistakes.naming import named_mistakes
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.gradients import lacking_derivative
from caelab.testing.penalty.observing import (
    DEVIATIONS,
    STOPPING_LAYERS,
    TOGETHER,
    Observation,
    expected_values,
    mean_ratio,
    same_values,
)
from caelab.testing.penalty.quantities import CLAIMS, Claim
from caelab.testing.penalty.settings import Setting
from caelab.testing.penalty.subjects import Subject, Trial


def check_values(subject: Subject, observations: list[Observation]) -> Iterator[Check]:
    """Check the value in every setting against the claim."""
    for observation in observations:
        if observation.failure:
            yield _failed(observation)
    claim = subject.claim
    if claim is None:
        known = ", ".join(sorted(CLAIMS))
        yield Check(
            "value", "skipped", "a claimed quantity", "none", f"say claims = NAME in the class, one of: {known}"
        )
        return
    for observation in observations:
        if not observation.failure:
            yield _in_epoch(subject, _compared(subject, claim, observation))
    if any(observation.is_random for observation in observations):
        yield _compared_together(subject, claim, observations)


def _in_epoch(subject: Subject, check: Check) -> Check:
    """A failed row with the epoch in its remedy, where values change with the epoch."""
    if check.verdict != "failed" or not subject.by_epoch:
        return check
    remedy = f"its value changes with the epoch; if another is to be looked at, say epoch = N; {check.remedy}"
    return replace(check, found=f"{check.found}, at epoch {subject.epoch}", remedy=remedy)


def _failed(seen: Observation) -> Check:
    remedy = "mend the penalty, or let it refuse such a model: raise a CaelabError that says so"
    return Check(f"value: {seen.setting.name}", "failed", "a value, or a refusal", seen.failure, remedy)


def _compared_together(subject: Subject, claim: Claim, observations: list[Observation]) -> Check:
    """A mean of random values is known better from all settings than from one."""
    seen = [(o.values, o.setting) for o in observations if o.values is not None and not o.setting.layer]
    ratio, error = mean_ratio([(values, expected_values(subject, claim, at)) for values, at in seen if len(values) > 1])
    passed = abs(ratio - 1) <= DEVIATIONS * error <= DEVIATIONS * TOGETHER
    remedy = f"the mean of its random values is not {claim.meaning}; mend the penalty, or its claim"
    found = f"{ratio:.4g} ± {error:.2g} of it"
    if error > TOGETHER:
        found = f"cannot tell: {found}, after {max(len(values) for values, _ in seen)} draws in a setting"
        remedy = "its values differ too much from draw to draw; average over more random numbers in every call"
    return judged("value: all settings together", passed, f"{claim.name}, on average", found, remedy)


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
    wanted = f"{right:.8g}{_alternative(claim, seen.setting)}"
    if not passed and subject.is_beyond(seen.setting):
        return Check(name, "reported", wanted, found, "it is not for such an encoder; let it raise an error there")
    return judged(name, passed, wanted, found, remedy)


def _wanted(claim: Claim, setting: Setting) -> str:
    return "a refusal, or the value in evaluation mode" if setting.layer and claim.per_example else claim.name


def _alternative(claim: Claim, setting: Setting) -> str:
    return " (evaluation mode), or a refusal" if setting.layer and claim.per_example else ""


def check_known_mistakes(subject: Subject, observations: list[Observation]) -> tuple[list[Check], list[str]]:
    """Name the known mistakes that a failed penalty equals, in a row."""
    found = named_mistakes(subject, observations)
    trial = Trial(subject, subject.home)
    if lacking_derivative(trial, trial.value()):  # without any gradient it equals what was detached
        found = tuple(mistake for mistake in found if mistake is not DETACHED_PENALTY)
    expected = subject.claim.name if subject.claim else "no known mistake"
    if not found:
        return [Check("known mistake", "reported", expected, f"none of the {len(KNOWN_MISTAKES)} known mistakes")], []
    names = [mistake.name for mistake in found]
    explained = "; and ".join(mistake.explanation for mistake in found)
    return [Check("known mistake", "failed", expected, ", and ".join(names), explained)], names
