"""Wrong penalties and corruptions: each with rows that must fail, and words that must stand in what is said of it.

The older ones are in old_scripts.py and broken.py; here the whole report counts, and the reason in it.
"""

import copy
import itertools
import os
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from caelab import hookimpl
from caelab.testing.penalty.quantities import DIVERGENCE, ENCODER, RECONSTRUCTION, WEIGHTS
from tests.core.testing.right_penalties import Corrupts, as_images, for_one, norms, plain, saying

GRADIENT, VALUE, RUNS, AGAIN = "adds to the loss", "value: after training", "runs", "the same when it is called again"
WRONG = {}


def fails(row, *words):
    """Register what is below, with the row that fails and words of its reason."""

    def register(thing):
        WRONG[thing] = (row, words)
        return thing

    return register


# nothing is trained


@fails(RUNS, "tangents() have no gradient", "use singular_values(k)")
@dataclass(eq=False)
class Tangents:
    weight: float

    @hookimpl
    def penalty_terms(self, encoder_jacobian, code):
        values, _ = encoder_jacobian.tangents(2)
        return {"tangents": self.weight * values.to(code).sum(1).mean()}


@fails(GRADIENT, "cut from the graph", ".detach()")
def cut_code(h):
    return h.detach().mean()


@fails(GRADIENT, "it returns a number", ".item()")
def a_number(h):
    return h.abs().sum(1).mean().item()


@fails(GRADIENT, "cut from the graph", ".numpy()")
def through_numpy(h):
    return torch.tensor(np.abs(h.detach().numpy()).sum(1).mean())


@fails(GRADIENT, "no parameter of the model moves its value")
def of_the_input(x):
    return x.square().sum(1).mean()


@fails(GRADIENT, "depends on no trainable parameter of the model")
def of_a_copy(model, x):
    return copy.deepcopy(model).encode(x).square().sum(1).mean()


@fails(GRADIENT, "round()", "derivative is zero")
def rounded(h):
    return (10 * h).round().sum(1).mean()


@fails(GRADIENT, "moves in steps", "comparison")
def counted(h):
    return (h > 0.5).double().sum(1).mean()


@fails("gradient: not zero", "cannot tell", "flat wherever it is looked at")
def never_reached(encoder_jacobian):
    return F.relu(encoder_jacobian.squared_norm() - 1e6).mean()


# another value than it claims


@fails(VALUE, "0.5 of it")
@saying(claims=ENCODER)
def halved(encoder_jacobian):
    return encoder_jacobian.squared_norm().mean() / 2


@fails("value: leaky-relu", "of it")
@saying(claims=ENCODER, activations=("relu", "leaky-relu"))
def of_relu_for_leaky(W, h):
    return norms((h > 0).to(h), W)


@fails(VALUE, "of it")
@for_one("leaky-relu")
def another_slope(W, h):
    return norms(torch.where(h > 0, 1.0, 0.2), W)


@fails(VALUE, "of it")
@for_one("elu")
def elu_without_its_one(W, h):
    return norms(torch.where(h > 0, torch.ones_like(h), h), W)


@fails(VALUE, "of it")
@for_one("tanh")
def tanh_as_a_sigmoid(W, h):
    return norms(h * (1 - h), W)


@fails(VALUE, "of it")
@for_one("softplus")
def softplus_as_a_sigmoid(W, h):
    return norms(torch.sigmoid(h), W)


@fails(VALUE, "of it")
@saying(claims=ENCODER)
def not_squared(encoder_jacobian):
    return (encoder_jacobian.squared_norm() + 1e-9).sqrt().mean()


@fails(VALUE, "of it")
@saying(claims=ENCODER)
def absolute_entries(encoder_jacobian):
    return encoder_jacobian.dense().abs().sum((1, 2)).mean()


@fails("known mistake", "gradient of the summed code")
@saying(claims=ENCODER)
def summed_code(model, x):
    plain(model)
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model.encode(x).sum(), x, create_graph=True)[0].square().sum(1).mean()


@fails("known mistake", "mean of entries")
@saying(claims=RECONSTRUCTION)
def mean_of_entries(reconstruction_jacobian):
    return reconstruction_jacobian.dense().square().mean()


@fails("value: corrupted input", "of it")
@saying(claims=ENCODER)
def at_the_noisy_input(model, corrupted):
    plain(model)
    corrupted = corrupted.clone().requires_grad_()
    rows = [torch.autograd.grad(u.sum(), corrupted, create_graph=True)[0] for u in model.encode(corrupted).T]
    return sum(row.square().sum() for row in rows) / len(corrupted)


@fails(VALUE, "of it")
@saying(claims=WEIGHTS)
def biases_too(model):
    return sum(parameter.square().sum() for parameter in model.parameters())


