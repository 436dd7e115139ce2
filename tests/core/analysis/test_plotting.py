import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import stats

from caelab.analysis.plotting import (
    display_name,
    dot_chart,
    look,
    mean_and_half_width,
    save_figure,
    svg_of,
)
from caelab.registry.catalogue import catalogue
from caelab.runs.recipes import load_recipe

GRID = [f"cae contractive.weight={weight}" for weight in (0.1, 0.3, 1, 3)]


def test_a_recipe_keeps_its_look_whatever_stands_beside_it():
    for beside in ([], ["mine", "ae"], GRID):
        assert look([*beside, "cae"])["cae"] == load_recipe("cae").look


@pytest.mark.parametrize(
    "labels", [GRID, ["cae", *GRID], ["cae", GRID[0]], ["mine", "yours", "theirs"], catalogue().names("recipe")]
)
def test_no_two_models_of_a_figure_look_alike(labels):
    looks = look(labels).values()
    assert len({(each.marker, each.color) for each in looks}) == len(labels)
    assert len({each.marker for each in looks}) == len(labels)  # so they are told apart in grey


def test_a_grid_darkens_toward_its_last_value():
    brightness = [sum(to_rgb(each.color)) for each in look(GRID).values()]
    assert brightness == sorted(brightness, reverse=True)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("sparse-ae", "Sparse AE"),
        ("rbm training.learning_rate=0.1", "RBM rate=0.1"),
        ("cae contractive.weight=1 gaussian.sigma=0.2", "CAE λ=1 σ=0.2"),
        ("cae contractive.weight=1 weight-decay.weight=2", "CAE contractive.weight=1 weight-decay.weight=2"),
    ],
)
def test_names_for_readers(label, name):
    assert display_name(label) == name


def test_the_interval_is_the_t_interval():
    sample = np.array([1.0, 2.5, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 3, sample.mean(), stats.sem(sample))
    mean, half = mean_and_half_width(sample)
    np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-12)
    assert math.isnan(mean_and_half_width([1.0])[1])


def drawing():
    figure = Figure(figsize=(2, 2))
    table = pd.DataFrame({"model": ["ae", "ae", "cae", "cae"], "norm": [8.0, 8.2, 3.9, 4.1]})
    dot_chart(figure.add_subplot(), table, "norm", "mean norm")
    return figure


def test_a_figure_is_the_same_bytes_each_time_and_its_fonts_are_embedded(tmp_path):
    first, second = save_figure(drawing(), tmp_path / "a"), save_figure(drawing(), tmp_path / "b")
    assert [path.suffix for path in first] == [".pdf", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"/FontFile2" in first[0].read_bytes()
    assert svg_of(drawing()) == svg_of(drawing())


def test_a_dot_chart_shows_every_seed_and_their_mean():
    (axes,) = drawing().axes
    dots = np.concatenate([line.get_xdata() for line in axes.lines])
    assert {8.0, 8.2, 3.9, 4.1} <= set(dots)
    assert np.isclose(dots, 8.1).any()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["AE", "CAE"]
