"""Plugins that are each broken in one way, with the rows that must say so."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caelab import hookimpl

EVERY_GRADIENT = {
    f"gradient: {name}"
    for name in ("random initialisation", "after training", "tanh", "relu", "softplus", "identity", "untied weights")
} | {"gradient: two layers", "gradient: corrupted input"}
EVERY_EXTREME = {"finite at saturation", "finite at zero weights", "finite at huge inputs"}

numbers = itertools.count()


@dataclass(eq=False)
class Sound:
    """Nothing wrong with this one."""

    weight: float

    @hookimpl
    def penalty_terms(self, model, clean, code, encoder_jacobian, streams):
        return {"sound": self.weight * self.value(model, clean, code, encoder_jacobian.squared_norm(), streams)}

    def value(self, model, clean, code, norms, streams):
        return norms.mean()


class Raises(Sound):
    def value(self, *_):
        raise ValueError("oh")


class Vector(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms


class Number(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean().item()


class Detached(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean().detach()


class PartlyDetached(Sound):
    def value(self, model, clean, code, norms, streams):
        weight, bias = next(model.parameters()), next(p for p in model.parameters() if p.ndim == 1)
        return weight.square().sum() + bias.detach().square().sum()


class SumOverBatch(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.sum()


class ByPlace(Sound):
    def value(self, model, clean, code, norms, streams):
        return (norms * torch.linspace(0, 2, len(norms), dtype=norms.dtype)).mean()


class OverBatch(Sound):
    def value(self, model, clean, code, norms, streams):
        return code.var(dim=0, unbiased=False).sum()


class WeightSquared(Sound):
    def value(self, model, clean, code, norms, streams):
        return self.weight * norms.mean()


class LooksAtMode(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean() * (2 if model.training else 1)


class SetsFlag(Sound):
    def value(self, model, clean, code, norms, streams):
        clean.requires_grad_()
        return norms.mean()


class ScalesWeights(Sound):
    def value(self, model, clean, code, norms, streams):
        with torch.no_grad():
            next(model.parameters()).mul_(0.5)
        return model.encode(clean).square().mean()


class BoundsWeights(Sound):
    """No weight that is looked at elsewhere is as large as its bound."""

    def value(self, model, clean, code, norms, streams):
        for weight in model.parameters():
            weight.data.clamp_(-5, 5)
        return model.encode(clean).square().mean()


class ScalesAfterwards(Sound):
    def value(self, model, clean, code, norms, streams):
        value = model.encode(clean).square().mean()
        for weight in model.parameters():
            weight.data = 0.9 * weight.data
        return value


class OneTermDetached(Sound):
    @hookimpl
    def penalty_terms(self, code):
        return {"a": self.weight * code.mean(), "b": self.weight * code.detach().square().mean()}


class OneTermFlat(Sound):
    @hookimpl
    def penalty_terms(self, code):
        return {"a": self.weight * code.square().mean(), "b": self.weight * code.round().mean()}


class Undifferentiable(Sound):
    """Right in value, but torch has no derivative of a factor."""

    claims = "L1 norm of the code"

    @hookimpl
    def penalty_terms(self, code):
        one = torch.heaviside(code.abs() + 1, torch.zeros_like(code))
        return {"steps": self.weight * (one * code.abs()).sum(dim=1).mean()}


class GlobalRandom(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean() + 0 * torch.rand(1, dtype=norms.dtype)[0]


@dataclass(eq=False)
class CountsInstances(Sound):
    """The last bit depends on how many instances were made before."""

    size = 4e-16

    def __post_init__(self):
        self.factor = 1 + self.size * (next(numbers) % 3)

    def value(self, model, clean, code, norms, streams):
        return norms.mean() * self.factor


class CountsMore(CountsInstances):
    size = 1e-2


@dataclass(eq=False)
class Counts(Sound):
    """It grows from call to call, and says nothing of it."""

    calls = 0

    def value(self, model, clean, code, norms, streams):
        self.calls += 1
        return norms.mean() * (1 + self.calls)


class SquareRoot(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.sqrt().mean()


class ReciprocalWeights(Sound):
    def value(self, model, clean, code, norms, streams):
        return 1 / next(model.parameters()).square().sum()


class Exponential(Sound):
    def value(self, model, clean, code, norms, streams):
        return clean.sum(dim=1).mul(1e-3).exp().mean() * next(model.parameters()).square().sum()


class Steep(Sound):
    def value(self, model, clean, code, norms, streams):
        return next(model.parameters()).square().sum().mul(0.01).exp()


class Cancels(Sound):
    def value(self, model, clean, code, norms, streams):
        return (norms.mean() + 5e3) - 5e3


class HalfPrecision(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean().half()


class BorrowsStream(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean() + 0 * torch.rand(1, generator=streams["masking corruption"], dtype=norms.dtype)[0]


class TakesName(Sound):
    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"contractive": self.weight * encoder_jacobian.squared_norm().mean()}


class NotMarked(Sound):
    def penalty_terms(self, code):
        return {"sound": code.mean()}


class NoHook:
    def __init__(self, weight: float):
        self.weight = weight


class ReturnsNothing(Sound):
    @hookimpl
    def penalty_terms(self, code):
        pass


class NotANumber(Sound):
    def value(self, model, clean, code, norms, streams):
        return norms.mean() * float("nan")


class EndsTheProgram(Sound):
    def value(self, *_):
        raise SystemExit(2)


PENALTIES = {
    NotMarked: {"hooks"},
    NoHook: {"hooks"},
    ReturnsNothing: {"runs"},
    NotANumber: {"runs"},
    EndsTheProgram: {"runs"},
    TakesName: {"mixing: names"},
    Raises: {"runs"},
    Vector: {"runs"},
    Number: {"runs"},
    Detached: EVERY_GRADIENT | {"adds to the loss", "gradient: not zero", "gradient: reaches"},
    Counts: {"the same when it is called again"},
    PartlyDetached: EVERY_GRADIENT | {"gradient: reaches"},
    SumOverBatch: {"duplicates", "batch size"},
    ByPlace: {"order", "batch size", "duplicates"},
    OverBatch: {"batch size", "no mixing of examples"},
    WeightSquared: {"proportional to its weight"},
    LooksAtMode: {"training and evaluation mode"},
    SetsFlag: {"arguments left alone"},
    ScalesWeights: {"arguments left alone"},
    BoundsWeights: {"arguments left alone"},
    ScalesAfterwards: {"arguments left alone"},
    OneTermDetached: EVERY_GRADIENT | {"adds to the loss"},
    OneTermFlat: {"adds to the loss"},
    Undifferentiable: EVERY_GRADIENT | {"adds to the loss", "gradient: not zero", "gradient: reaches"},
    GlobalRandom: {"global random state"},
    CountsInstances: {"same stream, same value"},
    CountsMore: {"same stream, same value", "mixing: order", "proportional to its weight", "float32 against float64"},
    SquareRoot: EVERY_EXTREME,
    ReciprocalWeights: {"finite at zero weights"},
    Exponential: {"finite at huge inputs"},
    Steep: {"finite at saturation"},
    Cancels: {"float32 against float64"},
    HalfPrecision: EVERY_GRADIENT | {"no mixing of examples", "float32 against float64"},
    BorrowsStream: {"mixing: streams of others"},
}


@dataclass(eq=False)
class SoundNoise:
    sigma: float

    @hookimpl
    def corrupt_input(self, clean, streams):
        return self.copy(clean, torch.randn(clean.shape, generator=streams["mine"], dtype=clean.dtype))

    def copy(self, clean, noise):
        return clean + self.sigma * noise

    def mean(self, clean):
        return clean

    def covariance_diagonal(self, clean):
        return torch.full_like(clean, self.sigma**2)


class InPlace(SoundNoise):
    def copy(self, clean, noise):
        return clean.add_(self.sigma * noise)


class GlobalNoise(SoundNoise):
    def copy(self, clean, noise):
        return clean + self.sigma * torch.randn_like(clean)


class NumpyNoise(SoundNoise):
    def copy(self, clean, noise):
        drawn = np.random.standard_normal(clean.shape)  # noqa: NPY002
        return clean + self.sigma * torch.from_numpy(drawn).to(clean)


class UnseededNoise(SoundNoise):
    def copy(self, clean, noise):
        drawn = np.random.default_rng().standard_normal(clean.shape)
        return clean + self.sigma * torch.from_numpy(drawn).to(clean)


class DoubleNoise(SoundNoise):
    def copy(self, clean, noise):
        return clean.double() + self.sigma * noise.double()


class Nothing(SoundNoise):
    sigma = 0.0

    def copy(self, clean, noise):
        return clean.clone()

    def covariance_diagonal(self, clean):
        return torch.zeros_like(clean)


class Centred(SoundNoise):
    mean = covariance_diagonal = None
    declares_moments = False

    def copy(self, clean, noise):
        return clean - clean.mean(dim=0) + self.sigma * noise


class Divides(SoundNoise):
    mean = covariance_diagonal = None
    declares_moments = False

    def copy(self, clean, noise):
        return clean * (1 + self.sigma * noise) / clean.amax(dim=-1, keepdim=True)


class WrongMean(SoundNoise):
    def mean(self, clean):
        return 1.05 * clean

    def covariance_diagonal(self, clean):
        return self.sigma**2 + (0.05 * clean) ** 2  # about that mean


class WrongVariance(SoundNoise):
    def covariance_diagonal(self, clean) -> Tensor:
        return torch.full_like(clean, self.sigma)


CORRUPTIONS = {
    InPlace: {"clean batch left alone"},
    GlobalNoise: {"global random state", "same stream, same copy"},
    NumpyNoise: {"global random state", "same stream, same copy"},
    UnseededNoise: {"same stream, same copy", "the same when it is called again", "mixing: order"},
    DoubleNoise: {"shape and type", "interactions"},
    Nothing: {"corrupts"},
    Centred: {"no mixing of examples"},
    Divides: {"finite"},
    WrongMean: {"moments: mean"},
    WrongVariance: {"moments: variance"},
}