@fails("value: two layers", "of it")
@saying(claims=WEIGHTS)
def first_layer_only(model):
    return model.encode[0].weight.square().sum()


@fails(VALUE, "of it")
@saying(claims=DIVERGENCE, over_batch=True, activations=("sigmoid",))
def reversed_divergence(h, target=0.2):
    mean = h.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    return (mean * torch.log(mean / target) + (1 - mean) * torch.log((1 - mean) / (1 - target))).sum()


@fails(VALUE, "at epoch", "changes with the epoch", "epoch = N")
@saying(claims=ENCODER)
def warms_up_to_half(encoder_jacobian, epoch):
    return 0.5 * min(1.0, epoch / 5) * encoder_jacobian.squared_norm().mean()


@fails(VALUE, "0.1 of it")
@saying(claims=ENCODER, epoch=1)
def asks_for_the_wrong_epoch(encoder_jacobian, epoch):
    return min(1.0, epoch / 10) * encoder_jacobian.squared_norm().mean()


# sums, batches, weights


@fails("duplicates", "off by 1", "use .mean() over the batch axis")
def over_a_fixed_number(h):
    return h.square().sum() / 128


@fails("duplicates", "off by 1", "use .mean() over the batch axis")
@saying(over_batch=True)
def a_sum_that_says_over_batch(h):
    return h.square().sum()


@fails("no mixing of examples", "says over_batch = True")
def over_the_batch(h):
    return (h - h.mean(dim=0)).square().sum(1).mean()


@fails("duplicates", "says over_batch = True")
def unbiased_variance(h):
    return h.var(dim=0).sum()


@fails("order", "by their place in the batch")
def first_example(h):
    return h[0].square().sum()


@fails("proportional to its weight", "once")
@dataclass(eq=False)
class IgnoresWeight:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": code.square().sum(1).mean()}


# memory and chance


@fails(AGAIN, "self.mean", "says stateful = True")
@dataclass(eq=False)
class MovingMean:
    weight: float
    over_batch = True
    mean = 0.0

    @hookimpl
    def penalty_terms(self, code):
        self.mean = 0.9 * self.mean + 0.1 * code.mean(dim=0).detach()
        return {"mine": self.weight * (code - self.mean).square().sum(1).mean()}


@fails("the step after", "detach")
class KeepsTheGraph(MovingMean):
    stateful = True

    @hookimpl
    def penalty_terms(self, code):
        self.mean = 0.9 * self.mean + 0.1 * code.mean(dim=0)
        return {"mine": self.weight * (code - self.mean).square().sum(1).mean()}


seen = []


@fails(AGAIN, "seen", "says stateful = True")
def in_a_list_of_the_file(h):
    seen.append(float(h.sum()))
    return len(seen) * h.square().sum(1).mean()


@fails(AGAIN, "self.stream", "draw from streams")
@dataclass(eq=False)
class OwnGenerator:
    weight: float

    def __post_init__(self):
        self.stream = torch.Generator().manual_seed(0)

    @hookimpl
    def penalty_terms(self, code):
        noise = torch.randn(code.shape, generator=self.stream, dtype=code.dtype)
        return {"mine": self.weight * (code + noise).square().sum(1).mean()}


count = itertools.count(1)


@fails(AGAIN, "nothing else can be told", "an iterator, a file or a clock")
def by_an_iterator(h):
    return next(count) * h.square().sum(1).mean()


@fails(AGAIN, "nothing else can be told", "draws numbers from elsewhere than streams")
def unseeded(h):
    return np.random.default_rng().random() * h.square().sum(1).mean()


@fails(AGAIN, "nothing else can be told", "a clock")
def by_the_clock(h):
    return time.perf_counter() * h.square().sum(1).mean()


@fails("global random state", "numpy drawn from", "streams['my noise']")
def from_numpy(h):
    return (1 + np.random.rand()) * h.square().sum(1).mean()  # noqa: NPY002


# what belongs to others


@fails("arguments left alone", "'clean'", "in place in penalty_terms", ".clone()")
def changes_clean(clean, h):
    clean.mul_(0.5)
    return h.square().sum(1).mean()


@fails("arguments left alone", "'code'", "in place in penalty_terms", ".clone()")
@dataclass(eq=False)
class ChangesCode:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": self.weight * code.mul_(2).square().sum(1).mean()}


@fails("arguments left alone", "encode.0.weight")
@dataclass(eq=False)
class ClampsWeights:
    weight: float

    @hookimpl
    def penalty_terms(self, model, code):
        with torch.no_grad():
            model.encode[0].weight.mul_(0.99)
        return {"mine": self.weight * code.square().sum(1).mean()}


@fails("arguments left alone", "the model's mode")
@dataclass(eq=False)
class LeavesEvaluation:
    weight: float

    @hookimpl
    def penalty_terms(self, model, clean):
        return {"mine": self.weight * model.eval().encode(clean).square().sum(1).mean()}


