"""Right penalties and corruptions in many styles: ``caelab check`` passes every one of them."""

import copy
import math
from collections import deque
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import jacfwd, jacrev, vmap

from caelab import CaelabError, hookimpl
from caelab.testing.penalty.quantities import DECODER, DIVERGENCE, ENCODER, L1, RECONSTRUCTION, WEIGHTS

ONE = torch.ones(1)
TENTH = torch.tensor(0.1)


def saying(**attributes):
    """Put attributes on a function, as a script does in a line below it."""

    def say(function):
        vars(function).update(attributes)
        return function

    return say


def for_one(activation):
    return saying(claims=ENCODER, activations=(activation,))


def plain(model):
    """Refuse what couples the examples, or draws."""
    if any(isinstance(module, (nn.BatchNorm1d, nn.Dropout)) for module in model.modules()):
        raise CaelabError("one example at a time")


def norms(slopes, W):
    return (slopes**2 @ (W**2).sum(dim=1)).mean()


# closed forms of one activation each


@for_one("sigmoid")
def of_sigmoid(W, h):
    return norms(h * (1 - h), W)


@for_one("tanh")
def of_tanh(W, h):
    return norms(1 - h**2, W)


@for_one("relu")
def of_relu_in_float32(W, h):
    return norms(torch.where(h > 0, torch.ones(1), torch.zeros(1)), W)


@for_one("relu")
def of_relu_with_a_constant_of_the_file(W, h):
    return (((h > 0) * ONE) ** 2 @ (W**2).sum(dim=1)).mean()


@for_one("relu")
def of_relu_by_float(W, h):
    return norms((h > 0).float(), W)


@for_one("leaky_relu")
def of_leaky_relu(W, h):
    return norms(torch.where(h > 0, 1.0, 0.01), W)


@for_one("elu")
def of_elu(W, h):
    return norms(torch.where(h > 0, torch.ones_like(h), h + 1), W)


@for_one("selu")
def of_selu(W, h):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return norms(torch.where(h > 0, torch.full_like(h, scale), h + scale * alpha), W)


@for_one("softplus")
def of_softplus(W, h):
    return norms(1 - torch.exp(-h), W)


@for_one("identity")
def of_identity(W):
    return W.square().sum()


@for_one("silu")
def of_silu(model, x):
    z = model.encode[0](x)
    s = torch.sigmoid(z)
    return norms(s + z * s * (1 - s), model.encode[0].weight)


@for_one("gelu")
def of_gelu(model, x):
    z = model.encode[0](x)
    density = torch.exp(-(z**2) / 2) / torch.sqrt(torch.tensor(2 * math.pi))
    return norms(0.5 * (1 + torch.erf(z / 2**0.5)) + z * density, model.encode[0].weight)


@for_one("softsign")
def of_softsign(W, h):
    return norms((1 - h.abs()) ** 2, W)


@for_one("hardtanh")
def of_hardtanh(W, h):
    return norms((h.abs() < 1).to(h), W)


@for_one("silu")
def of_silu_entry_by_entry(model, x):
    z = model.encode[0](x)
    return norms(torch.autograd.grad(F.silu(z).sum(), z, create_graph=True)[0], model.encode[0].weight)


SLOPES = {nn.Sigmoid: lambda h: h * (1 - h), nn.Tanh: lambda h: 1 - h**2, nn.Identity: torch.ones_like}


@saying(claims=ENCODER)
def of_those_that_it_knows(model, h):
    kind = type(model.encode[-1])
    if kind not in SLOPES or len(model.encode) != 2:
        raise CaelabError(f"no slope is known of {kind.__name__}")
    return norms(SLOPES[kind](h), model.encode[0].weight)


# derivatives by torch


@saying(claims=ENCODER)
def unit_by_unit(model, x):
    plain(model)
    x = x.clone().requires_grad_()
    return sum(torch.autograd.grad(u.sum(), x, create_graph=True)[0].square().sum() for u in model.encode(x).T) / len(x)


@saying(claims=ENCODER)
def by_jacrev(model, x):
    plain(model)
    return vmap(jacrev(model.encode))(x).pow(2).sum((1, 2)).mean()


@saying(claims=ENCODER)
def by_jacfwd_with_float32_zeros(model, x):
    plain(model)
    return torch.zeros(1)[0] + vmap(jacfwd(model.encode))(x).pow(2).sum((1, 2)).mean()


@saying(claims=ENCODER)
def example_by_example(model, x):
    plain(model)
    found = [torch.autograd.functional.jacobian(model.encode, one, create_graph=True) for one in x]
    return torch.stack(found).square().sum() / len(found)


