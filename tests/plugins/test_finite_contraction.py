import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, jacobian
from caelab.streams import Streams
from caelab_regularizers.contractive import mean_squared_norm
from caelab_regularizers.finite_contraction import FiniteContraction, mean_squared_ratio, uniform_directions
from tests.plugins import references

SMOOTH = ["sigmoid", "tanh", "softplus"]
SHAPES = [[4], [6, 3]]
RADIUS, SAMPLES = 0.7, 3


def drawn(batch, samples=SAMPLES):
    return uniform_directions(batch, samples, Streams(0)["finite contraction"])


def along_the_axes(batch):
    """u = e_1, ..., e_d for every example: the mean of u uᵀ is exactly I/d."""
    return torch.eye(batch.shape[1], dtype=batch.dtype)[:, None].expand(-1, len(batch), -1)


def reference(model, batch, radius=RADIUS):
    encode, directions = references.as_map(model.encode), drawn(batch).numpy()
    total = 0.0
    for sample in range(SAMPLES):
        for vector, direction in zip(batch.numpy(), directions[sample], strict=True):
            moved = encode(vector + radius * direction) - encode(vector)
            total += len(vector) * sum(entry**2 for entry in moved) / radius**2
    return total / (SAMPLES * len(batch))


@pytest.mark.parametrize("activation", [*SMOOTH, "relu", "identity"])
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("radius", [0.01, 0.7, 30.0])
def test_it_equals_the_sum_over_examples_and_directions(trained, batch, activation, hidden, radius):
    model = trained(hidden, activation)
    found = mean_squared_ratio(model.encode, batch, drawn(batch), radius)
    np.testing.assert_allclose(found.item(), reference(model, batch, radius), rtol=1e-9)  # differences lose digits


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_the_gradient_equals_central_differences(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    parameters = list(model.encode.parameters())
    penalty = mean_squared_ratio(model.encode, batch, drawn(batch), RADIUS)
    for parameter, gradient in zip(parameters, torch.autograd.grad(penalty, parameters), strict=True):
        expected = references.parameter_gradient(lambda: reference(model, batch), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_a_small_radius_gives_the_contractive_penalty(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    found = mean_squared_ratio(model.encode, batch, along_the_axes(batch), 1e-6)
    expected = references.mean_squared_jacobian_norm(references.as_map(model.encode), batch.numpy())
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)  # an error of the order of the radius


@pytest.mark.parametrize("radius", [0.1, 10.0])
def test_a_linear_encoder_gives_it_at_every_radius(trained, batch, radius):
    model = trained([4], "identity")
    expected = (model.encode[0].weight.detach().numpy() ** 2).sum()
    np.testing.assert_allclose(
        mean_squared_ratio(model.encode, batch, along_the_axes(batch), radius).item(), expected, rtol=1e-12
    )


def test_drawn_directions_give_it_within_their_error(trained, batch):
    model = trained([6, 3])
    expected = mean_squared_norm(jacobian(model.encode, batch)).item()
    directions = drawn(batch, 4000)
    values = torch.stack([mean_squared_ratio(model.encode, batch, one[None], 1e-4) for one in directions])
    error = values.std().item() / len(values) ** 0.5
    assert error < 0.02 * expected
    assert abs(values.mean().item() - expected) < 5 * error


def test_directions_are_uniform_on_the_sphere():
    """Length 1, mean 0, E u uᵀ = I/d and E u_i⁴ = 3 / (d (d + 2)), which corners or axes would miss."""
    u = drawn(torch.zeros(50, 4, dtype=torch.float64), 1000).reshape(-1, 4)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(len(u), dtype=u.dtype), rtol=1e-14, atol=0)
    for found, expected in [(u, 0.0), (u[:, :, None] * u[:, None], torch.eye(4) / 4), (u**4, 3 / (4 * 6))]:
        error = found.std(dim=0) / len(u) ** 0.5
        assert ((found.mean(dim=0) - expected).abs() < 5 * error).all()


def test_images_have_as_many_inputs_as_pixels(batch):
    """d is the number of pixels, and a direction spans the whole image."""
    linear = nn.Linear(6, 2, dtype=torch.float64)
    images = batch[:, :6].reshape(-1, 2, 3)
    directions = drawn(images)
    assert directions.shape == (SAMPLES, len(batch), 2, 3)
    found = mean_squared_ratio(nn.Sequential(nn.Flatten(), linear), images, directions, 0.5)
    flat = mean_squared_ratio(linear, images.flatten(1), directions.flatten(2), 0.5)
    torch.testing.assert_close(found, flat, rtol=1e-13, atol=0)


def test_wrong_formulas_would_be_noticed(trained, batch):
    model, directions = trained([4], "tanh"), drawn(batch)
    right = mean_squared_ratio(model.encode, batch, directions, RADIUS)
    apart = model.encode(batch + RADIUS * directions) - model.encode(batch)
    squares = apart.square().sum(dim=-1)
    wrong = {
        "without d": squares.mean() / RADIUS**2,
        "without r": 7 * squares.mean(),
        "divided by r once": 7 * squares.mean() / RADIUS,
        "mean over the units": right / 4,
        "sum over the samples": right * SAMPLES,
        "square of the mean ratio": 7 * squares.sqrt().mean() ** 2 / RADIUS**2,
        "at radius 0": mean_squared_norm(jacobian(model.encode, batch)),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.02, name


def test_an_encoder_that_couples_the_examples_is_refused(batch):
    encode = nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3)).double()
    before = encode[1].running_mean.clone()
    with pytest.raises(CaelabError, match="BatchNorm1d"):
        mean_squared_ratio(encode, batch, drawn(batch), 0.1)
    assert torch.equal(encode[1].running_mean, before)


def test_the_plugin_weighs_the_penalty_and_draws_from_its_stream(trained, batch):
    model = trained([4])
    plugin = FiniteContraction(weight=0.3, radius=RADIUS, samples=SAMPLES)
    streams = Streams(0)
    first, second = (plugin.penalty_terms(model=model, clean=batch, streams=streams) for _ in range(2))
    np.testing.assert_allclose(first["finite-contraction"].item(), 0.3 * reference(model, batch), rtol=1e-10)
    assert first != second
