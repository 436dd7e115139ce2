import numpy as np
import pytest
import torch

from caelab_regularizers.group_sparsity import GroupSparsity, mean_group_norm
from caelab_regularizers.sparsity import mean_code_l1
from tests.plugins import references


def reference(codes, size):
    total = 0.0
    for code in codes:
        for first in range(0, len(code), size):
            total += sum(entry**2 for entry in code[first : first + size]) ** 0.5
    return total / len(codes)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "identity"])
def test_it_equals_the_sum_over_groups(trained, batch, size, activation):
    """Six units: sizes that divide them, one that does not, one that is larger than all."""
    model = trained([6], activation)
    found = mean_group_norm(model.encode(batch), size).item()
    np.testing.assert_allclose(found, reference(references.codes_of(model, batch), size), rtol=1e-13)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("hidden", [[6], [6, 5]], ids=str)
def test_the_gradient_equals_central_differences(trained, batch, size, hidden):
    model = trained(hidden, "tanh")
    for parameter in model.encode.parameters():
        (gradient,) = torch.autograd.grad(mean_group_norm(model.encode(batch), size), parameter)
        expected = references.parameter_gradient(lambda: reference(references.codes_of(model, batch), size), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-7, atol=1e-9)


def test_groups_of_one_are_the_l1_norm(trained, batch):
    code = trained([6], "tanh").encode(batch)
    torch.testing.assert_close(mean_group_norm(code, 1), mean_code_l1(code), rtol=1e-14, atol=0)


def test_a_silent_group_has_gradient_zero_and_not_nan():
    code = torch.zeros(2, 4, dtype=torch.float64)
    code[:, 3] = 0.5
    (gradient,) = torch.autograd.grad(mean_group_norm(code.requires_grad_(), 2), code)
    assert torch.equal(gradient, torch.tensor([[0.0, 0.0, 0.0, 0.5]] * 2, dtype=torch.float64))


def test_units_of_a_feature_map_are_taken_in_the_flattened_order():
    code = torch.rand(5, 2, 3, dtype=torch.float64)
    assert torch.equal(mean_group_norm(code, 2), mean_group_norm(code.flatten(1), 2))


def test_wrong_formulas_would_be_noticed(trained, batch):
    code = trained([6], "tanh").encode(batch)
    groups = code.unflatten(1, (3, 2))
    right = mean_group_norm(code, 2)
    wrong = {
        "squared norms": groups.square().sum(dim=(1, 2)).mean(),
        "other units together": code.unflatten(1, (2, 3)).square().sum(dim=1).sqrt().sum(dim=1).mean(),
        "norm over the batch": groups.square().sum(dim=(0, 2)).sqrt().sum(),
        "mean over the groups": right / 3,
        "weighted by the root of the size": right * 2**0.5,
        "one norm of the code": code.norm(dim=1).mean(),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.005, name  # the values above are held to 1e-13


def test_the_plugin_weighs_the_penalty(batch):
    terms = GroupSparsity(weight=0.3, size=2).penalty_terms(code=batch)
    assert terms.keys() == {"group-sparsity"}
    np.testing.assert_allclose(terms["group-sparsity"].item(), 0.3 * reference(batch.numpy(), 2), rtol=1e-13)
