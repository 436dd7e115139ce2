"""Which way a chain of layers takes to its squared norm, and that every piece of a batch gives the same number."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import jacobian
from caelab.jacobian import chain
from caelab.jacobian.chain_costs import active_sets_pay, cheapest_route, largest_matrix, predicted, routes


def net(*widths, activation=nn.Sigmoid):
    torch.manual_seed(0)
    return nn.Sequential(*(step for pair in pairwise(widths) for step in (nn.Linear(*pair), activation()))).double()


def brute_force(encode, inputs):
    rows = torch.autograd.functional.jacobian(lambda x: encode(x).sum(dim=0), inputs, create_graph=True)
    return rows.square().sum(dim=(0, 2))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("widths", "split"), [((3072, 1024, 256, 64), 1), ((784, 1000, 30, 1000, 784), 2), ((20, 500, 500, 10000), 0)]
)
def test_the_split_that_costs_least(widths, split, recorded):
    assert cheapest_route(widths, 64, recorded).split == split


def test_no_route_is_taken_for_matrices_that_each_example_needs_anew():
    """Split behind the first layer by Gram matrices of each example, 1024² numbers each: the fewest multiplications."""
    route = cheapest_route((3072, 1024, 256, 64), 64, True)
    assert largest_matrix(route, (3072, 1024, 256, 64)) < 100_000


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("ends_affine", [False, True])
def test_the_cheapest_of_all_routes(batch, ends_affine):
    widths = (9, 40, 3, 50, 8)
    least = min(predicted(route, widths, batch, False) for route in routes(widths, ends_affine))
    assert predicted(cheapest_route(widths, batch, False, ends_affine), widths, batch, False) <= 1.15 * least


def test_active_sets_are_taken_where_they_are_small():
    widths = (784, 1000, 1000, 500)
    assert active_sets_pay(widths, 16, (300, 300, 150))
    assert not active_sets_pay(widths, 16, (1000, 1000, 500))
    assert not active_sets_pay((64, 64, 64), 64, (32, 32))  # calls for every example cost more


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU])
@pytest.mark.parametrize("widths", [(5, 9, 4), (3, 7, 6, 20), (12, 9, 2, 9, 12)])
def test_pieces_give_the_same_norms(monkeypatch, widths, activation):
    encode, inputs = net(*widths, activation=activation), torch.rand(7, widths[0], dtype=torch.float64)
    monkeypatch.setattr(chain, "CACHED", 3 * 8 * max(widths) ** 2 * 2)
    with torch.no_grad():
        found = jacobian(encode, inputs).squared_norm()
    assert_close(found, brute_force(encode, inputs).detach(), rtol=1e-11, atol=1e-14)


def test_relu_rows_that_are_cut_off():
    """An example without an active unit has the norm 0; the gradient of the others is that of all rows."""
    encode = net(5, 9, 6, activation=nn.ReLU)
    inputs = torch.randn(8, 5, dtype=torch.float64)
    with torch.no_grad():
        encode[2].bias.fill_(-0.3)
    norms, exact = jacobian(encode, inputs).squared_norm(), brute_force(encode, inputs)
    assert (encode(inputs).sum(dim=1) == 0).any()
    assert_close(norms, exact, rtol=1e-11, atol=0)
    parameters = [p for p in encode.parameters() if p.ndim == 2]
    found = torch.autograd.grad(norms.square().sum(), parameters)
    for mine, theirs in zip(found, torch.autograd.grad(exact.square().sum(), parameters), strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-13)
