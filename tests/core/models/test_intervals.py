"""Bounds of a model's output: found where operations set them, never narrower than what the output can be."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from caelab import CaelabError, recipe_config, train
from caelab.models.intervals import Intervals, hull, inverse, magnitude, times
from caelab.models.ranges import range_of

INF = math.inf
SQUARED = recipe_config("ae", ["training.reconstruction=squared-error", "training.epochs=1", "training.batch_size=10"])
FAR = np.random.default_rng(0).random((30, 5)).astype("float32") * 20 - 7


class Ends(nn.Module):
    """A linear auto-encoder that ends in a function."""

    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.d, self.last = nn.Linear(5, 3), nn.Linear(3, 5), last
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("width", torch.tensor(2.0))

    def encode(self, inputs):
        return self.e(inputs)

    def decode(self, code):
        return self.last(self.d(code))


def in_parts(z):
    out = torch.zeros_like(z)
    out[:, :2], out[:, 2:] = z[:, :2].sigmoid(), 3 * z[:, 2:].sigmoid()
    return out


def reshaped(z):
    return z.sigmoid().reshape(-1, 5, 1).transpose(0, 1).contiguous().transpose(0, 1).flatten(1)


def at_last_written(z):
    out = z.clone()
    out.clamp_(-1, 2)
    return out


BOUNDED = {
    "clamp": (lambda z: z.clamp(0, 1), (0, 1)),
    "clamp by name": (lambda z: torch.clamp(z, min=-1, max=2), (-1, 2)),
    "clamp from below": (lambda z: z.clamp(min=0), (0, INF)),
    "hardtanh": (F.hardtanh, (-1, 1)),
    "relu6": (F.relu6, (0, 6)),
    "erf": (torch.erf, (-1, 1)),
    "tanh, moved": (lambda z: z.tanh() / 2 + 0.5, (0, 1)),
    "a sigmoid by hand": (lambda z: 1 / (1 + (-z).exp()), (0, 1)),
    "a sigmoid by another hand": (lambda z: 1 - 1 / (z.exp() + 1), (0, 1)),
    "255 sigmoid": (lambda z: z.sigmoid() * 255, (0, 255)),
    "softmax": (nn.Softmax(1), (0, 1)),
    "a chain": (nn.Sequential(nn.Linear(5, 5), nn.Softmax(1)), (0, 1)),
    "atan": (lambda z: 2 * z.atan() / math.pi, (-1, 1)),
    "sine": (torch.sin, (-1, 1)),
    "a square": (lambda z: z**2, (0, INF)),
    "minus abs": (lambda z: -z.abs(), (-INF, 0)),
    "elu": (F.elu, (-1, INF)),
    "log sigmoid": (F.logsigmoid, (-INF, 0)),
    "parts": (lambda z: torch.cat([z[:, :2].sigmoid(), z[:, 2:].tanh()], 1), (-1, 1)),
    "in parts": (in_parts, (0, 3)),
    "shapes": (reshaped, (0, 1)),
    "in place": (at_last_written, (-1, 2)),
    "a choice": (lambda z: torch.where(z > 0, z.tanh(), z.sigmoid() - 2), (-2, 1)),
    "scripted": (torch.jit.script(nn.Sequential(nn.Linear(5, 5), nn.Sigmoid())), (0, 1)),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_that_operations_set_are_found(name):
    last, expected = BOUNDED[name]
    found, by = range_of(Ends(last), torch.rand(2, 5))
    assert found == pytest.approx(expected, abs=1e-12)
    assert by
    with pytest.raises(CaelabError, match="every reconstruction of Ends lies in"):
        train(SQUARED, model=Ends(last), dataset=FAR * (1 if expected != (0, 255) else 1000))


def learned(z, model):
    return z.sigmoid() * model.scale


def by_a_buffer(z, model):
    return z.sigmoid() * model.width


def written_over(z, model):
    out = z.sigmoid()
    out[:, 1:] = z[:, 1:]
    return out


def given_out(z, model):
    out = torch.zeros_like(z)
    return torch.mul(z, 2, out=out)


def by_its_values(z, model):
    return z.clamp(0, 1) if float(z.max()) < 1e6 else z


def rounded_down(z, model):
    return (z.sigmoid() + 0.5).long().float()


UNBOUNDED = {
    "linear": lambda z, model: z,
    "learned scale": learned,
    "a buffer": by_a_buffer,
    "written over": written_over,
    "out=": given_out,
    "a branch": by_its_values,
    "a residual": lambda z, model: z.tanh() + z,
    "asinh": lambda z, model: z.asinh(),
    "softshrink": lambda z, model: F.softshrink(z),
    "odds": lambda z, model: z.sigmoid() / (1 - z.sigmoid()) - 1 / z.sigmoid(),
    "whole numbers": rounded_down,
    "a negative elu": lambda z, model: F.elu(z, alpha=-3.0).neg(),
    "a weight behind": lambda z, model: model.d(z[:, :3].tanh()),
    "a table": lambda z, model: z.sigmoid() @ model.d.weight @ model.d.weight.t(),
}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_can_reach_any_data_has_no_bounds(name):
    model = Ends(None)
    model.decode = lambda code: UNBOUNDED[name](model.d(code), model)
    assert range_of(model, torch.rand(2, 5))[0] == (-INF, INF)


class Chain(nn.Module):
    """Ends in a module."""

    def __init__(self, module):
        super().__init__()
        self.encode, self.decode = nn.Linear(5, 3), nn.Sequential(nn.Linear(3, 5), module)
        self.logits = self.decode[0]


@pytest.mark.parametrize("module", [nn.Softsign(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Tanhshrink()])
def test_bounds_of_a_module_hold_far_out(module):
    low, high = range_of(Chain(module), torch.rand(2, 5))[0]
    assert isinstance(module, nn.Tanhshrink) or low > -INF
    values = module(torch.cat([torch.linspace(-50, 50, 9999), torch.tensor([-1e6, 1e6])]))
    assert low <= float(values.min()) + 1e-3
    assert float(values.max()) - 1e-3 <= high


class Slow(nn.Module):
    """Grows without a bound, but slowly."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z)