@saying(claims=ENCODER)
def all_rows_at_once(model, x):
    plain(model)
    x = x.clone().requires_grad_()
    code = model.encode(x)
    basis = torch.eye(code.shape[1])[:, None].expand(-1, len(x), -1)
    (rows,) = torch.autograd.grad(code, x, basis.to(code), create_graph=True, is_grads_batched=True)
    return rows.square().sum() / len(x)


@saying(claims=ENCODER)
def of_the_dense_matrix(encoder_jacobian):
    return torch.linalg.matrix_norm(encoder_jacobian.dense()).square().mean()


@saying(claims=ENCODER)
def by_products(encoder_jacobian, x):
    return encoder_jacobian.jvp(torch.eye(x.shape[1]).to(x).expand(len(x), -1, -1)).square().sum((1, 2)).mean()


@saying(claims=ENCODER)
def of_all_singular_values(encoder_jacobian):
    return encoder_jacobian.singular_values().square().sum(1).mean()


def largest_singular_value(encoder_jacobian):
    return encoder_jacobian.singular_values(1)[:, 0].square().mean()


@saying(claims=ENCODER, activations=["sigmoid", "tanh"])
def by_random_signs(model, x, streams):
    plain(model)
    x = x.clone().requires_grad_()
    code = model.encode(x)
    signs = torch.randint(0, 2, code.shape, generator=streams["signs"]) * 2.0 - 1
    return torch.autograd.grad(code, x, signs.to(code), create_graph=True)[0].square().sum(1).mean()


@saying(claims=RECONSTRUCTION)
def of_the_reconstruction(reconstruction_jacobian):
    return reconstruction_jacobian.squared_norm().mean()


@saying(claims=DECODER)
def of_the_decoder(decode, corrupted, encode):
    return vmap(jacrev(decode))(encode(corrupted)).square().sum((1, 2)).mean()


# constants and weights


@saying(claims=ENCODER)
def times_a_rounded_tenth(encoder_jacobian):
    return 10 * (TENTH * encoder_jacobian.squared_norm()).mean()


@saying(claims=ENCODER)
def times_a_scalar_of_numpy(encoder_jacobian):
    return np.float64(1) * encoder_jacobian.squared_norm().mean()


@saying(claims=ENCODER)
def scaled(encoder_jacobian, lam):
    return lam * encoder_jacobian.squared_norm().mean()


def made_by_a_closure():
    weight = torch.tensor(1.0)

    def loss(W, h):
        return weight * norms(h * (1 - h), W)

    return for_one("sigmoid")(loss)


class Callable:
    claims, activations = ENCODER, "sigmoid"

    def __call__(self, W, h):
        return norms(h * (1 - h), W)

    def method(self, W, h):
        return self(W, h)


