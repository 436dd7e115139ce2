"""Observing a penalty in one setting: its values, those expected, and when two of them are equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.testing.penalty.quantities import DRAWS, Claim, Situation
from caelab.testing.penalty.settings import Setting
from caelab.testing.penalty.subjects import Subject, Trial, is_refusal, one_line

ROUNDING = 1e-9  # float64, sums of some hundred terms
CONSTANTS = 1e-6  # a few constants in float32 among float64 numbers, each rounded to 6e-8
DEVIATIONS = 5.0  # standard errors by which two means of random values may differ
PRECISION = 0.05  # the standard error of a mean of random values, relative to it, that is drawn for in each setting
TOGETHER = 0.03  # and in all of them together
MOST_DRAWS = 2500
STOPPING_LAYERS = ("BatchNorm", "dropout")  # no Jacobian per example exists: refusing is right


@dataclass(frozen=True)
class Observation:
    """What a penalty does in one setting: its values and gradient, or why there are none."""

    setting: Setting
    values: Tensor | None = None
    gradient: Tensor | None = None
    refusal: str = ""
    failure: str = ""

    @property
    def mean(self) -> float:
        """The value, or its mean."""
        return math.nan if self.values is None else float(self.values.mean())

    @property
    def is_random(self) -> bool:
        """Whether there are many values."""
        return self.values is not None and len(self.values) > 1


def observe(subject: Subject, setting: Setting) -> Observation:
    """Compute values and gradient of a penalty in one setting; one that refuses it or fails has none there."""
    try:
        trial = Trial(subject, setting)
        return Observation(setting, drawn(trial), trial.gradient())
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        refused = isinstance(error, CaelabError) and is_refusal(error)
        if refused or setting.layer in STOPPING_LAYERS or subject.is_beyond(setting):
            return Observation(setting, refusal=str(error))
        return Observation(setting, failure=one_line(error))


def drawn(trial: Trial) -> Tensor:
    """The value, or as many random values as their mean takes to be known; other settings draw other ones."""
    first = crc32(trial.setting.name.encode())
    values = trial.draws(None, DRAWS, first)
    if len(values) == 1:
        return values
    needed = min(MOST_DRAWS, math.ceil(len(values) * (relative_error(values) / PRECISION) ** 2 * 1.2))
    if needed <= len(values):
        return values
    return torch.cat([values, trial.draws(None, needed - len(values), first + len(values))])


def standard_error(values: Tensor) -> float:
    """The standard error of the mean of random values; none for a single value."""
    return math.sqrt(float(values.var()) / len(values)) if len(values) > 1 else 0.0


def relative_error(values: Tensor) -> float:
    """The standard error of the mean, relative to it."""
    size = abs(float(values.mean()))
    return standard_error(values) / size if size else 0.0


def same_values(found: Tensor, expected: Tensor) -> bool:
    """Whether values are equal to rounding, or where they are random, within so many standard errors."""
    error = math.hypot(standard_error(found), standard_error(expected))
    mean, right = float(found.mean()), float(expected.mean())
    return abs(mean - right) <= CONSTANTS * max(abs(mean), abs(right)) + DEVIATIONS * error


def same_gradients(found: Tensor, expected: Tensor) -> bool:
    """Whether gradients are equal to rounding, relative to the largest entry."""
    size = max(float(found.abs().max()), float(expected.abs().max()))
    return float((found - expected).abs().max()) <= 1e3 * ROUNDING * size


def mean_ratio(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """The mean ratio of random values to what they are held against, and its standard error.

    The found ones are drawn anew in every setting; the others are not, so that their errors do not average out.
    """
    ratios, own, other, weights = [], [], [], []
    for found, expected in pairs:
        if not (right := float(expected.mean())):
            continue
        ratios.append(float(found.mean()) / right)
        own.append(standard_error(found) / abs(right))
        other.append(relative_error(expected))
        weights.append(1 / (own[-1] ** 2 + other[-1] ** 2 + ROUNDING**2))
    shares = [weight / sum(weights) for weight in weights]
    error = math.hypot(math.sqrt(_dot([s**2 for s in shares], [e**2 for e in own])), _dot(shares, other))
    return _dot(shares, ratios), error


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def together(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether random values agree in all settings taken together, where the error is smaller than in each."""
    random = [(found, expected) for found, expected in pairs if max(len(found), len(expected)) > 1]
    if not random:
        return True
    ratio, error = mean_ratio(random)
    return abs(ratio - 1) <= DEVIATIONS * error <= 1.0


@lru_cache(maxsize=64)
def expected_values(subject: Subject, claim: Claim, setting: Setting) -> Tensor:
    """The claimed quantity times the penalty's weight, by brute force in float64."""
    trial = Trial(subject, setting)
    draws = claim.draws(Situation(trial.model, trial.clean, trial.code(), subject.parameters))
    return subject.weight * torch.tensor(draws, dtype=torch.float64)
