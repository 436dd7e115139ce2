"""Checking a penalty at large, small and coarse numbers, and what scaling the code costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from caelab.errors import CaelabError
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.settings import Setting, first_layer
from caelab.testing.penalty.subjects import Subject, Trial, is_refusal, one_line

SINGLE = 1e-4  # float32 against float64: rounding of 6e-8, times some hundred operations
SHRINK = 0.1
FAILS = "in float32, as runs are, it fails:"
OWN_TYPE = "make new tensors with dtype=clean.dtype and device=clean.device"
FREE = ("identity", "relu", "leaky-relu")  # s(ε z) = ε s(z): scaling the encoder can be undone by the decoder


def check_numerics(subject: Subject) -> Iterator[Check]:
    """Check single precision against double, extreme values, and what scaling the code gains."""
    precision = _precision(subject)
    yield precision
    if precision.found.startswith(FAILS):
        return
    for name, weights, inputs in (
        ("finite at saturation", 1e4, 1.0),
        ("finite at zero weights", 0.0, 1.0),
        ("finite at huge inputs", 1.0, 1e6),
    ):
        yield _finite(name, subject, weights, inputs)
    yield _scale_exploit(subject)


def _finite(name: str, subject: Subject, weights: float, inputs: float) -> Check:
    trial = Trial(subject, subject.home, dtype=torch.float32)
    trial.clean = trial.clean * inputs
    with torch.no_grad():
        for parameter in trial.model.parameters():
            parameter *= weights
    value, gradient = trial.number(), trial.gradient()
    passed = bool(torch.isfinite(gradient).all()) and abs(value) < float("inf")
    found = f"value {value:.4g}, {int((~torch.isfinite(gradient)).sum())} entries of the gradient not finite"
    remedy = (
        "look for a square root or logarithm at 0, a division by a norm, an exponential; use clamp, hypot or logits"
    )
    return judged(name, passed, "finite value and gradient in float32", found, remedy)


def _precision(subject: Subject) -> Check:
    name, expected = "float32 against float64", f"equal to {SINGLE:g}, in the batch's own precision"
    double = Trial(subject, subject.home)
    try:
        coarse = Trial(subject, subject.home, dtype=torch.float32)
        rough, fine = coarse.value(), double.value()
        coarse.gradient()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        return Check(name, "failed", expected, f"{FAILS} {one_line(error)}", OWN_TYPE)
    types = f"{rough.dtype} and {fine.dtype}"
    if fine.dtype != torch.float64 or rough.dtype not in (torch.float32, torch.float64):
        return Check(name, "failed", expected, f"terms of {types} for batches of torch.float32 and float64", OWN_TYPE)
    if double.is_random:
        return Check(name, "passed", expected, f"random values, of {types}")
    off = abs(coarse.number() - double.number()) / (abs(double.number()) or 1.0)
    if off > SINGLE:
        remedy = "look for a difference of large numbers, or .half()"
        return Check(name, "failed", expected, f"off by {off:.2g}, {types}", remedy)
    if rough.dtype != torch.float32:
        found = f"terms of {types} for batches of torch.float32 and float64: right, and computed in double precision"
        return Check(name, "reported", expected, found, f"if that is not on purpose, {OWN_TYPE}")
    return Check(name, "passed", expected, f"off by {off:.2g}, {types}")


def check_constants(subject: Subject) -> Iterator[Check]:
    """Check for tensors made in float32 whatever the batch's type, which are right only in a float32 run."""
    if subject.in_double is None:
        return
    met = ", ".join(subject.in_double.met)
    found = f"float32 beside a batch in float64, in {met}; for this check they are taken for float64"
    yield Check("constants", "reported", "tensors of the batch's own precision", found, OWN_TYPE)


def _scale_exploit(subject: Subject) -> Check:
    """Encoder · ε and decoder / ε, where the activation lets the reconstruction stay what it is."""
    name, expected = "scale exploit", f"known: the encoder times {SHRINK:g}, an untied decoder divided by it"
    for activation in (name for name in FREE if name in subject.activations):
        try:
            found, remedy = _exploited(subject, replace(subject.home, activation=activation, tied=False))
        except CaelabError as error:
            if is_refusal(error):
                continue
            raise
        return Check(name, "reported", expected, found, remedy)
    return Check(name, "skipped", expected, f"it is not for {' and '.join(FREE)}, where scaling is free")


def _exploited(subject: Subject, setting: Setting) -> tuple[str, str]:
    trial = Trial(subject, setting)
    before, error = trial.number(), _reconstruction(trial)
    with torch.no_grad():
        for parameter in first_layer(trial.model):
            parameter.mul_(SHRINK)
        trial.model.decode[0].weight /= SHRINK
    assert abs(_reconstruction(trial) - error) <= 1e-9 * error
    ratio = trial.number() / before if before else 1.0
    shrinks = abs(ratio) < 0.9
    found = f"{ratio:.3g} times the penalty at the same reconstruction"
    return found, "it can shrink at no cost: tie the weights, model.tied=true" if shrinks else ""


@torch.no_grad()
def _reconstruction(trial: Trial) -> float:
    return float((trial.model(trial.clean) - trial.clean).square().sum())
