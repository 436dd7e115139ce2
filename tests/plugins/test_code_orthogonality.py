import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from caelab import jacobian
from caelab_regularizers.code_orthogonality import CodeOrthogonality, mean_squared_cosines
from tests.plugins import references

ACTIVATIONS = ["sigmoid", "tanh", "softplus", "relu", "identity"]
SHAPES = [[4], [9], [6, 3]]


def penalty(encode, batch):
    return mean_squared_cosines(jacobian(encode, batch))


def reference(model, batch):
    function, total = references.as_map(model.encode), 0.0
    for vector in batch.numpy():
        rows = references.jacobian(function, vector)
        for j, row in enumerate(rows):
            for k, other in enumerate(rows):
                lengths = np.linalg.norm(row) * np.linalg.norm(other)
                if j != k and lengths > 0:
                    total += (row @ other / lengths) ** 2
    return total / len(batch)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_it_equals_complex_steps(trained, batch, activation, hidden, tied):
    model = trained(hidden, activation, tied)
    np.testing.assert_allclose(penalty(model.encode, batch).item(), reference(model, batch), rtol=1e-11)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("hidden", [[4], [6, 3]], ids=str)
def test_the_gradient_equals_central_differences(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    parameters = list(model.encode.parameters())
    found = torch.autograd.grad(penalty(model.encode, batch), parameters, allow_unused=True, materialize_grads=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        expected = references.parameter_gradient(lambda: reference(model, batch), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_layer_equals_dense_jacobians(trained, batch, activation):
    """A plain function hides its layers, so it goes the general way."""
    encode = trained([9], activation).encode
    general = penalty(lambda inputs: encode(inputs), batch)
    torch.testing.assert_close(penalty(encode, batch), general, rtol=1e-11, atol=0)


@pytest.fixture
def some_silent():
    """A relu layer of which the units are silent at different examples."""
    torch.manual_seed(5)
    encode = nn.Sequential(nn.Linear(7, 6), nn.ReLU()).double()
    with torch.no_grad():
        encode[0].weight += 0.3 * torch.randn(7)
    return encode


def test_a_silent_unit_has_no_direction(some_silent):
    inputs = torch.randn(8, 7, dtype=torch.float64)
    active = some_silent(inputs) > 0
    assert 0.1 < active.double().mean() < 0.9
    weight = references.array(some_silent[0].weight)
    totals = [2 * ((1 - pdist(weight[chosen], "cosine")) ** 2).sum() for chosen in active.numpy()]
    for encode in (some_silent, lambda x: some_silent(x)):
        np.testing.assert_allclose(penalty(encode, inputs).item(), np.mean(totals), rtol=1e-11)


def test_a_silent_unit_has_gradient_zero_and_not_nan(some_silent):
    with torch.no_grad():
        some_silent[0].bias[2] = -100.0
    inputs = torch.randn(8, 7, dtype=torch.float64)
    for encode in (some_silent, lambda x: some_silent(x)):
        (gradient,) = torch.autograd.grad(penalty(encode, inputs), some_silent[0].weight)
        assert torch.isfinite(gradient).all()
        assert (gradient[2] == 0).all()
        assert gradient.abs().max() > 1e-3


def linear(rows):
    layer = nn.Linear(len(rows[0]), len(rows), dtype=torch.float64)
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    return layer


def test_known_directions():
    inputs = torch.rand(3, 2, dtype=torch.float64)
    star = [[0.0, 1.0], [3**0.5 / 2, -0.5], [-(3**0.5) / 2, -0.5]]
    assert penalty(linear([[2.0, 0.0], [0.0, -5.0]]), inputs) == 0
    np.testing.assert_allclose(penalty(linear([[2.0, 1.0]] * 3), inputs).item(), 3 * 2, rtol=1e-14)
    np.testing.assert_allclose(penalty(linear([[1.0, 0.0], [-3.0, -3.0]]), inputs).item(), 2 * 0.5, rtol=1e-14)
    np.testing.assert_allclose(penalty(linear(star), inputs).item(), 3 * 3 / 2 - 3, rtol=1e-14)  # Welch: m²/d - m


def test_lengths_do_not_matter(trained, batch):
    model = trained([4], "identity")
    before = penalty(model.encode, batch).item()
    with torch.no_grad():
        model.encode[0].weight *= torch.tensor([[1e-3], [-1.0], [7.0], [1e3]], dtype=torch.float64)
    np.testing.assert_allclose(penalty(model.encode, batch).item(), before, rtol=1e-12)


def test_wrong_formulas_would_be_noticed(trained, batch):
    model = trained([4])
    right, weight = penalty(model.encode, batch), model.encode[0].weight
    rows = nn.functional.normalize(weight, dim=1)
    codes = model.encode(batch) - model.encode(batch).mean(dim=0)
    wrong = {
        "weights not normalised": (weight @ weight.T - torch.eye(4)).square().sum(),
        "normalised columns": (nn.functional.normalize(weight, dim=0) @ rows.T - torch.eye(4)).square().sum(),
        "with the diagonal": (rows @ rows.T).square().sum(),
        "each pair once": right / 2,
        "mean over the pairs": right / 12,
        "cosines, not squared": (rows @ rows.T - torch.eye(4)).abs().sum(),
        "correlations of the code": (nn.functional.normalize(codes.T, dim=1) @ codes).square().sum(),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.05, name


def test_the_plugin_weighs_the_penalty(trained, batch):
    model = trained([4])
    terms = CodeOrthogonality(weight=0.3).penalty_terms(encoder_jacobian=jacobian(model.encode, batch))
    assert terms.keys() == {"code-orthogonality"}
    np.testing.assert_allclose(terms["code-orthogonality"].item(), 0.3 * reference(model, batch), rtol=1e-11)