@saying(claims=WEIGHTS)
def decay(model):
    total = torch.zeros(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            total += (parameter**2).sum()
    return total


@saying(claims=L1)
def code_norm(model, corrupted):
    return torch.linalg.vector_norm(model.encode(corrupted), 1, dim=1).mean()


# over the batch


@saying(claims=DIVERGENCE, over_batch=True, activations=("sigmoid",))
def kullback_leibler(model, corrupted, target=0.2):
    mean = model.encode(corrupted).mean(dim=0).clamp(1e-6, 1 - 1e-6)
    return F.kl_div(torch.log(torch.stack([mean, 1 - mean])), torch.tensor([[target], [1 - target]]), reduction="sum")


@saying(over_batch=True)
def decorrelation(h):
    centred = h - h.mean(dim=0)
    covariance = centred.T @ centred / (len(h) - 1)
    return (covariance - torch.diag(covariance.diagonal())).square().sum()


@dataclass(eq=False)
class Spread:
    """Hinge on the standard deviation of each unit; it says over_batch of the instance."""

    weight: float

    def __post_init__(self):
        self.over_batch = True

    @hookimpl
    def penalty_terms(self, code):
        return {"spread": self.weight * F.relu(2 - (code.var(dim=0) + 1e-4).sqrt()).mean()}


@saying(over_batch=True)
def pairs(h, streams):
    other = h[torch.randperm(len(h), generator=streams["pairs"])]
    return torch.exp(-(h - other).square().sum(dim=1)).mean()


# with a memory


@dataclass(eq=False)
class MovingMean:
    weight: float
    stateful = True

    def __post_init__(self):
        self.mean = None

    @hookimpl
    def penalty_terms(self, code):
        now = code.detach().mean(dim=0)
        self.mean = now if self.mean is None else 0.9 * self.mean + 0.1 * now
        return {"moving mean": self.weight * (code - self.mean).square().sum(dim=1).mean()}


class Buffered(nn.Module):
    """A module with a float32 buffer, a trained scale and a weight that is a tensor."""

    stateful = over_batch = True

    def __init__(self, weight: float = 0.5):
        super().__init__()
        self.weight = torch.tensor(weight)
        self.register_buffer("mean", torch.zeros(1))

    @hookimpl
    def penalty_terms(self, code):
        with torch.no_grad():
            self.mean.lerp_(code.mean().to(self.mean), 0.1)
        return {"buffered": self.weight * (code - self.mean).square().sum(1).mean()}


@dataclass(eq=False)
class Teacher:
    """Stay near a slow copy of the model."""

    weight: float
    stateful = True

    @hookimpl
    def before_training(self, model):
        self.slow = copy.deepcopy(model).requires_grad_(False)

    @hookimpl
    def penalty_terms(self, model, clean, code):
        return {"teacher": self.weight * (code - 2 * self.slow.encode(clean)).square().sum(1).mean()}

    @hookimpl
    def after_batch(self, model):
        for slow, fast in zip(self.slow.parameters(), model.parameters(), strict=True):
            slow.data.lerp_(fast.detach(), 0.01)


@dataclass(eq=False)
class Recent:
    weight: float
    stateful = True

    def __post_init__(self):
        self.codes = deque(maxlen=3)

    @hookimpl
    def penalty_terms(self, code):
        near = sum((code - old.mean(dim=0)).square().sum(1).mean() for old in self.codes)
        self.codes.append(code.detach())
        return {"recent": self.weight * (near + code.square().sum(1).mean())}


def with_a_nonlocal():
    mean = None

    @saying(stateful=True)
    def loss(h):
        nonlocal mean
        mean = h.detach().mean(0) if mean is None else 0.9 * mean + 0.1 * h.detach().mean(0)
        return (h - mean).square().sum(1).mean()

    return loss


# by the epoch


@dataclass(eq=False)
class WarmsUp:
    weight: float
    claims = ENCODER

    @hookimpl
    def penalty_terms(self, encoder_jacobian, epoch):
        return {"warm": self.weight * min(1.0, epoch / 5) * encoder_jacobian.squared_norm().mean()}


@dataclass(eq=False)
class WarmsUpBefore:
    weight: float
    claims, epoch = ENCODER, 30

    @hookimpl
    def before_epoch(self, epoch):
        self.factor = min(1.0, (epoch - 1) / 29)

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"warm": self.weight * self.factor * encoder_jacobian.squared_norm().mean()}


@dataclass(eq=False)
class WarmsUpOverTheRun:
    weight: float
    claims = ENCODER

    @hookimpl
    def before_training(self, config):
        self.epochs = config.training.epochs

    @hookimpl
    def penalty_terms(self, encoder_jacobian, epoch):
        return {"warm": self.weight * epoch / self.epochs * encoder_jacobian.squared_norm().mean()}


@dataclass(eq=False)
class ComesLate:
    weight: float

    @hookimpl
    def penalty_terms(self, code, epoch):
        return {"late": self.weight * code.abs().sum(1).mean()} if epoch > 3 else {}


@saying(claims=ENCODER, epoch=1)
def fades(encoder_jacobian, epoch):
    return 0.9 ** (epoch - 1) * encoder_jacobian.squared_norm().mean()


@dataclass(eq=False)
class CountsSteps:
    """A warm-up in steps, which it counts after each."""

    weight: float
    claims, stateful, epoch = ENCODER, True, 4

    def __post_init__(self):
        self.steps = 0

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"steps": self.weight * min(1.0, self.steps / 4) * encoder_jacobian.squared_norm().mean()}

    @hookimpl
    def after_batch(self):
        self.steps += 1


# whatever else


@dataclass(eq=False)
class TwoTerms:
    weight: float
    share: float = 0.3

    @hookimpl
    def penalty_terms(self, code, encoder_jacobian):
        contraction = encoder_jacobian.squared_norm().mean()
        return {"one": self.weight * contraction, "two": self.weight * self.share * code.abs().sum(1).mean()}


def as_images(x):
    side = math.isqrt(x.shape[-1])
    return x.reshape(-1, 1, side, side)


def total_variation(reconstruction):
    images = as_images(reconstruction)
    return sum(images.diff(dim=axis).abs().sum((1, 2, 3)).mean() for axis in (2, 3))


def with_a_float64_vector(h):
    return (h * torch.from_numpy(np.ones(h.shape[1]))).square().sum(1).mean()


def above_a_bound(encoder_jacobian):
    return F.relu(encoder_jacobian.squared_norm() - 0.1).mean()


