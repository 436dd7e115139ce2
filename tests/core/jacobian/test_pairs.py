"""Entries for chosen rows and columns: those of the whole matrix, by one backward pass per row in float64."""

import pytest
import torch
from torch import nn

from caelab import CaelabError, TopK, jacobian
from tests.core.jacobian.references import by_differences, dense_jacobian

INPUT, CODE, BATCH = 12, 15, 4


def block():
    return [nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 5)]


MAPS = {
    "one layer": lambda: [nn.Linear(INPUT, CODE), nn.Tanh()],
    "affine": lambda: [nn.Linear(INPUT, CODE)],
    "two layers": lambda: [nn.Linear(INPUT, 5), nn.Tanh(), nn.Linear(5, CODE), TopK(6, relu=False)],
    "around a block": lambda: [nn.Linear(INPUT, 5), *block(), nn.Linear(5, CODE), TopK(6)],
    "autodiff": lambda: [nn.Linear(INPUT, 5), nn.LayerNorm(5), nn.Linear(5, CODE), nn.Tanh()],
    "autodiff before a sparse code": lambda: [nn.Linear(INPUT, 5), nn.LayerNorm(5), nn.Linear(5, CODE), TopK(6)],
}  # fmt: skip


@pytest.fixture(params=MAPS)
def encode(request):
    torch.manual_seed(5)
    return nn.Sequential(*MAPS[request.param]()).double()


@pytest.fixture
def inputs():
    return torch.randn(BATCH, INPUT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def places(count, below, seed):
    draws = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(below, generator=draws)[:count] for _ in range(BATCH)])


def chosen(dense, rows, columns):
    return torch.stack([one[r][:, c] for one, r, c in zip(dense, rows, columns, strict=True)])


@pytest.mark.parametrize(("i", "j"), [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize("recorded", [True, False])
def test_they_are_entries_of_the_whole_matrix(encode, inputs, i, j, recorded):
    rows, columns = places(i, CODE, 2), places(j, INPUT, 3)
    dense = dense_jacobian(encode, inputs)
    torch.testing.assert_close(dense, by_differences(encode, inputs), rtol=1e-6, atol=1e-7)
    with torch.set_grad_enabled(recorded):
        found = jacobian(encode, inputs).between(rows, columns)
    torch.testing.assert_close(found, chosen(dense, rows, columns))


@pytest.mark.parametrize(("i", "j"), [(3, 5), (5, 3)])
@pytest.mark.parametrize("budget", [None, 30_000])
def test_the_gradient_is_that_of_the_whole_matrix(encode, inputs, i, j, budget):
    rows, columns, weights = places(i, CODE, 2), places(j, INPUT, 3), list(encode.parameters())
    expected = chosen(dense_jacobian(encode, inputs, recorded=True), rows, columns).abs().sum()
    found = jacobian(encode, inputs, memory_budget=budget).between(rows, columns).abs().sum()
    both = [torch.autograd.grad(each, weights, allow_unused=True, materialize_grads=True) for each in (found, expected)]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_of_inactive_units_are_zero(inputs):
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(INPUT, 5), nn.Linear(5, CODE), TopK(2)).double()
    every = torch.arange(CODE).expand(BATCH, CODE)
    found = jacobian(encode, inputs).between(every, torch.zeros(BATCH, 1, dtype=torch.int64))
    assert torch.equal((found != 0).any(dim=2), encode(inputs) != 0)


def test_columns_of_an_image_are_those_of_the_flat_input():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 7)).double()
    images, rows = torch.randn(BATCH, 1, 3, 3).double(), places(4, 7, 2)
    for count in (2, 6):
        columns = places(count, 9, 3)
        found = jacobian(encode, images).between(rows, columns)
        torch.testing.assert_close(found, chosen(dense_jacobian(encode, images), rows, columns))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(BATCH, 2), r"rows as whole numbers of shape \(4, count\), but torch.float32 \(4, 2\) came"),
        (torch.zeros(BATCH, dtype=torch.int64), r"but torch.int64 \(4,\) came"),
        (torch.full((BATCH, 1), CODE), r"rows between 0 and 14, but they lie between 15 and 15"),
        ([[0]] * BATCH, r"but list came"),
    ],
)
def test_places_that_there_are_not(inputs, rows, message):
    with pytest.raises(CaelabError, match=message):
        jacobian(nn.Linear(INPUT, CODE).double(), inputs).between(rows, torch.zeros(BATCH, 1, dtype=torch.int64))
