import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

import caelab
from caelab import CaelabError
from caelab.data import load_dataset
from caelab.runs.recipes import recipe_config
from caelab.streams import Streams
from caelab_analyses import intrinsic_dimension
from caelab_analyses.intrinsic_dimension import (
    ENERGY,
    GAP,
    LIKELIHOOD,
    PARTICIPATION,
    TRUTH,
    TWO_NEAREST,
    energy_count,
    largest_gap,
    participation_ratio,
)
from caelab_analyses.intrinsic_dimension import neighbours as neighbour_dimension
from tests.drawing import drawn_alike


def flat(count, dimension, width=10, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0][:dimension]
    return torch.from_numpy(rng.random((count, dimension)) @ turn)


def sphere(count):
    points = np.random.default_rng(1).standard_normal((count, 3))
    return torch.from_numpy(points / np.linalg.norm(points, axis=1, keepdims=True))


def estimates(points, neighbours=20):
    distances = neighbour_dimension.neighbour_distances(points, points, neighbours)
    return neighbour_dimension.two_nearest(distances), neighbour_dimension.maximum_likelihood(distances)


@pytest.mark.parametrize(
    ("points", "truth"),
    [(flat(2000, 1), 1), (flat(2000, 2), 2), (flat(2000, 3), 3), (sphere(2000), 2)],
    ids=["line", "plane in R^10", "cube in R^10", "sphere"],
)
def test_estimators_find_known_dimensions(points, truth):
    """Standard errors are d / √n for TwoNN and about d / √(k n) for maximum likelihood; edges bias both."""
    two, likelihood = estimates(points)
    assert two == pytest.approx(truth, rel=0.08)
    assert likelihood == pytest.approx(truth, rel=0.08)


def sorted_distances(points):
    """Distances to all others, ascending, by loops."""
    return [sorted(float(np.linalg.norm(a - b)) for j, b in enumerate(points) if j != i) for i, a in enumerate(points)]


@pytest.mark.parametrize("dimension", [2, 4])
def test_estimators_by_hand(dimension):
    points = flat(60, dimension)
    by_hand = sorted_distances(points.numpy())
    two, likelihood = estimates(points, neighbours=5)
    inverses = [np.mean([np.log(near[4] / near[j]) for j in range(4)]) for near in by_hand]
    assert likelihood == pytest.approx(1 / np.mean(inverses), rel=1e-10)
    ratios = sorted(near[1] / near[0] for near in by_hand)
    x = np.log(ratios[:54])
    y = -np.log(1 - np.arange(1, 55) / 60)
    slope = np.linalg.lstsq(x[:, None], y)[0][0]
    assert two == pytest.approx(slope, rel=1e-10)


def test_the_ratios_of_a_pareto_law_give_its_exponent():
    ratios = np.random.default_rng(0).pareto(7.0, 20000) + 1
    distances = torch.from_numpy(np.column_stack([np.ones_like(ratios), ratios]))
    assert neighbour_dimension.two_nearest(distances) == pytest.approx(7, rel=0.03)  # 4 standard errors


def test_copies_are_no_neighbours():
    points = flat(50, 2)
    nearest = neighbour_dimension.neighbour_distances(points, torch.cat([points, points]), 1)
    assert_allclose(nearest[:, 0], [near[0] for near in sorted_distances(points.numpy())])
    assert bool((nearest > 0).all())


def test_too_few_neighbours_are_refused():
    with pytest.raises(CaelabError, match="from 10 neighbours needs as many distinct other examples, but 10 came"):
        estimates(flat(10, 2), neighbours=10)


