"""Products from one pass forward that is kept, by every engine, are those of the explicit matrix."""

from itertools import count

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian import engines
from caelab.jacobian.engines import LINEARIZED, MANY, KeptProducts
from caelab.jacobian.service import jacobian
from caelab.jacobian.validation.trial import Directions
from tests.core.jacobian.references import dense_jacobian

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Linear(36, 6)
        self.calls = count()

    def forward(self, x):
        next(self.calls)
        return self.out(nn.functional.silu(self.norm(self.conv(x))).flatten(1))


class Recurrent(nn.Module):
    """Torch has no forward mode of an LSTM."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0].flatten(1)


class Quiet(nn.Module):
    """Forward mode does not see what is computed without a record, and reverse mode is what training uses."""

    def forward(self, x):
        with torch.no_grad():
            scale = x.square().sum(dim=1, keepdim=True)
        return torch.tanh(x) * scale


NETS = {
    "conv": (Conv, (3, 2, 5, 5)),
    "LSTM": (Recurrent, (3, 6, 4)),
    "quiet": (Quiet, (3, 7)),
    "layers": (lambda: nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4)), (3, 7)),
    "one layer": (lambda: nn.Sequential(nn.Linear(7, 5), nn.Sigmoid()), (3, 7)),
    "sparse": (lambda: nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.ReLU()), (3, 7)),
}


def made(name):
    torch.manual_seed(4)
    make, shape = NETS[name]
    net, x = make().double(), torch.randn(shape, dtype=torch.float64)
    return net, x, dense_jacobian(net, x)


def assert_products(kept, dense, times=1):
    draws = torch.Generator().manual_seed(times)
    for _ in range(times):
        v = torch.randn(len(dense), 3, dense.shape[2], generator=draws, dtype=torch.float64)
        u = torch.randn(len(dense), 2, dense.shape[1], generator=draws, dtype=torch.float64)
        assert_close(kept.push(v), v @ dense.mT, **CLOSE)
        assert_close(kept.pull(u), u @ dense, **CLOSE)
    assert not kept.push(v).requires_grad
    assert not kept.pull(u).requires_grad


@pytest.mark.parametrize("name", NETS)
def test_products_of_every_strategy(name):
    net, x, dense = made(name)
    assert_products(jacobian(net, x).strategy.kept(), dense, times=3)


@pytest.mark.parametrize("fastest", [Directions.FORWARD, Directions.TWICE, LINEARIZED])
def test_every_engine_gives_the_same(fastest, monkeypatch):
    """Whichever is measured as the fastest: the numbers do not change, nor does what is remembered."""
    net, x, dense = made("conv")
    kept = jacobian(net, x).strategy.kept()
    seconds = {kept._usual: 2.0, kept._twice: 1.0 if fastest is Directions.TWICE else 3.0}

    def timed(push, vectors):
        return push(vectors).detach(), seconds.get(push, 0.5 if fastest == LINEARIZED else 4.0)

    monkeypatch.setattr(engines, "_timed", timed)
    assert_products(kept, dense, times=MANY + 2)
    assert kept.engine == fastest
    others = jacobian(net, x).strategy.kept()
    expected = Directions.FORWARD if fastest == LINEARIZED else fastest
    assert (others.engine, others.remembered) == (expected, kept.remembered), "a trace pays behind many products alone"


@pytest.mark.parametrize("wrong", ["_twice", "_linearized"])
def test_an_engine_that_gives_other_numbers_is_not_taken(wrong, monkeypatch):
    net, x, dense = made("conv")
    right = getattr(KeptProducts, wrong)
    monkeypatch.setattr(KeptProducts, wrong, lambda kept, vectors: 1.01 * right(kept, vectors))
    monkeypatch.setattr(engines, "_timed", lambda push, vectors: (push(vectors), -next(clock)))
    clock = count()  # whatever comes later is faster
    kept = jacobian(net, x).strategy.kept()
    assert_products(kept, dense, times=MANY + 2)
    assert kept.engine == (LINEARIZED if wrong == "_twice" else Directions.TWICE)


def test_the_pass_forward_is_kept():
    net, x, dense = made("conv")
    kept = jacobian(net, x).strategy.kept()
    kept.remembered["engine"] = Directions.TWICE
    assert_products(kept, dense)
    before = next(net.calls)
    assert_products(kept, dense, times=5)
    assert next(net.calls) == before + 1


def test_a_constant_has_zero_products():
    net = nn.Linear(5, 4).double()

    def encode(x):
        return net(x) if x.sum() > 0 else x.new_ones(len(x), 4)

    x = torch.rand(3, 5, dtype=torch.float64)
    strategy = jacobian(encode, x).strategy
    kept = strategy.at(-x, slice(None)).kept()
    assert_close(kept.push(torch.rand(3, 2, 5, dtype=torch.float64)), torch.zeros(3, 2, 4, dtype=torch.float64))
    assert_close(kept.pull(torch.rand(3, 2, 4, dtype=torch.float64)), torch.zeros(3, 2, 5, dtype=torch.float64))
