"""Rows of active units alone: the same answers as from all rows, by one backward pass per row in float64."""

from functools import partial

import pytest
import torch
from torch import nn

from caelab import BatchTopK, CaelabError, JumpReLU, TopK, jacobian
from caelab.jacobian.active import ActiveRows
from tests.core.jacobian.references import by_differences, dense_jacobian

CODE, INPUT, BATCH = 40, 6, 5
LASTS = {
    "topk": partial(TopK, 4),
    "topk of any sign": partial(TopK, 4, relu=False),
    "jumprelu": partial(JumpReLU, CODE, threshold=0.9),
    "batchtopk": partial(BatchTopK, 3),
    "hardshrink": partial(nn.Hardshrink, 0.9),
    "relu": nn.ReLU,
}
FRONTS = {
    "one layer": lambda: [nn.Linear(INPUT, CODE)],
    "chain": lambda: [nn.Linear(INPUT, 9), nn.Tanh(), nn.Linear(9, CODE)],
    "autodiff": lambda: [nn.Linear(INPUT, 9), nn.LayerNorm(9), nn.Tanh(), nn.Linear(9, CODE)],
    "autodiff without weight": lambda: [nn.Linear(INPUT, CODE), nn.LayerNorm(CODE)],
}


@pytest.fixture(params=LASTS)
def last(request):
    return LASTS[request.param]()


@pytest.fixture(params=FRONTS)
def encode(request, last):
    torch.manual_seed(3)
    made = nn.Sequential(*FRONTS[request.param](), last).double()
    with torch.no_grad():
        for parameter in made[:-1].parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        if isinstance(last, nn.ReLU):
            made[-2].bias -= 1.5  # few units are active
        made(torch.randn(64, INPUT).double())  # a threshold that is learned
    return made.eval()


@pytest.fixture
def inputs():
    return torch.randn(BATCH, INPUT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def dense(encode, inputs):
    found = dense_jacobian(encode, inputs)
    torch.testing.assert_close(found, by_differences(encode, inputs), rtol=1e-6, atol=1e-7)
    return found


@torch.no_grad()
def test_every_answer_is_that_of_all_rows(encode, inputs, dense):
    found = jacobian(encode, inputs)
    assert isinstance(found.strategy, ActiveRows)
    torch.testing.assert_close(found.dense(), dense)
    torch.testing.assert_close(found.squared_norm(), dense.square().sum(dim=(1, 2)))
    values = torch.linalg.svdvals(dense)
    torch.testing.assert_close(found.singular_values(method="svd"), values)
    torch.testing.assert_close(found.singular_values(3), values[:, :3])
    vectors, covectors = torch.randn(BATCH, 2, INPUT).double(), torch.randn(BATCH, 2, CODE).double()
    torch.testing.assert_close(found.jvp(vectors), vectors @ dense.mT)
    torch.testing.assert_close(found.vjp(covectors), covectors @ dense)
    torch.testing.assert_close(found.jvp(vectors[:, 0]), (vectors @ dense.mT)[:, 0])
    torch.testing.assert_close(found.vjp(covectors[:, 0]), (covectors @ dense)[:, 0])


@torch.no_grad()
def test_a_known_code_tells_the_active_units(encode, inputs, dense):
    found = jacobian(encode, inputs, encode(inputs))
    torch.testing.assert_close(found.squared_norm(), dense.square().sum(dim=(1, 2)))


def test_tangents_span_the_leading_subspace(encode, inputs, dense):
    values, directions = jacobian(encode, inputs).tangents(5)
    torch.testing.assert_close(values, torch.linalg.svdvals(dense)[:, :5], atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(directions @ directions.mT, torch.eye(5).double().expand(BATCH, 5, 5))
    lengths = torch.einsum("bci,bki->bkc", dense, directions).norm(dim=2)
    torch.testing.assert_close(lengths, values, atol=1e-7, rtol=1e-7)


def test_the_gradient_of_the_norm_is_that_of_all_rows(encode, inputs):
    weights = list(encode[:-1].parameters())
    expected = dense_jacobian(encode, inputs, recorded=True).square().sum(dim=(1, 2)).mean()
    found = jacobian(encode, inputs).squared_norm().mean()
    torch.testing.assert_close(found, expected)
    both = [
        torch.autograd.grad(value, weights, materialize_grads=True, allow_unused=True) for value in (found, expected)
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)


def test_pieces_of_the_batch_give_the_same_norms_and_gradients(inputs):
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(INPUT, 9), nn.LayerNorm(9), nn.Linear(9, CODE), TopK(4)).double()
    weights = list(encode.parameters())
    whole, parts = (jacobian(encode, inputs, memory_budget=budget).squared_norm() for budget in (None, 24_000))
    torch.testing.assert_close(parts, whole)
    both = [
        torch.autograd.grad(each.sum(), weights, materialize_grads=True, allow_unused=True) for each in (whole, parts)
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
@pytest.mark.parametrize("front", FRONTS)
def test_a_code_without_an_active_unit_has_a_jacobian_of_zeros(front, inputs):
    encode = nn.Sequential(*FRONTS[front](), JumpReLU(CODE, threshold=1e6)).double()
    found = jacobian(encode, inputs)
    assert not found.squared_norm().any()
    assert not found.singular_values().any()
    values, directions = found.tangents(2)
    assert not values.any()
    torch.testing.assert_close(directions @ directions.mT, torch.eye(2).double().expand(BATCH, 2, 2))


def test_where_most_units_are_active_all_rows_are_taken(inputs):
    encode = nn.Sequential(nn.Linear(INPUT, 8), nn.LayerNorm(8), TopK(7, relu=False)).double()
    found = jacobian(encode, inputs)
    assert not found.strategy.are_few
    torch.testing.assert_close(found.dense(), dense_jacobian(encode, inputs))


def test_a_linear_layer_on_every_token_is_not_one_matrix(inputs):
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(INPUT, 12), nn.Unflatten(1, (3, 4)), nn.Linear(4, 20), TopK(2)).double()
    found = jacobian(encode, inputs)
    with torch.no_grad():
        torch.testing.assert_close(found.dense(), dense_jacobian(encode, inputs))
        torch.testing.assert_close(found.squared_norm(), dense_jacobian(encode, inputs).square().sum(dim=(1, 2)))


def test_images_before_a_sparse_code():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 60), TopK(3)).double()
    images = torch.randn(2, 1, 6, 6).double()
    found, dense = jacobian(encode, images), dense_jacobian(encode, images)
    with torch.no_grad():
        torch.testing.assert_close(found.squared_norm(), dense.square().sum(dim=(1, 2)))
        torch.testing.assert_close(found.singular_values(2), torch.linalg.svdvals(dense)[:, :2])
    assert found.method == "autodiff, rows of active units"


def test_a_choice_by_the_batch_is_refused(inputs):
    encode = nn.Sequential(nn.Linear(INPUT, CODE), BatchTopK(3)).double()
    with pytest.raises(CaelabError, match=r"1 \(BatchTopK\) chooses the active units of an example by the whole batch"):
        jacobian(encode, inputs).squared_norm()
    assert jacobian(encode.eval(), inputs).squared_norm().shape == (BATCH,)


def test_a_mask_that_is_not_the_derivative_is_not_believed(inputs):
    class Lying(TopK):
        def derivative(self, z):
            return 2 * super().derivative(z)

    encode = nn.Sequential(nn.Linear(INPUT, 9), nn.LayerNorm(9), nn.Linear(9, CODE), Lying(4)).double()
    with torch.no_grad():
        torch.testing.assert_close(jacobian(encode, inputs).dense(), dense_jacobian(encode, inputs))
