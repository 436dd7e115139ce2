import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from caelab.data import Score, load_dataset
from caelab.data.densities import spiral_centres

NAMES = ["gaussian-mixture", "spiral"]


def somewhere(count=60, far=3.0):
    generator = torch.Generator().manual_seed(0)
    return far * (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_score_is_the_gradient_of_the_log_density(name):
    truth, points = load_dataset(name).truth, somewhere().requires_grad_()
    (gradient,) = torch.autograd.grad(truth.log_density(points).sum(), points)
    torch.testing.assert_close(truth.score(points.detach()), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_score_is_the_central_difference_of_the_log_density(name):
    truth, points, step = load_dataset(name).truth, somewhere(far=1.0), 1e-5
    slopes = [
        (truth.log_density(points + step * unit) - truth.log_density(points - step * unit)) / (2 * step)
        for unit in torch.eye(2, dtype=torch.float64)
    ]
    torch.testing.assert_close(truth.score(points), torch.stack(slopes, dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_log_density_is_that_of_the_mixture_by_scipy(name):
    truth, points = load_dataset(name).truth, somewhere(20)
    parts = [stats.multivariate_normal(c, truth.sigma**2).logpdf(points.numpy()) for c in truth.centres.numpy()]
    expected = logsumexp(parts, axis=0) - np.log(len(truth.centres))
    np.testing.assert_allclose(truth.log_density(points).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one(name):
    truth = load_dataset(name).truth
    axis = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = truth.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-9


def test_one_component_has_the_linear_score_of_a_gaussian():
    truth = Score(torch.tensor([[1.0, -2.0]], dtype=torch.float64), 0.5)
    points = somewhere(5)
    torch.testing.assert_close(truth.score(points), (truth.centres - points) / 0.25)


def test_score_stays_finite_far_away():
    truth = load_dataset("spiral").truth
    far = torch.tensor([[1e4, -1e4]])
    assert torch.isfinite(truth.score(far)).all()
    assert torch.isfinite(truth.log_density(far)).all()
    assert truth.score(far).dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    """E[score] = 0 and E[x . score] = -2 under the density that the score belongs to (integration by parts)."""
    dataset = load_dataset(name, samples=40_000)
    score = dataset.truth.score(dataset.inputs)
    error = score.std(dim=0) / 200
    assert (score.mean(dim=0).abs() < 4 * error).all()
    radial = (dataset.inputs * score).sum(dim=1)
    assert abs(radial.mean() + 2) < 4 * radial.std() / 200
    off = dataset.truth.score(1.1 * dataset.inputs)
    radial = (1.1 * dataset.inputs * off).sum(dim=1)
    assert abs(radial.mean() + 2) > 4 * radial.std() / 200  # the test can fail


def test_labels_of_the_mixture_are_its_components():
    dataset = load_dataset("gaussian-mixture", components=4, sigma=0.05, scale=2.0)
    nearest = torch.cdist(dataset.inputs.double(), dataset.truth.centres).argmin(dim=1)
    assert torch.equal(nearest, dataset.labels)
    assert sorted(dataset.labels.unique().tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(dataset.truth.centres.norm(dim=1), torch.full((4,), 2.0, dtype=torch.float64))


def test_the_centres_of_the_spiral_lie_on_it_evenly():
    turns, scale, spacing = 3.0, 2.0, 0.05
    centres = spiral_centres(turns, spacing, scale)
    radius = np.linalg.norm(centres, axis=1)
    angle = 2 * np.pi * turns * radius / scale
    np.testing.assert_allclose(centres, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-5)
    np.testing.assert_allclose(radius[[0, -1]], [0.2 * scale, scale])
    gaps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert gaps.max() <= spacing
    assert gaps.min() > 0.98 * gaps.max()  # chords, shorter where the spiral is tight


def test_the_spiral_is_smooth_along_its_arc():
    """Twice as many centres change the log density by rounding only: it is the continuous blur."""
    points, sigma = somewhere(200, far=1.2), 0.05
    coarse, fine = (Score(torch.from_numpy(spiral_centres(2.0, gap, 1.0)), sigma) for gap in (sigma, sigma / 8))
    near = fine.log_density(points) > -3
    inner = near & (points.norm(dim=1) > 0.45) & (points.norm(dim=1) < 0.75)  # away from both ends
    assert inner.sum() > 10
    shift = (coarse.log_density(points) - fine.log_density(points))[inner]
    assert shift.max() - shift.min() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_the_sampling_seed_decides_the_samples_and_the_split_seed_does_not(name):
    plain = load_dataset(name)
    assert plain.content_hash == load_dataset(name, seed=4).content_hash
    assert plain.content_hash != load_dataset(name, sampling_seed=4).content_hash
    assert plain.inputs.shape == (5000, 2)
