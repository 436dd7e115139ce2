"""What one recorded pass kept, and the way through the Gram matrix, against passes and products of their own."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian.chain_kernels import SquaredNormOfProduct, SquaredNormThroughGram
from caelab.jacobian.layers import Affine, find_layers
from caelab.jacobian.recording import recorded
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


@pytest.mark.parametrize("outputs", ["a recording", "the code alone"])
def test_layers_are_not_run_again(monkeypatch, outputs):
    case = make_case("three layers", "sigmoid")
    found = recorded(case.encode, case.inputs)
    h = case.inputs
    for layer, kept in zip(find_layers(case.encode, (6,)), found.layer_inputs, strict=True):
        assert_close(kept, h, rtol=1e-14, atol=0)
        h = layer(h)
    j = jacobian(case.encode, case.inputs, found if outputs == "a recording" else found.outputs)
    expected = jacobian(case.encode, case.inputs).slopes()  # the encoder is known from here on
    runs, run = [], Affine.__call__
    monkeypatch.setattr(Affine, "__call__", lambda affine, x: runs.append(affine) or run(affine, x))
    for mine, theirs in zip(j.slopes(), expected, strict=True):
        assert_close(mine, theirs, rtol=1e-14, atol=0)
    assert len(runs) == (0 if outputs == "a recording" else 2)


@pytest.mark.parametrize("samples", [None, 2])
def test_a_recording_changes_neither_values_nor_gradients(deep, samples):
    def outcome(outputs):
        norms = jacobian(deep.encode, deep.inputs, outputs).squared_norm(samples, torch.Generator().manual_seed(0))
        return [norms, *torch.autograd.grad(norms.sum(), list(deep.encode.parameters()), materialize_grads=True)]

    for mine, theirs in zip(outcome(recorded(deep.encode, deep.inputs)), outcome(None), strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


class Own(nn.Module):
    """An affine layer of a user's own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(5, 4))

    def affine(self):
        return self.weight, None

    def forward(self, x):
        return x @ self.weight.T


def chain(*steps):
    return nn.Sequential(*steps, nn.Tanh(), nn.Linear(5, 3), nn.Sigmoid())


RECORDED = {
    "linear": lambda: chain(nn.Linear(4, 5)),
    "no bias": lambda: chain(nn.Linear(4, 5, bias=False)),
    "own": lambda: chain(Own()),
    "parametrized": lambda: chain(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))),
    "nested": lambda: nn.Sequential(chain(nn.Linear(4, 5)), nn.Sequential(nn.Linear(3, 2))),
    "flattened": lambda: nn.Sequential(nn.Flatten(), *chain(nn.Linear(4, 5))),
    "idle dropout": lambda: chain(nn.Linear(4, 5), nn.Dropout(0.5)).eval(),
    "twice": lambda: nn.Sequential(*[nn.Linear(4, 4)] * 2, nn.Tanh()),
}


@pytest.mark.parametrize("kind", RECORDED)
def test_a_recorded_pass_is_the_pass_itself(kind):
    """Value and gradient in every bit, and the layers take what it kept."""
    torch.manual_seed(0)
    encode, x = RECORDED[kind](), torch.rand(7, 4)
    plain = encode(x)
    found = recorded(encode, x)
    assert torch.equal(found.outputs, plain)
    weights = list(encode.parameters())
    for mine, theirs in zip(
        *(torch.autograd.grad(y.square().sum(), weights) for y in (found.outputs, plain)), strict=True
    ):
        assert torch.equal(mine, theirs)
    j = jacobian(encode, x, found)
    assert j.strategy.layer_inputs is found.layer_inputs
    assert_close(j.squared_norm(), jacobian(encode, x).squared_norm())


def hooked():
    encode = chain(nn.Linear(4, 5))
    encode[2].register_forward_hook(lambda module, given, code: 2 * code)
    return encode


class Watched(nn.Sequential):
    def __call__(self, x):
        return 2 * super().__call__(x)


NOT_TAKEN_APART = {
    "a function": lambda: lambda x: torch.tanh(x),
    "a hook": hooked,
    "an own call": lambda: Watched(*chain(nn.Linear(4, 5))),
    "active dropout": lambda: chain(nn.Linear(4, 5), nn.Dropout(0.5)),
    "a normalisation": lambda: chain(nn.Linear(4, 5), nn.LayerNorm(5)),
}


@pytest.mark.parametrize("kind", NOT_TAKEN_APART)
def test_what_is_no_chain_is_called_as_it_is(kind):
    encode, x = NOT_TAKEN_APART[kind](), torch.rand(7, 4)
    torch.manual_seed(0)
    found = recorded(encode, x)
    torch.manual_seed(0)
    assert torch.equal(found.outputs, encode(x))
    assert not found.layer_inputs


def test_a_weight_that_changes_when_looked_at_is_not_looked_at():
    """Spectral normalisation in training mode takes a power iteration with every look."""
    torch.manual_seed(0)
    encode = chain(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)))
    twin = copy.deepcopy(encode)
    x = torch.rand(7, 4)
    for _ in range(3):
        assert torch.equal(recorded(encode, x).outputs, twin(x))


@pytest.mark.parametrize("kind", ["detached", "other inputs", "other encoder", "a new layer", "another type"])
def test_a_recording_that_does_not_fit_is_left_alone(kind):
    torch.manual_seed(0)
    encode, x = chain(nn.Linear(4, 5)), torch.rand(7, 4)
    other = copy.deepcopy(encode)
    made = recorded(other if kind == "other encoder" else encode, x.clone() if kind == "other inputs" else x)
    if kind == "detached":
        made = replace(made, outputs=made.outputs.detach())
    if kind == "another type":
        made = replace(made, outputs=made.outputs.double())
    if kind == "a new layer":
        encode[0] = copy.deepcopy(encode[0])
    j = jacobian(encode, x, made)
    assert j.strategy.layer_inputs is None
    assert_close(j.squared_norm(), jacobian(encode, x).squared_norm())


@pytest.mark.parametrize("kernel", [SquaredNormThroughGram, SquaredNormOfProduct])
def test_the_norm_of_a_product(kernel):
    torch.manual_seed(1)
    products = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    found = kernel.apply(products, weight)
    composed = (products @ weight).square().sum(dim=(1, 2))
    assert_close(found, composed, rtol=1e-12, atol=0)
    for g in (torch.rand(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)):  # of one sign, and of both
        mine, theirs = (torch.autograd.grad(y, (products, weight), g, retain_graph=True) for y in (found, composed))
        for each, other in zip(mine, theirs, strict=True):
            assert_close(each, other, rtol=1e-11, atol=1e-13)
    assert torch.autograd.gradcheck(kernel.apply, (products, weight))
    assert torch.autograd.gradgradcheck(kernel.apply, (products, weight))
