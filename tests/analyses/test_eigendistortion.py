"""Eigendistortions against encoders whose singular vectors are known."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from caelab.analysis.base import analyse, summarise
from caelab.streams import Streams
from caelab_analyses import eigendistortion
from caelab_analyses.eigendistortion import extreme_directions
from tests.drawing import drawn_alike

RNG = np.random.default_rng(0)


def orthogonal(size):
    return np.linalg.qr(RNG.standard_normal((size, size)))[0]


def generator():
    return torch.Generator().manual_seed(0)


LEFT, RIGHT = orthogonal(7), orthogonal(5)
VALUES = np.array([4.0, 3.0, 2.0, 1.0, 0.1])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_extremes_of_a_known_matrix_are_its_first_and_last_right_singular_vectors(count):
    matrix = torch.from_numpy(LEFT[:, :5] * VALUES @ RIGHT)
    most, least = extreme_directions(matrix, count, generator())
    np.testing.assert_allclose((most * torch.from_numpy(RIGHT[:count])).sum(1).abs(), 1, rtol=1e-10)
    np.testing.assert_allclose((least * torch.from_numpy(RIGHT[::-1][:count].copy())).sum(1).abs(), 1, rtol=1e-10)
    assert (most.gather(1, most.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("rank", [4, 2, 0])
def test_a_wide_matrix_has_invisible_directions_that_are_orthonormal(rank):
    values = np.array([3.0, 2.0, 1.0, 0.5]) * (np.arange(4) < rank)
    rows = orthogonal(9)[:4]
    matrix = torch.from_numpy(orthogonal(4) * values @ rows)
    most, least = extreme_directions(matrix, 3, generator())
    assert len(most) == min(3, rank)
    np.testing.assert_allclose(least @ least.mT, np.eye(3), atol=1e-12)
    assert float((matrix @ least.mT).norm()) < 1e-12
    np.testing.assert_allclose((matrix @ most.mT).norm(dim=0), values[: len(most)], rtol=1e-12)


def test_after_the_null_space_come_the_smallest_values():
    matrix = torch.from_numpy(orthogonal(3) * [3.0, 2.0, 1.0] @ orthogonal(4)[:3])
    _, least = extreme_directions(matrix, 3, generator())
    np.testing.assert_allclose((matrix @ least.mT).norm(dim=0), [0, 1, 2], atol=1e-12)


def test_a_linear_encoder_moves_as_predicted_and_by_its_singular_values(encoder_run, linear):
    run = encoder_run(linear(LEFT[:, :5] * VALUES @ RIGHT), RNG.random((30, 5)))
    found = summarise("eigendistortion", analyse(run, "eigendistortion", examples=3))
    assert found["most noticeable"] == pytest.approx(4, rel=1e-10)
    assert found["least noticeable"] == pytest.approx(0.1, rel=1e-8)
    assert found["log10 of most over least"] == pytest.approx(np.log10(40), rel=1e-8)
    assert found["error of the prediction"] == pytest.approx(0, abs=1e-10)


def test_what_a_curved_encoder_does_is_measured_and_not_predicted(encoder_run):
    """f(x) = tanh(3 x) of one input: by hand."""
    run = encoder_run(lambda x: torch.tanh(3 * x), np.linspace(0, 1, 20)[:, None])
    table = eigendistortion.measure(run, Streams(0), examples=2, reach=0.5, steps=1)
    points = run.dataset.valid_inputs.double()
    for row in table[table["role"] == "most"].itertuples():
        x = float(points[row.example])
        assert row.singular_value == pytest.approx(3 / np.cosh(3 * x) ** 2, rel=1e-5)  # the function is in float32
        assert row.actual == pytest.approx(abs(np.tanh(3 * (x + row.t)) - np.tanh(3 * x)), abs=1e-6)
        assert row.predicted == pytest.approx(abs(row.t) * row.singular_value)


def test_pictures_are_the_example_the_directions_and_what_they_make_of_it(tiny_runs):
    table = eigendistortion.measure(tiny_runs["ae"], Streams(0), examples=1, reach=2.0)
    shown = table[table["height"] > 0]
    assert list(shown["role"]) == ["example", "most", "most", "least", "least"]
    x, most, moved, *_ = (np.asarray(pixels) for pixels in shown["pixels"])
    np.testing.assert_allclose(moved, x + 2 * most, atol=1e-12)
    assert np.linalg.norm(most) == pytest.approx(1)


def test_the_figure_and_the_preview_show_every_run(tiny_runs, gathered):
    tables = {(label, 0): eigendistortion.measure(run, Streams(0), examples=2) for label, run in tiny_runs.items()}
    assert isinstance(drawn_alike(eigendistortion.draw, gathered(tables)), Figure)
    assert eigendistortion.preview(tables["ae", 0]).shape == (17, 26, 3)
