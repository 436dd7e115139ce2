from itertools import combinations

import numpy as np
import pytest
import torch

from caelab import CaelabError
from caelab_regularizers.top_k import TopK, squared_distance_to_k_sparse
from tests.plugins import references


def reference(codes, k):
    """The least squared distance to a code with the support S, over every set S of k units."""
    total = 0.0
    for code in codes:
        total += min((np.delete(code, support) ** 2).sum() for support in combinations(range(len(code)), k))
    return total / len(codes)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "identity"])
def test_it_equals_the_distance_to_every_sparse_code(trained, batch, k, activation):
    model = trained([6], activation)
    found = squared_distance_to_k_sparse(model.encode(batch), k).item()
    np.testing.assert_allclose(found, reference(references.codes_of(model, batch), k), rtol=1e-12)


@pytest.mark.parametrize("hidden", [[6], [6, 5]], ids=str)
def test_the_gradient_equals_central_differences(trained, batch, hidden):
    model = trained(hidden, "tanh")
    for parameter in model.encode.parameters():
        (gradient,) = torch.autograd.grad(squared_distance_to_k_sparse(model.encode(batch), 2), parameter)
        expected = references.parameter_gradient(lambda: reference(references.codes_of(model, batch), 2), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_the_k_largest_feel_nothing():
    code = torch.tensor([[0.1, -3.0, 2.0, 0.2]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(squared_distance_to_k_sparse(code, 2), code)
    np.testing.assert_allclose(gradient.numpy(), [[0.2, 0, 0, 0.4]], rtol=1e-15)


def test_a_sparse_code_costs_nothing():
    code = torch.tensor([[0.0, -3.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert squared_distance_to_k_sparse(code, 2) == 0


def test_wrong_formulas_would_be_noticed(trained, batch):
    code = trained([6], "tanh").encode(batch)
    right = squared_distance_to_k_sparse(code, 2)
    squares, mean = code.square(), code.square().mean(dim=0)
    wrong = {
        "largest by value": squares.gather(1, code.topk(4, dim=1, largest=False).indices).sum(dim=1).mean(),
        "the k largest themselves": squares.topk(2, dim=1).values.sum(dim=1).mean(),
        "one choice for the batch": mean.topk(4, largest=False).values.sum(),
        "absolute values": code.abs().topk(4, dim=1, largest=False).values.sum(dim=1).mean(),
        "mean over units": right / 4,
        "one unit more": squared_distance_to_k_sparse(code, 3),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.02, name


@pytest.mark.parametrize("k", [4, 7])
def test_a_k_that_leaves_nothing_over_is_refused(k):
    with pytest.raises(CaelabError, match=rf"a k below the width of the code, but {k} came for 4 units"):
        squared_distance_to_k_sparse(torch.rand(3, 2, 2), k)


def test_the_plugin_weighs_the_penalty(batch):
    terms = TopK(weight=0.3, k=2).penalty_terms(code=batch)
    assert terms.keys() == {"top-k"}
    np.testing.assert_allclose(terms["top-k"].item(), 0.3 * reference(batch.numpy(), 2), rtol=1e-12)
