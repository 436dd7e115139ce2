import numpy as np
import pytest
import torch
from scipy import stats

from caelab.data import load_dataset
from caelab.data.manifolds import SPHERE, SWISS_ROLL, TORUS, TUBE, harmonic_curve, random_orthonormal
from caelab.errors import CaelabError

MANIFOLDS = {
    "circle": harmonic_curve("circle", 1),
    "curve": harmonic_curve("curve", 5),
    "sphere": SPHERE,
    "torus": TORUS,
    "swiss-roll": SWISS_ROLL,
}
DIMENSIONS = {"circle": 1, "curve": 1, "sphere": 2, "torus": 2, "swiss-roll": 2}


@pytest.mark.parametrize("name", MANIFOLDS)
def test_tangents_span_the_derivatives_of_the_parametrisation(name):
    manifold = MANIFOLDS[name]
    parameters = manifold.draw(np.random.default_rng(0), 200)
    basis, step = manifold.tangents(parameters), 1e-5
    for shift in step * np.eye(parameters.shape[1]):
        slope = (manifold.points(parameters + shift) - manifold.points(parameters - shift)) / (2 * step)
        inside = np.einsum("nk,nke->ne", np.einsum("nke,ne->nk", basis, slope), basis)
        np.testing.assert_allclose(inside, slope, atol=1e-8 * max(1, np.abs(slope).max()))  # central differences


@pytest.mark.parametrize("name", MANIFOLDS)
def test_truth_is_orthonormal_tangent_and_where_the_points_are(name):
    dataset = load_dataset(name, samples=300, noise=0.0, scale=2.0)
    truth, k = dataset.truth, DIMENSIONS[name]
    assert truth.basis.shape == (300, k, 50)
    assert truth.dimension == k
    assert truth.basis.dtype == truth.points.dtype == torch.float64
    gram = truth.basis @ truth.basis.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(k, dtype=torch.float64).expand(300, k, k), rtol=0, atol=1e-13)
    torch.testing.assert_close(dataset.inputs, truth.points.float(), rtol=0, atol=0)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_neighbours_on_the_manifold_lie_along_the_tangents_in_the_ambient_space(name):
    """Independent of any parametrisation: the way to the nearest neighbour is tangent up to curvature."""
    truth = load_dataset(name, samples=6000, noise=0.0).truth
    some = truth.points[:200]
    apart = torch.cdist(some, truth.points)
    apart[torch.arange(200), torch.arange(200)] = torch.inf
    away = truth.points[apart.argmin(dim=1)] - some
    along = torch.einsum("nkd,nd->nk", truth.basis[:200], away).norm(dim=1) / away.norm(dim=1)
    assert along.median() > 0.995
    shuffled = torch.einsum("nkd,nd->nk", truth.basis[200:400], away).norm(dim=1) / away.norm(dim=1)
    assert shuffled.median() < 0.95  # the test can fail: the tangents of others do not fit


@pytest.mark.parametrize("name", MANIFOLDS)
def test_noise_is_normal_in_every_dimension(name):
    dataset = load_dataset(name, samples=2000, noise=0.3)
    noise = (dataset.inputs - dataset.truth.points).numpy()
    assert abs(noise.std() - 0.3) < 0.003  # 100 000 values: standard error 0.0007
    assert np.abs(noise.mean(axis=0)).max() < 0.035
    assert stats.kstest(noise.ravel() / 0.3, "norm").pvalue > 1e-3


@pytest.mark.parametrize("name", MANIFOLDS)
def test_size_ambient_scale_and_seed_are_the_users(name):
    plain = load_dataset(name, samples=100, ambient=12, noise=0)
    scaled = load_dataset(name, samples=100, ambient=12, noise=0, scale=3)
    other = load_dataset(name, samples=100, ambient=12, noise=0, sampling_seed=1)
    assert plain.inputs.shape == (100, 12)
    torch.testing.assert_close(scaled.truth.points, 3 * plain.truth.points)
    torch.testing.assert_close(scaled.truth.basis, plain.truth.basis)
    assert not torch.allclose(plain.inputs, other.inputs)
    assert plain.content_hash == load_dataset(name, samples=100, ambient=12, noise=0, seed=9).content_hash


@pytest.mark.parametrize("name", MANIFOLDS)
def test_noise_moves_no_point(name):
    quiet, loud = (load_dataset(name, samples=50, noise=noise).truth for noise in (0.0, 0.5))
    assert torch.equal(quiet.points, loud.points)


@pytest.mark.parametrize(
    ("name", "needed"), [("circle", 2), ("sphere", 3), ("torus", 3), ("swiss-roll", 3), ("curve", 10)]
)
def test_too_few_dimensions_are_refused(name, needed):
    assert load_dataset(name, samples=20, ambient=needed).inputs.shape == (20, needed)
    with pytest.raises(CaelabError, match=f"'{name}' needs {needed} dimensions, but ambient={needed - 1}"):
        load_dataset(name, ambient=needed - 1)


def test_points_satisfy_the_equations_of_their_manifolds():
    norms = {name: load_dataset(name, noise=0).truth.points.norm(dim=1) for name in ("circle", "sphere", "curve")}
    for radius in norms.values():
        torch.testing.assert_close(radius, torch.ones_like(radius), rtol=1e-12, atol=0)
    x, y, z = TORUS.points(TORUS.draw(np.random.default_rng(0), 500)).T
    np.testing.assert_allclose((np.hypot(x, y) - 1) ** 2 + z**2, TUBE**2, rtol=1e-12)
    x, h, z = SWISS_ROLL.points(SWISS_ROLL.draw(np.random.default_rng(0), 500)).T * 4.5 * np.pi
    t = np.hypot(x, z)
    np.testing.assert_allclose([t * np.cos(t), t * np.sin(t)], [x, z], atol=1e-10)
    assert 1.5 * np.pi <= t.min() < t.max() <= 4.5 * np.pi
    assert 0 <= h.min() < h.max() <= 21


def test_the_sphere_and_the_torus_are_uniform_by_area():
    height = SPHERE.points(SPHERE.draw(np.random.default_rng(0), 20_000))[:, 2]
    assert stats.kstest(height, "uniform", args=(-1, 2)).pvalue > 1e-3  # Archimedes
    tube = TORUS.draw(np.random.default_rng(0), 20_000)[:, 1] % (2 * np.pi)

    def share(v):  # the area up to angle v: the integral of 1 + TUBE cos v
        return (v + TUBE * np.sin(v)) / (2 * np.pi)

    assert stats.kstest(tube, share).pvalue > 1e-3
    assert stats.kstest(tube, "uniform", args=(0, 2 * np.pi)).pvalue < 1e-6  # the test can fail


def test_the_turn_is_orthonormal_and_reproducible():
    turn = random_orthonormal(np.random.default_rng(3), 50, 7)
    np.testing.assert_allclose(turn.T @ turn, np.eye(7), atol=1e-14)
    np.testing.assert_array_equal(turn, random_orthonormal(np.random.default_rng(3), 50, 7))
