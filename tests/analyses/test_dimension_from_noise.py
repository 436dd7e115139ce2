import math

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import special

from caelab.analysis.base import analyse
from caelab.data import load_dataset
from caelab.data.flat import flat_torus_of
from caelab.errors import CaelabError, NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run, dataset_of
from caelab.streams import Streams
from caelab_analyses import dimension_from_noise
from caelab_analyses.dimension_from_noise import ENERGY, FLIPD, PARTICIPATION, TRACE, TRUTH
from caelab_analyses.dimension_from_noise.flipd import flipd, trace
from tests.drawing import drawn_alike

FLAT = {"kind": "subspace", "dimension": 4, "samples": 600, "scale": 2.0, "splits": [400, 100, 100]}


class PosteriorMean(torch.nn.Module):
    """E[x | x~] of a Gaussian on a subspace: a projection, shrunk by scale² / (scale² + σ²)."""

    def __init__(self, truth, sigma):
        super().__init__()
        self.basis, self.shrink = truth.basis[0], truth.scale**2 / (truth.scale**2 + sigma**2)

    def encode(self, x):
        return x @ self.basis.T

    def decode(self, code):
        return self.shrink * code @ self.basis


def denoiser(truth, sigma):
    best = PosteriorMean(truth, sigma)
    return lambda x: best.decode(best.encode(x))


@pytest.fixture(scope="module")
def perfect():
    config = recipe_config("dae-g", ["gaussian.sigma=0.3"], dataset=FLAT)
    dataset = dataset_of(config)
    return Run(config, PosteriorMean(dataset.truth, 0.3).eval(), dataset, [], {})


def test_it_is_the_growth_of_the_blurred_density_with_the_noise():
    """Central differences of log p_σ, whose covariance is scale² QQᵀ + σ² I, in log σ."""
    truth = load_dataset("subspace", dimension=3, ambient=7, samples=20, scale=1.5).truth
    points, sigma, step = truth.points + 0.2, 0.6, 1e-5

    def log_density(level):
        covariance = 1.5**2 * truth.basis[0].T @ truth.basis[0] + level**2 * torch.eye(7).double()
        return torch.distributions.MultivariateNormal(torch.zeros(7).double(), covariance).log_prob(points)

    growth = (log_density(sigma * math.exp(step)) - log_density(sigma * math.exp(-step))) / (2 * step)
    assert_allclose(flipd(denoiser(truth, sigma), points, sigma), 7 + growth, rtol=1e-7)


@pytest.mark.parametrize("dimension", [1, 5, 10])
def test_the_best_denoiser_has_the_dimension_up_to_the_fourth_power_of_the_noise(dimension):
    """On average k (1 - q²) with q = σ² / (scale² + σ²); the trace alone has k (1 - q)."""
    truth = load_dataset("subspace", dimension=dimension, samples=4000, scale=2.0).truth
    for sigma in (0.2, 1.0):
        share = sigma**2 / (4 + sigma**2)
        found = flipd(denoiser(truth, sigma), truth.points, sigma)
        error = 4 * share * (1 - share) * math.sqrt(2 * dimension / 4000)  # 4 standard errors, of a chi-squared mean
        assert abs(float(found.mean()) - dimension * (1 - share**2)) < error
        assert_allclose(trace(denoiser(truth, sigma), truth.points[:5]), dimension * (1 - share), rtol=1e-12)


def test_at_noisy_points_its_mean_is_the_number_of_inputs():
    truth = load_dataset("subspace", dimension=3, ambient=20, samples=4000).truth
    noisy = truth.points + 0.3 * torch.randn(4000, 20, generator=torch.Generator().manual_seed(0)).double()
    found = flipd(denoiser(truth, 0.3), noisy, 0.3)
    assert float(found.mean()) == pytest.approx(20, abs=4 * float(found.std()) / 4000**0.5)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
def test_the_best_denoiser_of_a_flat_torus_has_its_dimension_up_to_curvature(sigma):
    """E[x | x~] of a circle is A(ρ/σ²) x~/ρ, A = I_1 / I_0, and log p_σ = log I_0(ρ/σ²) - (ρ² + 1) / 2σ² - 2 log σ."""

    def circles(x):
        pairs = x.unflatten(1, (-1, 2))
        radius = pairs.norm(dim=2, keepdim=True)
        ratio = torch.special.i1e(radius / sigma**2) / torch.special.i0e(radius / sigma**2)
        return (ratio * pairs / radius).flatten(1)

    points = torch.from_numpy(flat_torus_of(4).points(np.random.default_rng(0).uniform(0, 6, (10, 4))))
    found = flipd(circles, points, sigma)

    def log_density(level):
        return np.log(special.ive(0, 1 / level**2)) - 2 * np.log(level)  # at ρ = 1 the exponentials cancel

    growth = (log_density(sigma * (1 + 1e-5)) - log_density(sigma * (1 - 1e-5))) / 2e-5
    assert_allclose(found, 4 * (2 + growth), rtol=1e-6)
    assert abs(float(found.mean()) - 4) < 4 * sigma**2 / 2


def test_the_table_of_a_perfect_denoiser(perfect):
    table = dimension_from_noise.measure(perfect, Streams(0), examples=50)
    means = table.groupby("estimator")["dimension"].mean()
    assert means[TRUTH] == 4
    assert means[[ENERGY, PARTICIPATION]].tolist() == pytest.approx([4, 4], rel=1e-6)
    assert means[TRACE] == pytest.approx(4 * 4 / 4.09, rel=1e-6)
    assert (table["sigma"] == 0.3).all()
    summary = dimension_from_noise.summarise(table)
    assert summary[f"{dimension_from_noise.ERROR} {FLIPD}"] == pytest.approx(abs(means[FLIPD] - 4))
    assert summary[f"{dimension_from_noise.ERROR} {FLIPD}"] < 0.05
    assert len(table[table["estimator"] == FLIPD]) == 50


def test_no_truth_no_error(tiny_runs):
    table = dimension_from_noise.measure(tiny_runs["ae"], Streams(0), sigma=0.5, examples=3)
    assert not any(name.startswith(dimension_from_noise.ERROR) for name in dimension_from_noise.summarise(table))


def test_what_has_no_noise_or_no_decoder_is_refused(tiny_runs, encoder_run, linear):
    with pytest.raises(NotApplicable, match="needs a noise level"):
        analyse(tiny_runs["ae"], "dimension_from_noise")
    run = encoder_run(linear(np.eye(3)), np.random.default_rng(0).random((60, 3)), splits=(40, 10, 10))
    with pytest.raises(NotApplicable, match="only encodes"):
        dimension_from_noise.measure(run, Streams(0), sigma=1.0)


def test_one_neighbour_is_refused(perfect):
    with pytest.raises(CaelabError, match="at least 2 neighbours, but neighbours=1 came"):
        dimension_from_noise.measure(perfect, Streams(0), neighbours=1)


def test_draws_from_the_stored_table(perfect, gathered, tmp_path):
    tables = {("dae-g", seed): dimension_from_noise.measure(perfect, Streams(0), examples=5) for seed in (0, 1)}
    gathered(tables).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(dimension_from_noise.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "FLIPD",
        "trace alone",
        "95 % of the energy of $J_r$",
        "participation ratio of $J_r$",
    ]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["DAE-g"]
    truth = next(line for line in figure.axes[0].lines if line.get_label() == TRUTH)
    assert list(truth.get_xdata()) == [4, 4]
