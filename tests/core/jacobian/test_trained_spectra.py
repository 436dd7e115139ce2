"""Singular values within a penalty: they train what they are made of, or say that they do not."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError, hookimpl
from caelab.jacobian.service import jacobian
from caelab.testing import check_regularizer
from tests.core.jacobian.conftest import make_case
from tests.core.jacobian.references import parameter_gradients
from tests.core.jacobian.unusual import convolution, images

PENALTIES = {
    "the largest": lambda values: values[:, 0].square().mean(),
    "their sum": lambda values: values.sum(),
    "a log-volume": lambda values: (values + 0.1).log().sum(),
}


@pytest.fixture(params=["one layer", "wide code", "three layers", "convolution"])
def case(request):
    if request.param == "convolution":
        return convolution(nn.Tanh()), images()
    made = make_case(request.param, "tanh")
    return made.encode, made.inputs


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("method", ["gram", "svd"])
def test_the_gradient_is_that_of_central_differences(case, penalty, method):
    encode, inputs = case
    parameters = list(encode.parameters())
    values = jacobian(encode, inputs, gradients=True).singular_values(3, method)
    found = torch.autograd.grad(penalty(values), parameters, materialize_grads=True)

    def by_svd():
        dense = torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0]))(inputs).flatten(2)
        return float(penalty(torch.linalg.svdvals(dense.detach())[:, :3]))

    for mine, theirs in zip(found, parameter_gradients(by_svd, parameters), strict=True):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-8)


def test_the_values_are_the_same_bits_with_and_without_a_gradient(case):
    encode, inputs = case
    recorded = jacobian(encode, inputs, gradients=True).singular_values()
    with torch.no_grad():
        plain = jacobian(encode, inputs).singular_values()
    assert recorded.requires_grad
    assert not plain.requires_grad
    assert torch.equal(recorded.detach(), plain)


def test_in_single_precision():
    torch.manual_seed(0)
    encode, inputs = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 3), nn.Tanh()), torch.rand(5, 6)
    values = jacobian(encode, inputs, gradients=True).singular_values(1)
    assert values.dtype == torch.float64
    values.sum().backward()
    dense = jacobian(encode, inputs).dense()
    (expected,) = torch.autograd.grad(torch.linalg.svdvals(dense)[:, 0].sum(), encode[0].weight)
    assert_close(encode[0].weight.grad, expected, rtol=1e-4, atol=1e-7)


def _dead(net, layer):
    net[layer].bias.data[:2] = -9.0
    return net


WITHOUT_RANK = {
    "softmax": lambda: nn.Sequential(nn.Linear(6, 4), nn.Softmax(dim=1)),
    "dead units": lambda: _dead(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), 0),
    "dead units of two layers": lambda: _dead(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU()), 2),
    "bottleneck": lambda: nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 4)),
    "bottleneck to a softmax": lambda: nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 4), nn.Softmax(dim=1)),
    "all dead": lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4), nn.Threshold(99.0, 0.0)),
}


@pytest.mark.parametrize("make", WITHOUT_RANK.values(), ids=WITHOUT_RANK)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", ["gram", "svd"])
def test_singular_values_that_are_zero_for_want_of_rank_add_nothing_to_the_gradient(make, dtype, method):
    torch.manual_seed(1)
    encode = make().to(dtype)
    exact, inputs = copy.deepcopy(encode).double(), torch.rand(7, 6, dtype=dtype)
    values = jacobian(encode, inputs, gradients=True).singular_values(method=method)
    found = torch.autograd.grad(values.sum(1).mean(), list(encode.parameters()), materialize_grads=True)

    def by_svd():
        dense = torch.func.vmap(torch.func.jacrev(lambda x: exact(x[None])[0]))(inputs.double())
        return float(torch.linalg.svdvals(dense.detach()).sum(1).mean())

    tolerance = 1e-8 if dtype is torch.float64 else 2e-5
    for mine, theirs in zip(found, parameter_gradients(by_svd, list(exact.parameters())), strict=True):
        assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)


def test_a_slope_without_bound_at_zero_leaves_the_gradient_finite():
    torch.manual_seed(0)
    encode = WITHOUT_RANK["bottleneck"]()
    values = jacobian(encode, torch.rand(5, 6), gradients=True).singular_values(method="svd")
    found = torch.autograd.grad((values / values[:, :1].detach()).clamp(min=0).sqrt().sum(), encode[0].weight)
    assert found[0].isfinite().all()
    assert float(found[0].abs().max()) < 10


class NuclearNorm:
    """The sum of the singular values of J, averaged over the examples."""

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"nuclear norm": encoder_jacobian.singular_values().sum(dim=1).mean()}


def test_the_nuclear_norm_passes_every_check():
    assert check_regularizer(NuclearNorm).passed


def test_a_gradient_of_the_gradient_is_refused_since_the_vectors_move():
    made = make_case("one layer", "tanh")
    values = jacobian(made.encode, made.inputs, gradients=True).singular_values(1)
    with pytest.raises(CaelabError, match=r"differentiated once.*torch\.linalg\.svdvals\(dense\(\)\)"):
        torch.autograd.grad(values.sum(), made.encode[0].weight, create_graph=True)


def test_tangents_within_a_penalty_say_what_to_use_instead():
    made = make_case("one layer", "tanh")
    found = jacobian(made.encode, made.inputs, gradients=True)
    with pytest.raises(CaelabError, match=r"tangents\(\) have no gradient.*singular_values\(k\).*torch\.no_grad\(\)"):
        found.tangents(2)
    with torch.no_grad():
        values, directions = found.tangents(2)
    lengths = found.jvp(directions).norm(dim=2)
    assert_close(lengths.detach(), values, rtol=1e-9, atol=0)
    assert lengths.requires_grad
    assert jacobian(made.encode, made.inputs).tangents(2)[0].shape == (4, 2)
