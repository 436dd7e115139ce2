import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from caelab import CaelabError
from caelab_analyses.linear_limit import solutions

SIGMA, WIDTH = 0.5, 6
DEVIATIONS = np.array([2.0, 1.5, 1.1, 0.6, 0.4, 0.3])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    return torch.from_numpy(rng.standard_normal((40, WIDTH)) * DEVIATIONS @ turn.T + 0.5)


def centred(data):
    return data.numpy() - data.numpy().mean(axis=0)


def test_the_ridge_solution_is_that_of_regression(data):
    """Ridge of x on x, by least squares on rows stacked under √(n σ²) I."""
    x = centred(data)
    stacked = np.vstack([x, np.sqrt(len(x)) * SIGMA * np.eye(WIDTH)])
    expected = np.linalg.lstsq(stacked, np.vstack([x, np.zeros((WIDTH, WIDTH))]))[0].T
    assert_allclose(solutions.ridge_denoiser(data, SIGMA, WIDTH)[0], expected, atol=1e-10)


@pytest.mark.parametrize("code", [1, 3])
def test_the_ridge_solution_of_low_rank_is_reduced_rank_regression(data, code):
    """Izenman (1975): the full solution, projected on the leading directions of its fitted values."""
    x = centred(data)
    covariance = x.T @ x / len(x)
    noisy = covariance + SIGMA**2 * np.eye(WIDTH)
    full = covariance @ np.linalg.inv(noisy)
    leading = np.linalg.svd(full @ noisy @ full.T)[0][:, :code]
    assert_allclose(solutions.ridge_denoiser(data, SIGMA, code)[0], leading @ leading.T @ full, atol=1e-10)


def test_the_noise_has_the_moments_it_should():
    noise = solutions.cross_noise(5, 0.3).numpy()
    assert_allclose(noise.mean(axis=0), 0, atol=1e-16)
    assert_allclose(noise.T @ noise / len(noise), 0.09 * np.eye(5), atol=1e-15)


@pytest.mark.parametrize(("code", "tied"), [(3, True), (WIDTH, True), (WIDTH, False)])
def test_a_linear_denoiser_is_ridge_regression(data, code, tied):
    model = solutions.trained_linear(data, code, sigma=SIGMA, tied=tied)
    found, at_zero = solutions.linear_part(model, WIDTH)
    matrix, mean = solutions.ridge_denoiser(data, SIGMA, code)
    assert_allclose(found, matrix, atol=1e-5)
    assert_allclose(at_zero, mean - matrix @ mean, atol=1e-5)
    assert np.abs(matrix - solutions.principal_projection(data, code)[0]).max() > 0.02  # the test can fail


@pytest.mark.parametrize("tied", [True, False])
def test_a_linear_auto_encoder_spans_the_principal_subspace(data, tied):
    model = solutions.trained_linear(data, 3, tied=tied)
    assert solutions.angle_to_principal(model, data) < 1e-3
    assert_allclose(solutions.linear_part(model, WIDTH)[0], solutions.principal_projection(data, 3)[0], atol=1e-4)
    assert solutions.angle_to_principal(solutions.trained_linear(data + 10 * data[:, :1].tanh(), 3), data) > 1e-2


@pytest.mark.parametrize("weight", [0.3, 1.5])
def test_the_tied_linear_contraction_thresholds_softly(data, weight):
    found, _ = solutions.linear_part(solutions.trained_linear(data, 5, weight=weight), WIDTH)
    assert_allclose(found, solutions.soft_threshold(data, weight, 5)[0], atol=1e-5)


def test_contraction_gives_directions_up_and_denoising_none(data):
    strong = 2 * 0.7**2  # above twice the variance of the last three
    thresholded = np.linalg.eigvalsh(solutions.soft_threshold(data, strong, WIDTH)[0])
    shrunk = np.linalg.eigvalsh(solutions.ridge_denoiser(data, 0.7, WIDTH)[0])
    assert (thresholded > 1e-12).sum() == 3
    assert (shrunk > 0.05).all()


def test_a_code_wider_than_the_input_is_refused(data):
    with pytest.raises(CaelabError, match="code of 1 to 6 units"):
        solutions.ridge_denoiser(data, SIGMA, 7)
