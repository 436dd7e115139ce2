"""Norms that are differentiated block by block, against autograd through the dense Jacobian."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian import autodiff
from caelab.jacobian.service import jacobian

EXACT = {"rtol": 1e-10, "atol": 1e-13}


@pytest.fixture(params=[1, 30_000, 10**9], autouse=True)
def largest(request, monkeypatch):
    """Bytes of a block: one row each, several blocks, everything at once."""
    monkeypatch.setattr(autodiff, "LARGEST_BLOCK", request.param)


@pytest.fixture
def encode():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 5), nn.Sigmoid()).double()


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def brute_force(encode, images):
    """The squared norms from the dense Jacobian of each example."""
    jacobians = [torch.autograd.functional.jacobian(encode, image[None], create_graph=True) for image in images]
    return torch.stack(jacobians).square().flatten(1).sum(dim=1)


def same_gradients(encode, images, function, sources):
    mine, theirs = (function(norms) for norms in (jacobian(encode, images).squared_norm(), brute_force(encode, images)))
    assert_close(mine, theirs, **EXACT)
    found, expected = (
        torch.autograd.grad(each, sources, materialize_grads=True, retain_graph=True) for each in (mine, theirs)
    )
    for left, right in zip(found, expected, strict=True):
        assert_close(left, right, **EXACT)


@pytest.mark.parametrize("function", [torch.sum, lambda n: 3 * n.mean(), lambda n: n.square().sum(), lambda n: n[2]])
def test_however_the_examples_are_weighed(encode, images, function):
    same_gradients(encode, images, function, list(encode.parameters()))


def test_the_gradient_by_the_inputs(encode, images):
    same_gradients(encode, images.requires_grad_(), torch.sum, [images, *encode.parameters()])


def test_the_gradient_by_what_the_inputs_come_from(encode, images):
    first = torch.ones(1, dtype=torch.float64, requires_grad=True)
    same_gradients(encode, images * first.sin(), torch.sum, [first, *encode.parameters()])


def test_a_gradient_of_the_gradient(encode, images):
    parameters = list(encode.parameters())

    def slope(norms):
        grads = torch.autograd.grad(norms.sum(), parameters, create_graph=True, materialize_grads=True)
        return sum(grad.square().sum() for grad in grads)

    same_gradients(encode, images, slope, parameters)


def test_parameters_that_a_function_holds(encode, images):
    same_gradients(lambda x: encode(x) ** 2, images, torch.sum, list(encode.parameters()))


def test_a_weight_computed_before_the_encoder_runs(images):
    """Its record is not the encoder's own, so that of the blocks is kept until the way back."""
    free = torch.rand(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    weight = free.sin()
    same_gradients(lambda x: torch.tanh(x.flatten(1) @ weight.T), images, torch.sum, [free])


def test_a_record_beyond_the_budget_is_refused(images):
    weight = torch.rand(5, 64, dtype=torch.float64, requires_grad=True).sin()
    with pytest.raises(CaelabError, match="raise memory_budget"):
        jacobian(lambda x: torch.tanh(x.flatten(1) @ weight.T), images, memory_budget=20_000).squared_norm()
