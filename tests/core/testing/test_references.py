"""The brute force itself, against closed forms and against complex steps."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from caelab.testing.penalty import references


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.Sigmoid()).double()


@pytest.fixture
def inputs():
    return torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def complex_steps(layer, x):
    weight, bias = (p.detach().numpy() for p in layer[0].parameters())
    columns = [np.imag(1 / (1 + np.exp(-(weight @ (x + 1e-30j * e) + bias)))) / 1e-30 for e in np.eye(len(x))]
    return np.stack(columns, axis=1)


def test_the_matrix_equals_complex_steps(layer, inputs):
    for example in inputs:
        found = np.array(references.jacobian_matrix(layer, example))
        np.testing.assert_allclose(found, complex_steps(layer, example.numpy()), rtol=1e-13)


def test_the_mean_squared_norm_equals_the_closed_form(layer, inputs):
    weight, bias = (p.detach().numpy() for p in layer[0].parameters())
    h = expit(inputs.numpy() @ weight.T + bias)
    expected = ((h * (1 - h)) ** 2 @ (weight**2).sum(axis=1)).mean()
    np.testing.assert_allclose(references.mean_squared_jacobian_norm(layer, inputs), expected, rtol=1e-13)


def test_differences_have_the_expectation_of_the_closed_form(layer, inputs):
    found = references.mean_squared_jacobian_differences(layer, inputs, 0.5, 4000)
    weight, bias = (p.detach().numpy() for p in layer[0].parameters())
    noise = np.random.default_rng(0).normal(size=(4000, *inputs.shape)) * 0.5

    def slopes(x):
        h = expit(x @ weight.T + bias)
        return h * (1 - h)

    expected = ((slopes(inputs.numpy() + noise) - slopes(inputs.numpy())) ** 2 @ (weight**2).sum(axis=1)).mean(axis=1)
    error = np.hypot(np.std(found), np.std(expected)) / np.sqrt(4000)
    assert abs(np.mean(found) - expected.mean()) < 4 * error
    assert error < 0.05 * expected.mean()


def test_a_function_that_ignores_an_input_has_a_zero_column(inputs):
    matrix = references.jacobian_matrix(lambda x: torch.stack([x[:, 0] * 2, x[:, 1] * 0 + 1], dim=1), inputs[0])
    assert matrix == [[2, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_sums_of_weights_codes_and_divergences():
    model = nn.Linear(2, 2, bias=True)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    assert references.sum_of_squared_weights(model) == 14
    assert references.mean_absolute_code(torch.tensor([[1.0, -2.0], [0.0, 5.0]])) == 4
    codes = torch.tensor([[0.2, 0.5], [0.6, 0.5]], dtype=torch.float64)
    expected = 0.1 * np.log(0.1 / 0.4) + 0.9 * np.log(0.9 / 0.6) + 0.1 * np.log(0.2) + 0.9 * np.log(1.8)
    np.testing.assert_allclose(references.divergence_of_mean_activation(codes, 0.1), expected, rtol=1e-13)


def test_parameter_differences_put_everything_back():
    parameter = nn.Parameter(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    found = references.parameter_differences(lambda: float((parameter.detach() ** 3).sum()), parameter)
    np.testing.assert_allclose(found.numpy(), [[3, 12]], rtol=1e-9)
    assert parameter.tolist() == [[1, 2]]
