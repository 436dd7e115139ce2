"""Every question, activation and shape, on trained encoders with correlated rows, against explicit matrices."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian.service import jacobian
from tests.core.jacobian import references
from tests.core.jacobian.conftest import ACTIVATIONS, SHAPES, make_case, train


@pytest.fixture(scope="module", params=[(s, a) for s in SHAPES for a in ACTIVATIONS], ids="-".join)
def any_case(request):
    return make_case(*request.param)


@pytest.fixture(params=["looked into", "hidden"])
def encode(any_case, request):
    return any_case.encode if request.param == "looked into" else any_case.hidden()


def test_singular_values(any_case, encode):
    exact = torch.linalg.svdvals(any_case.dense)
    found = jacobian(encode, any_case.inputs)
    assert_close(found.singular_values(method="svd"), exact, rtol=1e-10, atol=1e-13)
    assert_close(found.singular_values(), exact, rtol=0, atol=1e-7 * float(exact.max()))


def test_the_space_of_the_leading_tangent(any_case, encode):
    values, directions = jacobian(encode, any_case.inputs).tangents(1)
    assert_close(values, torch.linalg.svdvals(any_case.dense)[:, :1], rtol=1e-8, atol=1e-12)
    images = (any_case.dense @ directions.mT)[..., 0]
    assert_close(images.norm(dim=1, keepdim=True), values, rtol=1e-8, atol=1e-12)


def test_an_estimate_is_that_of_its_signs(any_case, encode):
    code, width = any_case.dense.shape[1:]
    shape = (len(any_case.inputs), 5, min(code, width))
    coins = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(4), dtype=torch.int8)
    signs = 2 * coins.double() - 1
    products = signs @ (any_case.dense if code <= width else any_case.dense.mT)
    found = jacobian(encode, any_case.inputs).squared_norm(5, torch.Generator().manual_seed(4))
    assert_close(found.detach(), products.square().sum(dim=2).mean(dim=1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_trained_convolution(activation):
    torch.manual_seed(9)
    steps = (nn.Conv2d(1, 2, 2), ACTIVATIONS[activation](), nn.Flatten(), nn.Linear(8, 4), ACTIVATIONS[activation]())
    encode, images = nn.Sequential(*steps).double(), torch.rand(3, 1, 3, 3, dtype=torch.float64)
    train(encode, images)
    dense = references.dense_jacobian(encode, images)
    found = jacobian(encode, images)
    assert found.method == "autodiff"
    norms = found.squared_norm()
    assert_close(norms.detach(), dense.square().sum(dim=(1, 2)), rtol=1e-10, atol=1e-13)
    assert_close(found.singular_values(method="svd"), torch.linalg.svdvals(dense), rtol=1e-9, atol=1e-12)
    norms.sum().backward()
    parameters = list(encode.parameters())
    expected = references.parameter_gradients(
        lambda: float(references.dense_jacobian(encode, images).square().sum()), parameters
    )
    for parameter, gradient in zip(parameters, expected, strict=True):
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert_close(got, gradient, rtol=1e-5, atol=1e-7)
