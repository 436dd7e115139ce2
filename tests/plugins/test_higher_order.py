import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, Jacobian
from caelab.models.convolutional import convolutional
from caelab.streams import Streams
from caelab_regularizers.higher_order import (
    HigherOrderContractive,
    squared_jacobian_difference,
    stochastic_hessian_penalty,
)
from tests.plugins import references

SMOOTH = ["sigmoid", "tanh", "softplus"]
SHAPES = [[4], [6, 3]]
EXACT = {"rtol": 1e-10, "atol": 0}  # float64; the difference of two Jacobians loses a digit
SAMPLES = 3


def stream():
    return Streams(0)["higher-order noise"]


def noisy_copies(batch, sigma=0.3, samples=SAMPLES):
    """What the penalty draws from that stream."""
    noise = torch.randn((samples, *batch.shape), generator=stream(), dtype=batch.dtype)
    return batch + sigma * noise


def reference(model, batch, sigma=0.3):
    noisy = noisy_copies(batch, sigma).numpy()
    return references.mean_squared_jacobian_difference(references.as_map(model.encode), batch.numpy(), noisy)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_the_penalty_equals_complex_steps(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    found = stochastic_hessian_penalty(model.encode, batch, 0.3, SAMPLES, stream())
    np.testing.assert_allclose(found.item(), reference(model, batch), **EXACT)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_the_gradient_equals_central_differences(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    penalty = stochastic_hessian_penalty(model.encode, batch, 0.3, SAMPLES, stream())
    parameters = list(model.encode.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(penalty, parameters), strict=True):
        expected = references.parameter_gradient(lambda: reference(model, batch), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_closed_form_equals_dense_jacobians(trained, batch, activation):
    """A plain function hides its layers, so it goes the general way."""
    encode = trained([4], activation).encode
    others = noisy_copies(batch)
    closed, dense = (squared_jacobian_difference(f, batch, others) for f in (encode, lambda inputs: encode(inputs)))
    assert closed.shape == (SAMPLES, len(batch))
    torch.testing.assert_close(closed, dense, **EXACT)


def test_one_layer_takes_the_closed_form(trained, batch, monkeypatch):
    """No dense Jacobian is formed; of two layers, or of what cannot be looked into, it is."""
    encode, others = trained([4]).encode, batch[None] + 0.1
    monkeypatch.setattr(Jacobian, "dense", lambda self: pytest.fail("a dense Jacobian was formed"))
    squared_jacobian_difference(encode, batch, others)
    for other in (trained([6, 3]).encode, lambda inputs: encode(inputs)):
        with pytest.raises(pytest.fail.Exception):
            squared_jacobian_difference(other, batch, others)


@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_for_small_noise_it_is_the_hessian_norm_times_the_variance(trained, batch, hidden):
    """E‖J(x) - J(x + ε)‖² = σ² ‖H‖² + O(σ⁴): not divided by σ², as in the paper."""
    model, sigma = trained(hidden), 1e-3
    function = references.as_map(model.encode)
    expected = np.mean([references.squared_hessian_norm(function, vector) for vector in batch.numpy()])
    values = squared_jacobian_difference(model.encode, batch, noisy_copies(batch, sigma, samples=4000)).mean(dim=1)
    error = values.std().item() / len(values) ** 0.5
    assert error < 0.02 * values.mean()
    assert abs(values.mean().item() - sigma**2 * expected) < 5 * error


def test_wrong_formulas_would_be_noticed(trained, batch):
    model, others = trained([4]), noisy_copies(batch)
    right = squared_jacobian_difference(model.encode, batch, others).mean()
    slopes = [h * (1 - h) for h in (model.encode(batch), model.encode(others))]
    norms = model.encode[0].weight.square().sum(dim=1)
    wrong = {
        "divided by the variance": right / 0.3**2,
        "difference of norms": ((slopes[0].square() - slopes[1].square()) @ norms).abs().mean(),
        "difference of the codes": (model.encode(batch) - model.encode(others)).square().sum(dim=-1).mean(),
        "mean over the units": right / 4,
        "squared sum of weights": ((slopes[0] - slopes[1]).square() @ model.encode[0].weight.sum(dim=1) ** 2).mean(),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.05, name


def test_the_mean_over_copies_not_their_sum(trained, batch):
    model = trained([4])
    per_copy = squared_jacobian_difference(model.encode, batch, noisy_copies(batch)).mean(dim=1)
    penalty = stochastic_hessian_penalty(model.encode, batch, 0.3, SAMPLES, stream())
    torch.testing.assert_close(penalty, per_copy.sum() / SAMPLES, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("activation", "name"), [("relu", "ReLU"), ("identity", "Identity")])
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_an_encoder_without_curvature_is_refused(trained, activation, name, hidden):
    plugin = HigherOrderContractive(weight=1.0, sigma=0.1, samples=2)
    with pytest.raises(CaelabError, match=f"expects a smooth activation, but with {name} the curvature is zero"):
        plugin.before_training(model=trained(hidden, activation))


def test_convolutions_are_refused_or_welcomed_by_their_activation():
    plugin = HigherOrderContractive(weight=1.0, sigma=0.1, samples=2)
    with pytest.raises(CaelabError, match="with ReLU the curvature is zero"):
        plugin.before_training(model=convolutional(64, (8, 8), activation="relu"))
    plugin.before_training(model=convolutional(64, (8, 8), activation="tanh"))


def test_one_curved_layer_is_enough(trained):
    model = trained([6, 3], "relu")
    model.encode[1] = nn.Tanh()
    HigherOrderContractive(weight=1.0, sigma=0.1, samples=2).before_training(model=model)


def test_the_plugin_weighs_the_penalty(trained, batch):
    model = trained([4])
    plugin = HigherOrderContractive(weight=0.5, sigma=0.3, samples=SAMPLES)
    terms = plugin.penalty_terms(model=model, clean=batch, streams=Streams(0))
    np.testing.assert_allclose(terms["higher-order-contractive"].item(), 0.5 * reference(model, batch), **EXACT)
