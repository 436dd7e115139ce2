import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError
from caelab.models.convolutional import convolutional
from caelab_regularizers.weight_decay import WeightDecay, squared_weight_norm
from tests.plugins import references


def squares(*arrays):
    return sum(entry**2 for array in arrays for entry in array.detach().double().numpy().ravel())


@pytest.mark.parametrize("hidden", [[4], [6, 3]], ids=str)
def test_a_tied_weight_counts_once(trained, hidden):
    model = trained(hidden, tied=True)
    encoder = [layer.weight for layer in model.encode if isinstance(layer, nn.Linear)]
    np.testing.assert_allclose(squared_weight_norm(model).item(), squares(*encoder), rtol=1e-13)


@pytest.mark.parametrize("hidden", [[4], [6, 3]], ids=str)
def test_untied_weights_count_on_both_sides_and_biases_do_not(trained, hidden):
    model = trained(hidden, tied=False)
    layers = [layer for part in (model.encode, model.decode) for layer in part if isinstance(layer, nn.Linear)]
    assert len(layers) == 2 * len(hidden)
    right = squares(*(layer.weight for layer in layers))
    np.testing.assert_allclose(squared_weight_norm(model).item(), right, rtol=1e-13)
    assert squares(*(layer.bias for layer in layers)) > 0.01 * right


def test_a_weight_shared_by_two_layers_counts_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    np.testing.assert_allclose(squared_weight_norm(model).item(), squares(model[0].weight), rtol=1e-6)


def test_kernels_count_and_scales_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    np.testing.assert_allclose(squared_weight_norm(model).item(), squares(model[0].weight), rtol=1e-6)
    assert squared_weight_norm(convolutional(64, (8, 8))) > 0


def test_the_gradient_equals_central_differences(trained):
    model = trained([4], tied=False)
    for parameter in model.parameters():
        (gradient,) = torch.autograd.grad(squared_weight_norm(model), parameter, allow_unused=True)
        expected = references.parameter_gradient(
            lambda: squares(model.encode[0].weight, model.decode[0].weight), parameter
        )
        gradient = torch.zeros_like(parameter) if gradient is None else gradient
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-7, atol=1e-9)


def test_wrong_formulas_would_be_noticed(trained):
    model = trained([5])
    weight, right = model.encode[0].weight, squared_weight_norm(model)
    both = weight.square().sum() + model.decode[0].weight.square().sum()
    for wrong in (weight.sum().square(), weight.square().mean(), weight.norm(), right / 2, both):
        assert abs(wrong / right - 1) > 0.05


def test_a_model_without_weights_is_refused():
    with pytest.raises(CaelabError, match="expects a model with weights"):
        WeightDecay(weight=1.0).penalty_terms(model=nn.Sequential(nn.Sigmoid()))


def test_the_plugin_weighs_the_penalty(trained):
    model = trained([4])
    terms = WeightDecay(weight=0.01).penalty_terms(model=model)
    np.testing.assert_allclose(terms["weight-decay"].item(), 0.01 * squares(model.encode[0].weight), rtol=1e-13)
