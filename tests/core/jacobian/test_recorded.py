"""What autograd kept of one pass, and the way through the Gram matrix, against passes and products of their own."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian.chain import Chain
from caelab.jacobian.chain_kernels import SquaredNormThroughGram, pays, recorded_inputs
from caelab.jacobian.layers import find_layers
from caelab.jacobian.service import jacobian
from tests.core.jacobian.conftest import make_case

DEEP = ["narrow code", "bottleneck", "three layers"]


@pytest.fixture(params=DEEP)
def deep(request, activation):
    return make_case(request.param, activation)


@pytest.mark.parametrize("samples", [None, 2])
def test_known_outputs_change_neither_values_nor_gradients(deep, samples):
    def outcome(outputs):
        j = jacobian(deep.encode, deep.inputs, outputs)
        norms = j.squared_norm(samples, torch.Generator().manual_seed(0))
        loss = norms.sum() if outputs is None else norms.sum() + 0 * outputs.sum()
        return [norms, *torch.autograd.grad(loss, list(deep.encode.parameters()), materialize_grads=True)]

    for mine, theirs in zip(outcome(deep.encode(deep.inputs)), outcome(None), strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_layers_are_not_run_again(monkeypatch):
    case = make_case("three layers", "sigmoid")
    outputs = case.encode(case.inputs)
    layers = find_layers(case.encode, (6,))
    known = recorded_inputs(layers, case.inputs, outputs)
    h = case.inputs
    for layer, found in zip(layers, known, strict=True):
        assert_close(found, h, rtol=1e-14, atol=0)
        h = layer(h)
    monkeypatch.setattr(type(layers[0].affine), "__call__", lambda *_: pytest.fail("a layer ran again"))
    Chain(layers, case.inputs, outputs).slopes()


@pytest.mark.parametrize("kind", ["nothing", "detached", "other inputs", "other weights", "used up", "no bias"])
def test_a_record_that_does_not_fit_is_left_alone(kind):
    torch.manual_seed(0)
    make = [nn.Sequential(nn.Linear(4, 5, bias=kind != "no bias"), nn.Tanh(), nn.Linear(5, 3), nn.Tanh()) for _ in "ab"]
    encode, inputs = make[0], torch.rand(7, 4)
    outputs = {
        "nothing": lambda: None,
        "detached": lambda: encode(inputs).detach(),
        "other inputs": lambda: encode(inputs.clone()),
        "other weights": lambda: make[1](inputs),
        "used up": lambda: encode(inputs),
        "no bias": lambda: encode(inputs),
    }[kind]()
    if kind == "used up":
        outputs.sum().backward()
    assert recorded_inputs(find_layers(encode, (4,)), inputs, outputs) is None


def test_the_way_through_the_gram_matrix():
    torch.manual_seed(1)
    products = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    found = SquaredNormThroughGram.apply(products, weight)
    composed = (products @ weight).square().sum(dim=(1, 2))
    assert_close(found, composed, rtol=1e-12, atol=0)
    for g in (torch.rand(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)):  # of one sign, and of both
        mine, theirs = (torch.autograd.grad(y, (products, weight), g, retain_graph=True) for y in (found, composed))
        for each, other in zip(mine, theirs, strict=True):
            assert_close(each, other, rtol=1e-11, atol=1e-13)
    assert torch.autograd.gradcheck(SquaredNormThroughGram.apply, (products, weight))
    assert torch.autograd.gradgradcheck(SquaredNormThroughGram.apply, (products, weight))


def test_it_is_taken_where_it_is_shorter(monkeypatch):
    assert pays(3840, 1000, 784)
    assert not pays(3840, 1000, 100)
    assert not pays(30, 1000, 784)
    encode = nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 2), nn.Tanh()).double()
    inputs = torch.rand(50, 8, dtype=torch.float64)
    taken = []
    monkeypatch.setattr("caelab.jacobian.chain.pays", lambda *sizes: taken.append(sizes) or pays(*sizes))
    norms = jacobian(encode, inputs).squared_norm()
    assert taken == [(100, 9, 8)]
    assert_close(norms, jacobian(lambda x: encode(x), inputs).squared_norm(), rtol=1e-12, atol=0)
    found = torch.autograd.grad(norms.sum(), list(encode.parameters()))
    exact = torch.autograd.grad(jacobian(lambda x: encode(x), inputs).squared_norm().sum(), list(encode.parameters()))
    for mine, theirs in zip(found, exact, strict=True):
        assert_close(mine, theirs, rtol=1e-11, atol=1e-14)