@pytest.mark.parametrize("function", [torch.asinh, lambda z: z / 1000, lambda z: z.sign() * z.abs().log1p()])
def test_what_grows_slowly_is_not_bounded(function):
    assert range_of(Chain(Slow(function)), torch.rand(2, 5))[0] == (-INF, INF)


def test_following_a_model_changes_nothing_in_it():
    model = Ends(nn.BatchNorm1d(5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    range_of(model, torch.rand(2, 5))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("seed", range(20))
def test_arithmetic_of_ranges_holds_every_value(seed):
    rng = np.random.default_rng(seed)
    (a, b), (c, d) = np.sort(rng.integers(-3, 4, (2, 2)))
    x, y = (torch.tensor(np.linspace(low, high, 41)) for low, high in ((a, b), (c, d)))
    several = {"mul": torch.mul, "add": torch.add, "sub": torch.sub, "maximum": torch.maximum, "div": torch.div}
    for operation in several.values():
        follow = Intervals()
        left, right = x[:, None].repeat(1, 41).clone(), y.repeat(41, 1).clone()
        for tensor, range_ in ((left, (a, b)), (right, (c, d))):
            follow._note(tensor, ((float(range_[0]), float(range_[1])), "it"))
        with follow:
            outputs = operation(left, right)
        low, high = follow.of(outputs)[0]
        finite = outputs[outputs.isfinite()]
        assert finite.numel() == 0 or (low <= float(finite.min()) + 1e-12 and float(finite.max()) <= high + 1e-12)


def test_plain_ranges():
    assert hull([(0, 1), (-3, 0.5)]) == (-3, 1)
    assert times((-1, 2), (3, 4)) == (-4, 8)
    assert inverse((-1, 1)) == (-INF, INF)
    assert magnitude((-3, 2)) == (0, 3)


def test_advice_fits_where_the_model_comes_from():
    with pytest.raises(CaelabError, match=r"rescale the inputs, or let Ends\.decode end in a linear layer$"):
        train(SQUARED, model=Ends(torch.sigmoid), dataset=FAR)
    with pytest.raises(CaelabError, match=r"rescale the inputs, or use --set model\.output=identity$"):
        train(SQUARED, dataset=FAR)
    entropy = recipe_config("ae", ["training.epochs=1", "training.batch_size=10"])
    with pytest.raises(CaelabError, match=r"or use --set training\.reconstruction=squared-error$"):
        train(entropy, model=Ends(torch.sigmoid), dataset=FAR)
    with pytest.raises(CaelabError, match=r"but the model ends in Tanh; let Chain\.decode end in sigmoid, or use"):
        train(entropy, model=Chain(nn.Tanh()), dataset=(FAR + 7) / 20)
