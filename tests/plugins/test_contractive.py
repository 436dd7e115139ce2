import numpy as np
import pytest
import torch
from torch import nn

from caelab import jacobian
from caelab_regularizers.contractive import Contractive, mean_squared_norm
from caelab_regularizers.reconstruction_contractive import ReconstructionContractive
from tests.plugins import references

ACTIVATIONS = ["sigmoid", "tanh", "softplus", "relu", "identity"]
SHAPES = [[4], [9], [6, 3]]
EXACT = {"rtol": 1e-11, "atol": 0}  # float64 rounding of sums of some hundred terms
DIFFERENCED = {"rtol": 1e-6, "atol": 1e-8}  # central differences, step 1e-5


def encoder_penalty(model, batch):
    return mean_squared_norm(jacobian(model.encode, batch))


def reconstruction_penalty(model, batch):
    return mean_squared_norm(jacobian(nn.Sequential(model.encode, model.decode), batch))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_contractive_equals_complex_steps(trained, batch, hidden, activation, tied):
    model = trained(hidden, activation, tied)
    expected = references.mean_squared_jacobian_norm(references.as_map(model.encode), batch.numpy())
    np.testing.assert_allclose(encoder_penalty(model, batch).item(), expected, **EXACT)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_reconstruction_contractive_equals_complex_steps(trained, batch, hidden, activation, tied):
    model = trained(hidden, activation, tied)
    function = references.as_map(model.encode, model.decode)
    expected = references.mean_squared_jacobian_norm(function, batch.numpy())
    np.testing.assert_allclose(reconstruction_penalty(model, batch).item(), expected, **EXACT)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [[4], [6, 3]], ids=str)
@pytest.mark.parametrize("penalty", [encoder_penalty, reconstruction_penalty])
def test_the_gradient_equals_central_differences(trained, batch, hidden, activation, penalty):
    model = trained(hidden, activation)
    layers = [model.encode] if penalty is encoder_penalty else [model.encode, model.decode]
    function = references.as_map(*layers)
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(penalty(model, batch), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        expected = references.parameter_gradient(
            lambda: references.mean_squared_jacobian_norm(references.as_map(*layers), batch.numpy()), parameter
        )
        gradient = torch.zeros_like(parameter) if gradient is None else gradient
        np.testing.assert_allclose(gradient.numpy(), expected, **DIFFERENCED)
    assert function is not None


def wrong_formulas(model, batch):
    """What has been taken for ‖J‖_F² elsewhere, on one sigmoid layer."""
    layer = model.encode[0]
    h = model.encode(batch)
    slopes = h * (1 - h)
    matrices = slopes[:, :, None] * layer.weight
    squares = matrices.square().sum(dim=(1, 2)).mean()
    return {
        "mean over entries": matrices.square().mean(),
        "sum over examples": matrices.square().sum(),
        "half": squares / 2,
        "summed code": matrices.sum(dim=1).square().sum(dim=1).mean(),
        "squared sum of weights": (slopes.square() @ layer.weight.sum(dim=1).square()).mean(),
        "norm, not squared": matrices.square().sum(dim=(1, 2)).sqrt().mean(),
        "another activation": ((1 - h.square()).square() @ layer.weight.square().sum(dim=1)).mean(),
    }


def test_wrong_formulas_would_be_noticed(trained, batch):
    model = trained([4])
    right = encoder_penalty(model, batch).item()
    for name, wrong in wrong_formulas(model, batch).items():
        assert abs(wrong.item() / right - 1) > 0.05, name


def test_the_norm_of_the_reconstruction_is_not_that_of_the_code(trained, batch):
    model = trained([4])
    assert abs(reconstruction_penalty(model, batch) / encoder_penalty(model, batch) - 1) > 0.05


def test_a_linear_encoder_makes_it_weight_decay(trained, batch):
    model = trained([4], "identity")
    expected = (model.encode[0].weight.detach().numpy() ** 2).sum()
    np.testing.assert_allclose(encoder_penalty(model, batch).item(), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("plugin", "argument", "name"),
    [
        (Contractive(weight=0.3), "encoder_jacobian", "contractive"),
        (ReconstructionContractive(weight=0.3), "reconstruction_jacobian", "reconstruction-contractive"),
    ],
    ids=["contractive", "reconstruction-contractive"],
)
def test_the_plugin_weighs_the_penalty(trained, batch, plugin, argument, name):
    service = jacobian(trained([4]).encode, batch)
    terms = plugin.penalty_terms(**{argument: service})
    assert terms.keys() == {name}
    np.testing.assert_allclose(terms[name].item(), 0.3 * mean_squared_norm(service).item(), rtol=1e-15)
