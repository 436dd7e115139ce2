"""A denoiser's directions against posteriors in closed form."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from caelab.analysis.base import analyse, summarise
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.data.truth import Score
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run, dataset_of
from caelab.streams import Streams
from caelab_analyses import denoiser_directions
from caelab_analyses.denoiser_directions import posterior_covariance
from caelab_analyses.denoiser_directions.eigenvectors import leading_eigenvectors
from tests.drawing import drawn_alike

SIGMA = 0.3


class Denoiser(torch.nn.Module):
    """Any map as ``decode``; the code is the input."""

    def __init__(self, denoise):
        super().__init__()
        self.denoise = denoise

    def encode(self, x):
        return x

    def decode(self, x):
        return self.denoise(x)


def denoiser_run(denoise, dataset):
    config = recipe_config("dae-g", [f"gaussian.sigma={SIGMA}"], label="mine")
    return Run(config, Denoiser(denoise).eval(), dataset, [], {})


@pytest.fixture(scope="module")
def gaussian():
    """N(0, C) in six dimensions: C, its eigenvalues and eigenvectors, and the run of its best denoiser."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    variances = np.array([2.0, 1.0, 0.5, 0.2, 0.1, 0.05])
    covariance = turn * variances @ turn.T
    gain = torch.from_numpy(covariance @ np.linalg.inv(covariance + SIGMA**2 * np.eye(6)))
    inputs = rng.multivariate_normal(np.zeros(6), covariance, 40)
    data = make_dataset("given", Samples(inputs.astype("float32")))
    return variances, turn, denoiser_run(lambda y: y @ gain.mT, data)


def test_a_gaussian_has_the_posterior_variances_and_directions_of_the_textbook(gaussian):
    """Cov[x | y] = C - C (C + σ² I)⁻¹ C, whose eigenvalues are c σ² / (c + σ²)."""
    variances, turn, run = gaussian
    table = denoiser_directions.measure(run, Streams(0), examples=3, directions=6)
    rows = table[table["role"] == "direction"]
    for _, of_example in rows.groupby("example"):
        expected = variances - variances**2 / (variances + SIGMA**2)
        np.testing.assert_allclose(of_example["variance"], expected, rtol=1e-10)
        found = np.stack([np.asarray(pixels) for pixels in of_example["pixels"]])
        np.testing.assert_allclose(np.abs((found * turn.T).sum(axis=1)), 1, rtol=1e-10)
    assert rows["asymmetry"].max() < 1e-12
    found = denoiser_directions.summarise(table)
    assert found["largest posterior variance"] == pytest.approx(2 * 0.09 / 2.09, rel=1e-10)
    assert "posterior cosine" not in found


def test_the_posterior_of_a_mixture_is_that_of_many_draws():
    """Brute force: draws from the prior, weighted by the likelihood of y."""
    truth = Score(torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]], dtype=torch.float64), 0.2)
    y, sigma = torch.tensor([0.2, 0.1], dtype=torch.float64), 0.5
    rng = np.random.default_rng(1)
    draws = truth.centres.numpy()[rng.integers(3, size=400_000)] + 0.2 * rng.standard_normal((400_000, 2))
    weights = np.exp(-((draws - y.numpy()) ** 2).sum(axis=1) / (2 * sigma**2))
    expected = np.cov(draws.T, aweights=weights, ddof=0)
    found = posterior_covariance(truth, y, sigma)
    np.testing.assert_allclose(found, expected, atol=0.004)  # four standard errors
    assert not np.allclose(found, posterior_covariance(truth, y, 0.4), atol=0.01)


def test_the_best_denoiser_of_a_mixture_has_the_posterior_of_the_mixture():
    """D(y) = y + σ² ∇log p_σ(y), whose Jacobian is Cov[x | y] / σ²; two derivations of one number."""
    dataset = dataset_of(recipe_config("dae-g", ["gaussian.sigma=0.3"], dataset={"kind": "gaussian-mixture"}))
    wider = Score(dataset.truth.centres, float(np.hypot(dataset.truth.sigma, SIGMA)))
    run = denoiser_run(lambda y: y + SIGMA**2 * wider.score(y), dataset)
    found = summarise("denoiser_directions", analyse(run, "denoiser_directions", examples=20))
    assert found["posterior cosine"] == pytest.approx(1, abs=1e-10)
    assert found["posterior variance error"] == pytest.approx(0, abs=1e-10)
    assert found["asymmetry of the Jacobian"] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("symmetric", [True, False])
def test_products_alone_find_what_the_matrix_has(symmetric):
    torch.manual_seed(0)
    matrix = torch.randn(40, 40, dtype=torch.float64)
    matrix = matrix + matrix.mT if symmetric else matrix
    point = torch.randn(1, 40, dtype=torch.float64)
    exact = leading_eigenvectors(lambda y: y @ matrix.mT, point, 4, torch.Generator().manual_seed(0))
    found = leading_eigenvectors(lambda y: y @ matrix.mT, point, 4, torch.Generator().manual_seed(0), dense=1)
    torch.testing.assert_close(found[0], exact[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(found[1], exact[1], rtol=0, atol=1e-7)
    assert found[2] == pytest.approx(exact[2], abs=1e-10 if symmetric else 0.1)  # eight probes


def test_asymmetry_is_one_of_a_turn_and_eigenvalues_are_of_the_symmetric_part():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    point = torch.zeros(1, 2, dtype=torch.float64)
    values, _, asymmetry = leading_eigenvectors(lambda y: y @ turn.mT, point, 2, torch.Generator())
    assert asymmetry == pytest.approx(1)
    torch.testing.assert_close(values, torch.zeros(2, dtype=torch.float64))


def test_a_run_needs_a_decoder_and_a_noise_level(encoder_run, linear, tiny_runs):
    with pytest.raises(NotApplicable, match="need a decoder"):
        analyse(encoder_run(linear(np.eye(3)), np.random.default_rng(0).random((30, 3))), "denoiser_directions")
    with pytest.raises(NotApplicable, match=r"give denoiser_directions\.sigma"):
        analyse(tiny_runs["ae"], "denoiser_directions")
    assert len(analyse(tiny_runs["ae"], "denoiser_directions", sigma=0.2, examples=2, directions=3)) == 10


def test_the_figure_and_the_preview_show_every_run(tiny_runs, gathered):
    tables = {(k, 0): denoiser_directions.measure(r, Streams(0), sigma=0.2, examples=3) for k, r in tiny_runs.items()}
    assert isinstance(drawn_alike(denoiser_directions.draw, gathered(tables)), Figure)
    assert denoiser_directions.preview(tables["cae", 0]).shape == (26, 62, 3)