SPECTRUM = torch.tensor([[3.0, 2.0, 1.9, 0.1, 0.09, 1e-14], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)


def test_readings_of_a_spectrum_by_hand():
    assert largest_gap(SPECTRUM).tolist() == [3, 1]  # the second row's gap of 4 is outside its first half
    total = 9 + 4 + 1.9**2 + 0.01 + 0.0081
    assert (9 + 4) / total < 0.95 < (9 + 4 + 1.9**2) / total
    assert energy_count(SPECTRUM).tolist() == [3, 4]
    expected = total**2 / (81 + 16 + 1.9**4 + 1e-4 + 0.0081**2)
    assert_allclose(participation_ratio(SPECTRUM), [expected, 4], rtol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_readings_agree_where_there_is_nothing_to_argue(rank):
    spectrum = torch.zeros(1, 9, dtype=torch.float64)
    spectrum[:, :rank] = 2.5
    for reading in (largest_gap, energy_count, participation_ratio):
        assert float(reading(spectrum)) == pytest.approx(rank, rel=1e-12)


def test_a_projection_has_the_dimension_of_its_image(encoder_run, linear):
    matrix = flat(5, 3, seed=3).numpy()  # rank 3 in 5 units, 10 inputs
    run = encoder_run(linear(matrix), flat(300, 2).numpy(), splits=(200, 50, 50))
    table = intrinsic_dimension.measure(run, Streams(0), examples=4).set_index("estimator")["dimension"]
    assert table[GAP].tolist() == [3] * 4
    assert TRUTH not in table.index
    expected = np.linalg.svd(matrix, compute_uv=False)
    assert_allclose(table[PARTICIPATION], np.sum(expected**2) ** 2 / np.sum(expected**4), rtol=1e-6)


def test_the_truth_stands_beside_on_a_manifold():
    data = {"kind": "sphere", "samples": 700, "noise": 0.0, "ambient": 8, "splits": [600, 50, 50]}
    settings = [
        "training.epochs=1",
        "training.reconstruction=squared-error",
        "model.output=identity",
        "model.hidden=[12]",
    ]
    table = intrinsic_dimension.measure(
        caelab.train(recipe_config("ae", settings, dataset=data)), Streams(0), examples=5
    )
    single = table[table["example"] == -1].set_index("estimator")["dimension"]
    assert single[TRUTH] == 2
    assert single[TWO_NEAREST] == pytest.approx(2, rel=0.12)
    assert single[LIKELIHOOD] == pytest.approx(2, rel=0.08)
    assert (table["estimator"] == ENERGY).sum() == 5


def test_noise_adds_its_dimensions_to_what_neighbours_see():
    clean, noisy = (load_dataset("sphere", samples=1000, noise=noise, ambient=20).inputs for noise in (0.0, 0.05))
    assert estimates(noisy)[1] > 2 * estimates(clean)[1]


def test_draws_from_the_stored_table(tiny_runs, gathered, tmp_path):
    tables = {
        (n, s): intrinsic_dimension.measure(run, Streams(0), examples=5) for n, run in tiny_runs.items() for s in (0, 1)
    }
    gathered(tables).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(intrinsic_dimension.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [GAP, ENERGY, PARTICIPATION]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["AE", "CAE"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [TWO_NEAREST, LIKELIHOOD]
    seeds = [tables["ae", seed].query("estimator == @GAP")["dimension"].median() for seed in (0, 1)]
    dots = figure.axes[0].collections[0].get_offsets()
    assert_allclose(dots[dots[:, 1] == 0, 0], seeds, rtol=1e-12)  # through the logarithm and back
    mean, span = (np.asarray(line.get_xdata(), dtype=float) for line in figure.axes[0].lines[:2])
    assert_allclose(mean, np.sqrt(np.prod(seeds)), rtol=1e-12)
    assert_allclose([np.nanmin(span), np.nanmax(span)], sorted(seeds), rtol=1e-12)
    references = [line for line in figure.axes[0].lines if line.get_label() in (TWO_NEAREST, LIKELIHOOD)]
    assert len(references) == 2  # one line over the seeds
    assert all(axes.get_xlim()[0] > 0 for axes in figure.axes)
    summary = intrinsic_dimension.summarise(tables["ae", 0])
    expected = tables["ae", 0].query("estimator == @GAP")["dimension"].median()
    assert summary[f"dimension by {GAP}"] == expected
