import numpy as np
import pytest
import torch
from scipy import stats

from caelab.data import load_dataset
from caelab.data.flat import flat_torus_of
from caelab.errors import CaelabError

NAMES = ["subspace", "flat-torus"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimension", [1, 4, 10])
def test_tangents_are_orthonormal_and_the_points_are_where_they_are_said_to_be(name, dimension):
    dataset = load_dataset(name, dimension=dimension, samples=50, noise=0.0, scale=2.0)
    truth = dataset.truth
    assert truth.basis.shape == (50, dimension, 50)
    assert truth.dimension == dimension
    gram = truth.basis @ truth.basis.mT
    torch.testing.assert_close(gram, torch.eye(dimension).double().expand_as(gram), rtol=0, atol=1e-13)
    torch.testing.assert_close(dataset.inputs, truth.points.float(), rtol=0, atol=0)
    spanned = dimension if name == "subspace" else 2 * dimension
    assert torch.linalg.matrix_rank(truth.points) == spanned


def test_tangents_of_the_flat_torus_are_derivatives():
    manifold, step = flat_torus_of(3), 1e-6
    t = np.random.default_rng(0).uniform(0, 6, (7, 3))
    for axis in range(3):
        away = step * np.eye(3)[axis]
        slope = (manifold.points(t + away) - manifold.points(t - away)) / (2 * step)
        np.testing.assert_allclose(manifold.tangents(t)[:, axis], slope, atol=1e-9)  # curvature · step²


@pytest.mark.parametrize("noise", [0.3, 1.5])
def test_density_of_a_noisy_subspace_is_that_of_its_covariance(noise):
    dataset = load_dataset("subspace", dimension=3, ambient=8, samples=40, noise=noise, scale=2.0)
    basis = dataset.truth.basis[0].numpy()
    covariance = 4 * basis.T @ basis + noise**2 * np.eye(8)
    expected = stats.multivariate_normal(np.zeros(8), covariance).logpdf(dataset.inputs.double().numpy())
    np.testing.assert_allclose(dataset.truth.log_density(dataset.inputs), expected, rtol=1e-12)


def test_density_without_noise_is_that_of_the_coordinates():
    truth = load_dataset("subspace", dimension=3, ambient=8, samples=40, scale=2.0).truth
    coordinates = (truth.points @ truth.basis[0].T).numpy()
    expected = stats.norm(0, 2).logpdf(coordinates).sum(axis=1)
    np.testing.assert_allclose(truth.log_density(truth.points), expected, rtol=1e-12)


def test_coordinates_of_a_subspace_are_normal():
    truth = load_dataset("subspace", dimension=4, samples=3000, scale=2.0).truth
    assert stats.kstest((truth.points @ truth.basis[0].T / 2).numpy().ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("name", "dimension"), [("subspace", 9), ("flat-torus", 5)])
def test_too_few_dimensions_are_refused(name, dimension):
    with pytest.raises(CaelabError, match="but ambient=8; ask for more"):
        load_dataset(name, dimension=dimension, ambient=8)
