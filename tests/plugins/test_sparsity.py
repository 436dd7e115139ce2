import math

import numpy as np
import pytest
import torch

from caelab import CaelabError
from caelab_regularizers.sparsity import SparseKL, SparseL1, mean_activation_divergence, mean_code_l1
from tests.plugins import references


@pytest.mark.parametrize("target", [0.05, 0.3, 0.9])
def test_the_divergence_equals_the_sum_over_units(trained, batch, target):
    model = trained([6])
    codes = references.array(model.encode(batch))
    expected = references.mean_activation_divergence(codes, target)
    np.testing.assert_allclose(mean_activation_divergence(model.encode(batch), target).item(), expected, rtol=1e-12)


def test_the_divergence_equals_scipys_entropy(batch):
    from scipy.stats import entropy

    means = batch.mean(dim=0).numpy()
    expected = sum(entropy([0.2, 0.8], [mean, 1 - mean]) for mean in means)
    np.testing.assert_allclose(mean_activation_divergence(batch, 0.2).item(), expected, rtol=1e-12)


def test_it_is_zero_exactly_where_every_unit_meets_the_target():
    code = torch.tensor([[0.1, 0.3], [0.3, 0.1]], dtype=torch.float64)
    assert abs(mean_activation_divergence(code, 0.2)) < 1e-15
    assert mean_activation_divergence(code, 0.21) > 1e-5


@pytest.mark.parametrize("penalty", [lambda h: mean_activation_divergence(h, 0.1), mean_code_l1], ids=["kl", "l1"])
def test_the_gradient_equals_central_differences(trained, batch, penalty):
    model = trained([4])
    for parameter in model.encode.parameters():
        (gradient,) = torch.autograd.grad(penalty(model.encode(batch)), parameter)
        expected = references.parameter_gradient(lambda: penalty(model.encode(batch)).item(), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-2, 30.0, 200.0, 1e6])
def test_value_and_gradient_are_finite_at_saturation(dtype, size):
    activations = (size * torch.tensor([[-1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]], dtype=dtype)).requires_grad_()
    value = mean_activation_divergence(torch.sigmoid(activations), 0.1)
    (gradient,) = torch.autograd.grad(value, activations)
    assert math.isfinite(value.item())
    assert torch.isfinite(gradient).all()


def test_a_nearly_dead_unit_is_still_pulled_up():
    """d KL / dz → -ρ as h → 0, long before rounding makes h zero: a dead unit comes back."""
    activation = torch.tensor([[-60.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(mean_activation_divergence(torch.sigmoid(activation), 0.1), activation)
    np.testing.assert_allclose(gradient.item(), -0.1, rtol=1e-6)


def test_wrong_formulas_would_be_noticed(trained, batch):
    code = trained([6]).encode(batch)
    mean, target = code.mean(dim=0), 0.1
    right = mean_activation_divergence(code, target)
    reverse = (mean * (mean / target).log() + (1 - mean) * ((1 - mean) / (1 - target)).log()).sum()
    per_example = torch.stack([mean_activation_divergence(row[None], target) for row in code]).mean()
    one_sided = (target * (target / mean).log()).sum()
    for wrong in (reverse, per_example, one_sided, right / code.shape[1]):
        assert abs(wrong / right - 1) > 0.05


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_l1_equals_the_sum_of_absolute_values(trained, batch, activation):
    codes = trained([6], activation).encode(batch)
    expected = sum(abs(entry) for row in references.array(codes) for entry in row) / len(batch)
    np.testing.assert_allclose(mean_code_l1(codes).item(), expected, rtol=1e-13)


def test_codes_of_any_shape_are_summed_over_units():
    code = torch.rand(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(mean_code_l1(code), mean_code_l1(code.flatten(1)), rtol=1e-14, atol=0)
    flat = mean_activation_divergence(code.flatten(1), 0.1)
    torch.testing.assert_close(mean_activation_divergence(code, 0.1), flat, rtol=1e-14, atol=0)


@pytest.mark.parametrize("value", [-0.2, 1.3])
def test_a_code_outside_the_unit_interval_is_refused_with_its_range(value):
    with pytest.raises(CaelabError, match=rf"expects codes in \[0, 1\], but they lie in .*{value}"):
        mean_activation_divergence(torch.tensor([[0.5, value], [0.5, 0.5]]), 0.1)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "identity"])
def test_an_encoder_without_sigmoid_is_refused_before_training(trained, activation):
    with pytest.raises(CaelabError, match=r"the encoder ends in (ReLU|Tanh|Softplus|Identity)"):
        SparseKL(weight=1.0, target=0.1).before_training(model=trained([4], activation))


def test_a_sigmoid_encoder_is_welcome(trained):
    SparseKL(weight=1.0, target=0.1).before_training(model=trained([4]))


def test_the_plugins_weigh_their_penalties(batch):
    kl = SparseKL(weight=3.0, target=0.1).penalty_terms(code=batch)["sparse-kl"]
    l1 = SparseL1(weight=3.0).penalty_terms(code=batch)["sparse-l1"]
    np.testing.assert_allclose(kl.item(), 3 * mean_activation_divergence(batch, 0.1).item(), rtol=1e-15)
    np.testing.assert_allclose(l1.item(), 3 * mean_code_l1(batch).item(), rtol=1e-15)
