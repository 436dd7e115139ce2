import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from caelab.streams import Streams
from caelab_analyses import jacobian_spectrum
from tests.drawing import drawn_alike

COUNT = 6


@pytest.fixture
def table(tiny_runs):
    return jacobian_spectrum.measure(tiny_runs["cae"], Streams(0), examples=COUNT)


@pytest.fixture
def of_matrix(encoder_run, linear):
    """The table of a linear encoder, whose Jacobian is its matrix at every input."""

    def measure(matrix, **options):
        inputs = np.random.default_rng(0).random((12, np.shape(matrix)[1]))
        return jacobian_spectrum.measure(encoder_run(linear(matrix), inputs, (6, 4, 2)), Streams(0), **options)

    return measure


def test_values_by_rank_equal_numpy_on_explicit_jacobians(table, tiny_runs, explicit_jacobians):
    values = np.linalg.svd(explicit_jacobians(tiny_runs["cae"], COUNT), compute_uv=False)  # (COUNT, 20)
    assert list(table["rank"]) == list(range(1, 21))
    assert_allclose(table["mean"], values.mean(axis=0), rtol=1e-9)
    assert_allclose(table["low"], np.quantile(values, 0.1, axis=0), rtol=1e-9)
    assert_allclose(table["high"], np.quantile(values, 0.9, axis=0), rtol=1e-9)


def test_numbers_of_the_run_by_loops_over_numpy(table, tiny_runs, explicit_jacobians):
    values = np.linalg.svd(explicit_jacobians(tiny_runs["cae"], COUNT), compute_uv=False)
    ranks = [np.exp(-sum(p * np.log(p) for p in s / s.sum())) for s in values]
    bound = 0.99999 * np.median(values)  # so that one value lies just above it
    threshold = bound / np.mean([s[0] for s in values])
    table = jacobian_spectrum.measure(tiny_runs["cae"], Streams(0), examples=COUNT, threshold=threshold)
    assert_allclose(table["effective_rank"], np.mean(ranks), rtol=1e-9)
    assert_allclose(table["above_threshold"], np.mean([sum(s > bound) for s in values]))
    assert_allclose(table["above_absolute"], np.mean([sum(s > threshold) for s in values]))
    assert table["above_threshold"].iloc[0] != np.mean([sum(s > threshold * values.max()) for s in values])


def test_orthogonal_matrix_has_full_effective_rank(of_matrix):
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))
    assert_allclose(of_matrix(3 * q[:4])["effective_rank"], 4, rtol=1e-9)


def test_effective_rank_by_hand():
    values = torch.tensor([[2.0, 1, 1], [5, 0, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.float64)
    # shares ½, ¼, ¼: entropy ½ log 2 + ½ log 4
    assert_allclose(jacobian_spectrum.effective_rank(values), [2**1.5, 1, 3, np.nan], rtol=1e-12)


def test_effective_rank_takes_the_values_and_not_their_squares():
    squares = torch.tensor([[4.0, 1, 1]], dtype=torch.float64)
    assert jacobian_spectrum.effective_rank(squares) < 2**1.5 - 0.1


def test_relative_threshold_sees_the_shape_and_the_absolute_one_the_level(of_matrix):
    small, large = of_matrix(np.diag([1, 0.5, 0.005])), of_matrix(100 * np.diag([1, 0.5, 0.005]))
    assert list(small.loc[0, ["above_threshold", "above_absolute"]]) == [2, 2]
    assert list(large.loc[0, ["above_threshold", "above_absolute"]]) == [2, 3]


def test_small_values_keep_their_digits(of_matrix):
    """In float32 a Gram matrix loses everything below 3e-4 of the largest value."""
    q, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))
    found = of_matrix(q @ np.diag([1, 1e-3, 1e-5]) @ q.T)
    assert_allclose(found["mean"], [1, 1e-3, 1e-5], rtol=1e-4)


def test_summary_names(table):
    assert jacobian_spectrum.summarise(table) == {
        "effective rank": table["effective_rank"].iloc[0],
        "singular values above threshold": table["above_threshold"].iloc[0],
    }


def test_figure_shows_the_mean_over_seeds_and_beside_it_the_shape(table, gathered):
    figure = drawn_alike(
        jacobian_spectrum.draw,
        gathered({("ae", 0): table, ("ae", 1): table.assign(mean=3 * table["mean"]), ("cae", 0): table}),
    )
    level, shape = figure.axes
    first, second = (np.asarray(line.get_ydata()) for line in level.lines)
    assert_allclose(first, 2 * second)
    assert [line.get_label() for line in level.lines] == ["AE", "CAE"]
    assert_allclose(np.asarray(shape.lines[0].get_ydata()), np.asarray(shape.lines[1].get_ydata()))
    assert level.get_yscale() == shape.get_yscale() == "log"


def test_figure_stops_a_millionth_below_the_largest_value(table, gathered):
    deep = table.assign(mean=np.logspace(0, -12, len(table)))
    level, _ = jacobian_spectrum.draw(gathered({("ae", 0): deep})).axes
    assert 1e-7 < level.get_ylim()[0] <= 1e-6


def test_encoder_that_responds_to_nothing_is_drawn_too(of_matrix, gathered):
    dead = of_matrix(np.zeros((2, 3)))
    assert np.isnan(jacobian_spectrum.summarise(dead)["effective rank"])
    jacobian_spectrum.draw(gathered({("ae", 0): dead})).canvas.draw()
