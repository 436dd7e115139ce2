import math

import pytest
import torch
from torch.testing import assert_close

from caelab.models.autoencoder import autoencoder
from caelab.training.objective import reconstruction_map
from caelab_analyses.shared.fields import (
    along_segments,
    asymmetry,
    closed_form_energy,
    energy_of,
    line_energy,
    score_estimate,
)


def network(activation="tanh", tied=True, output="identity", width=5):
    torch.manual_seed(3)
    model = autoencoder(width, hidden=[7], activation=activation, tied=tied, output=output).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return model


POINTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_field_is_minus_the_gradient_of_its_energy(activation):
    model = network(activation)
    points = POINTS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(closed_form_energy(model)(points).sum(), points)
    with torch.no_grad():
        assert_close(-gradient, model(POINTS) - POINTS, rtol=1e-10, atol=1e-12)


def test_energy_of_large_codes_does_not_overflow():
    model = network("tanh")
    assert torch.isfinite(closed_form_energy(model)(1e4 * POINTS)).all()


@pytest.mark.parametrize(
    ("activation", "tied", "output"),
    [("tanh", False, "identity"), ("tanh", True, "sigmoid"), ("softplus", True, "identity")],
)
def test_other_networks_have_no_closed_form(activation, tied, output):
    assert closed_form_energy(network(activation, tied, output)) is None


def test_line_integral_equals_the_closed_form_where_there_is_one():
    model = network()
    energy, origin = closed_form_energy(model), torch.full((5,), 0.3, dtype=torch.float64)
    found = line_energy(lambda x: model(x) - x, origin, POINTS, nodes=64)
    with torch.no_grad():
        assert_close(found, energy(POINTS) - energy(origin[None]), rtol=1e-7, atol=1e-9)


def test_energy_without_a_closed_form_is_the_line_integral():
    model, origin = network(tied=False), torch.zeros(5, dtype=torch.float64)
    found = energy_of(model, reconstruction_map(model), origin, POINTS)
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    with torch.no_grad():
        along = torch.stack([((model(s * POINTS) - s * POINTS) * POINTS).sum(dim=1) for s in t])
    assert_close(found, -torch.trapezoid(along, t, dim=0), rtol=1e-5, atol=1e-5)  # the trapezoids' own error


def test_tied_weights_do_not_turn_and_untied_ones_do():
    tied = asymmetry(reconstruction_map(network()), POINTS)
    untied = asymmetry(reconstruction_map(network(tied=False)), POINTS)
    assert float(tied.max()) < 1e-14  # rounding
    assert float(untied.min()) > 0.1


def test_asymmetry_by_hand():
    turn = torch.nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        turn.weight.copy_(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    assert_close(asymmetry(turn, POINTS[:, :2]), torch.ones(6, dtype=torch.float64))


def test_best_denoiser_of_a_gaussian_gives_the_score_of_the_blurred_one():
    sigma, scale = 0.3, 0.5  # E[x | x~] = x~ s² / (s² + σ²)
    shrink = scale**2 / (scale**2 + sigma**2)
    found = score_estimate(lambda x: shrink * x, POINTS, sigma)
    assert_close(found, -POINTS / (scale**2 + sigma**2), rtol=1e-12, atol=0)


def test_along_a_segment_between_two_attractors():
    ends = torch.tensor([[4.0, 3.0]]).double()

    def attract(x):  # to the nearer of 0 and the end
        return torch.where((x.norm(dim=1) < (x - ends).norm(dim=1))[:, None], 0 * x, ends.expand_as(x))

    positions = torch.tensor([-0.5, 0.25, 0.75, 1.5]).double()
    found = along_segments(attract, 0 * ends, ends, positions, sigma=0.5)
    assert_close(found, torch.tensor([[2.5, -1.25, 1.25, -2.5]]).double() / 0.25)
    assert math.copysign(1, float(found[0, 0])) == 1