@fails("settings of the process", "torch's default dtype from", "penalty_terms")
@dataclass(eq=False)
class SetsDefaultType:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        torch.set_default_dtype(torch.float16)
        return {"mine": self.weight * code.square().sum(1).mean()}


@fails("settings of the process", "torch's gradient mode", "making it")
class StopsGradients:
    def __init__(self, weight: float):
        self.weight = weight
        torch.set_grad_enabled(False)

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": self.weight * code.square().sum(1).mean()}


@fails("settings of the process", "the working folder")
def changes_folder(h):
    os.chdir("/")
    return h.square().sum(1).mean()


# what is no term, or ends


@fails(RUNS, "ends the program, with sys.exit(3)")
def ends(h):
    sys.exit(3)


@fails(RUNS, "ends the whole program with os._exit(3)")
@dataclass(eq=False)
class EndsAtOnce:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        os._exit(3)


@fails(RUNS, "asks for input")
def asks(h):
    return float(input("weight? ")) * h.sum(1).mean()


@fails(RUNS, "FileNotFoundError", "/nowhere/weights.txt")
def reads(h):
    with open("/nowhere/weights.txt", encoding="utf-8") as file:
        return float(file.read()) * h.sum(1).mean()


@fails(RUNS, "shape '[-1, 28, 28]' is invalid", "9 inputs")
def images_of_one_size(reconstruction):
    return reconstruction.view(-1, 28, 28).diff(dim=1).abs().sum((1, 2)).mean()


@fails(RUNS, "'hidden'")
@dataclass(eq=False)
class UnknownArgument:
    weight: float

    @hookimpl
    def penalty_terms(self, hidden):
        return {"mine": self.weight * hidden.sum()}


# numbers


@fails("float32 against float64", "in float32, as runs are, it fails", "dtype=clean.dtype")
def with_a_float64_matrix(h):
    return (h @ torch.ones(h.shape[1], 2, dtype=torch.float64)).square().sum(1).mean()


@fails("finite at saturation", "logarithm at 0")
@saying(over_batch=True, activations=("sigmoid",))
def unclamped_divergence(h, target=0.2):
    mean = h.mean(dim=0)
    return (target * torch.log(target / mean) + (1 - target) * torch.log((1 - target) / (1 - mean))).sum()


@fails("finite at zero weights", "square root")
def norm_of_the_jacobian(encoder_jacobian):
    return encoder_jacobian.squared_norm().sqrt().mean()


@fails("gradient: after training", ".detach()")
def half_cut(W, h):
    return norms(h * (1 - h.detach()), W)


# corruptions


@fails("clean batch left alone", "'clean'", "in place in corrupt_input")
class AddsInPlace(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean.add_(self.normal(clean, stream))


@fails("shape and type", "None")
class ReturnsNothing(Corrupts):
    def copy(self, clean, epoch, stream):
        return None


@fails("shape and type", "(6, 1, 3, 3)")
class ReturnsImages(Corrupts):
    def copy(self, clean, epoch, stream):
        return as_images(clean) + 0.1


@fails("no mixing of examples", "as mixup, says over_batch = True")
class Mixup(Corrupts):
    def copy(self, clean, epoch, stream):
        return (clean + clean[torch.randperm(len(clean), generator=stream)]) / 2


@fails("corrupts", "it does nothing to the input")
class Nothing(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean + 0.0


@fails(AGAIN, "self.last", "says stateful = True")
class Drifts(Corrupts):
    last = 0.0

    def copy(self, clean, epoch, stream):
        self.last = self.last + 0.1 * self.normal(clean[:1], stream)
        return clean + self.last


@fails("finite", "division by the input")
class Normalised(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean / clean.sum(dim=1, keepdim=True)


@fails("moments: mean", "derive the mean")
class WrongMean(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean * (torch.rand(clean.shape, generator=stream, dtype=clean.dtype) > 0.3)

    def mean(self, clean):
        return clean

    def covariance_diagonal(self, clean):
        return 0.21 * clean**2


@fails("same stream, same copy", "draw every random number from streams")
class GlobalNoise(Corrupts):
    def copy(self, clean, epoch, stream):
        return clean + torch.randn_like(clean)


@fails("settings of the process", "torch's number of threads", "corrupt_input")
class SetsThreads(Corrupts):
    def copy(self, clean, epoch, stream):
        torch.set_num_threads(2)
        return clean + 0.1 * self.normal(clean, stream)


class Half(nn.Module):
    """A module that computes in half precision."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = weight

    @hookimpl
    def penalty_terms(self, code):
        return {"half": self.weight * code.half().square().sum(1).mean().to(code.dtype)}


fails("gradient: after training", "rounded to torch.float16")(Half)
