import math

import pytest
import torch
from torch.testing import assert_close

from caelab.models.autoencoder import autoencoder
from caelab_analyses.samples.walks import contractive_walk, langevin, walk_step


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("step", [0.05, 0.4])
def test_langevin_with_the_exact_score_of_a_gaussian(step):
    mean, variance, chains = torch.tensor([1.0, -2.0]).double(), 0.5, 40_000
    states = langevin(lambda x: (mean - x) / variance, torch.zeros(chains, 2).double(), step, 120, stream())
    expected = variance / (1 - step / (4 * variance))  # of the chain, whose steps are finite
    error = expected * math.sqrt(2 / chains)
    assert_close(states[-1].mean(dim=0), mean, rtol=0, atol=4 * math.sqrt(expected / chains) + 1e-3)
    assert_close(states[-1].var(dim=0), torch.full((2,), expected).double(), rtol=0, atol=5 * error)


def test_langevin_step_by_hand():
    start = torch.tensor([[1.0, 2.0]]).double()
    found = langevin(lambda x: -3 * x, start, 0.1, 1, stream(5))
    noise = torch.randn(1, 2, generator=stream(5), dtype=torch.float64)
    assert_close(found, torch.stack([start, start - 0.15 * start + math.sqrt(0.1) * noise]))


@pytest.fixture
def model():
    torch.manual_seed(2)
    return autoencoder(6, hidden=[9], activation="tanh", output="identity").double()


def explicit_step(model, x, noise):
    jacobian = torch.autograd.functional.jacobian(lambda v: model.encode(v[None])[0], x)
    return model.decode((model.encode(x[None])[0] + jacobian @ jacobian.T @ noise)[None])[0]


def test_step_of_the_walk_equals_one_with_explicit_jacobians(model):
    points, noise = (torch.randn(4, width, generator=stream(width), dtype=torch.float64) for width in (6, 9))
    expected = torch.stack([explicit_step(model, x, e) for x, e in zip(points, noise, strict=True)])
    assert_close(walk_step(model.encode, model.decode, points, noise), expected.detach(), rtol=1e-12, atol=1e-13)


def test_walk_is_its_steps_in_turn(model):
    start = torch.randn(3, 6, generator=stream(1), dtype=torch.float64)
    found = contractive_walk(model.encode, model.decode, start, 0.7, 2, stream(9))
    again, x = stream(9), start
    for state in found[1:]:
        noise = torch.randn(3, 9, generator=again, dtype=torch.float64)
        x = walk_step(model.encode, model.decode, x, 0.7 * noise)
        assert_close(state, x)
    assert_close(found[0], start)