def orthogonal(W):
    return (W @ W.T - torch.eye(len(W))).square().sum()


def printing(h):
    print("loss", float(h.sum()))
    return h.abs().sum(1).mean()


def of_a_frozen_copy(model, x):
    still = copy.deepcopy(model).requires_grad_(False)
    return (model.encode(x) - 2 * still.encode(x)).square().sum(1).mean() + model.encode(x).square().sum(1).mean()


PENALTIES = [
    of_sigmoid, of_tanh, of_relu_in_float32, of_relu_with_a_constant_of_the_file, of_relu_by_float, of_leaky_relu,
    of_elu, of_selu, of_softplus, of_identity, of_silu, of_gelu, of_softsign, of_hardtanh, of_silu_entry_by_entry,
    of_those_that_it_knows, unit_by_unit, by_jacrev, by_jacfwd_with_float32_zeros, example_by_example,
    all_rows_at_once, of_the_dense_matrix, by_products, of_all_singular_values, largest_singular_value,
    by_random_signs, of_the_reconstruction, of_the_decoder,
    times_a_rounded_tenth, times_a_scalar_of_numpy, partial(scaled, lam=0.3), made_by_a_closure(), Callable(),
    Callable().method, decay, code_norm, kullback_leibler, decorrelation, Spread, pairs, MovingMean, Buffered, Teacher,
    Recent, with_a_nonlocal(), WarmsUp, WarmsUpBefore, WarmsUpOverTheRun, ComesLate, fades, CountsSteps, TwoTerms,
    total_variation, above_a_bound, orthogonal, printing,
    with_a_float64_vector,
]  # fmt: skip


# corruptions


class Corrupts:
    @hookimpl
    def corrupt_input(self, clean, epoch, streams):
        return self.copy(clean, epoch, streams["mine"])

    def normal(self, clean, stream):
        return torch.randn(clean.shape, generator=stream, dtype=clean.dtype)


class Gaussian(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean + 0.1 * self.normal(clean, stream)


class InFloat32(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean * (torch.rand(clean.shape, generator=stream) > 0.3).float()


class SaltAndPepper(Corrupts):
    def copy(self, clean, epoch, stream):
        chance = torch.rand(clean.shape, generator=stream, dtype=clean.dtype)
        return torch.where(chance < 0.02, torch.zeros(()), torch.where(chance > 0.98, torch.ones(()), clean))


class Mixup(Corrupts):
    over_batch = True

    def copy(self, clean, epoch, stream):
        share = 0.3 * torch.rand(len(clean), 1, generator=stream, dtype=clean.dtype)
        return (1 - share) * clean + share * clean[torch.randperm(len(clean), generator=stream)]


class Whitened(Corrupts):
    over_batch = True

    def copy(self, clean, epoch, stream):
        return (clean - clean.mean(dim=0)) / (clean.std(dim=0) + 1e-6)


class Shuffled(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean[:, torch.randperm(clean.shape[1], generator=stream)]


class Blurred(Corrupts):
    def copy(self, clean, epoch, stream):
        return F.avg_pool2d(as_images(clean), 3, 1, 1).reshape(clean.shape)


class CutOut(Corrupts):
    def copy(self, clean, epoch, stream):
        images = as_images(clean).clone()
        images[..., : int(torch.randint(1, 3, (), generator=stream)), :] = 0
        return images.reshape(clean.shape)


class Grows(Corrupts):
    """Nothing in the first epoch."""

    def copy(self, clean, epoch, stream):
        return clean + 0.1 * min(1.0, (epoch - 1) / 10) * self.normal(clean, stream)


class SetUpBefore(Corrupts):
    @hookimpl
    def before_training(self, model):
        self.size = float(model.encode[0].weight.abs().mean())

    def copy(self, clean, epoch, stream):
        return clean + self.size * self.normal(clean, stream)


class Drifts(Corrupts):
    """Noise that remembers the one before."""

    stateful = True

    def __init__(self):
        self.last = 0.0

    def copy(self, clean, epoch, stream):
        self.last = 0.9 * self.last + 0.1 * self.normal(clean[:1], stream)
        return clean + self.last


class CorruptsAndPenalises(Gaussian):
    @hookimpl
    def penalty_terms(self, code):
        return {"and": code.abs().sum(1).mean()}


CORRUPTIONS = [
    Gaussian, InFloat32, SaltAndPepper, Mixup, Whitened, Shuffled, Blurred, CutOut, Grows, SetUpBefore, Drifts,
    CorruptsAndPenalises,
]  # fmt: skip

RIGHT = [*PENALTIES, *CORRUPTIONS]
