import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import stats

from caelab.analysis.plotting import (
    curves,
    display_name,
    dot_chart,
    look,
    save_figure,
    settle,
    show_zero,
    svg_of,
    write_figure,
)
from caelab.analysis.statistics import mean_and_half_width
from caelab.registry.catalogue import catalogue
from caelab.runs.recipes import load_recipe
from caelab.testing.chance import random_states

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


def of_images():
    """One that matplotlib lays out otherwise the second time, and otherwise for PDF than for PNG."""
    figure = Figure(figsize=(3, 2), layout="constrained")
    for axes in figure.subplots(2, 3).flat:
        axes.imshow(np.eye(4))
        axes.set_title("a title")
    return figure


def test_a_file_of_a_figure_does_not_depend_on_those_written_before(tmp_path):
    _, after = save_figure(of_images(), tmp_path / "both")
    settle(alone := of_images())
    assert write_figure(alone, tmp_path / "alone.png").read_bytes() == after.read_bytes()


def test_a_settled_figure_has_one_layout_whatever_is_written(tmp_path):
    figure = of_images()
    settle(figure)
    places = [axes.get_position().bounds for axes in figure.axes]
    assert places != [axes.get_position().bounds for axes in Figure().subplots(2, 3).flat]
    save_figure(figure, tmp_path / "settled")
    svg_of(figure)
    settle(figure)
    assert [axes.get_position().bounds for axes in figure.axes] == places
    assert figure.dpi == Figure().dpi


def test_a_dot_chart_shows_every_seed_and_their_mean():
    (axes,) = drawing().axes
    (dots,) = axes.collections
    np.testing.assert_array_equal(dots.get_offsets(), [(8.0, 0), (8.2, 0), (3.9, 1), (4.1, 1)])
    marks, bars = axes.lines[::2], axes.lines[1::2]
    np.testing.assert_allclose([line.get_xydata() for line in marks], [[(8.1, 0)], [(4.0, 1)]])
    for bar, seeds in zip(bars, ([8.0, 8.2], [3.9, 4.1]), strict=True):
        ends = stats.t.interval(0.95, 1, np.mean(seeds), stats.sem(seeds))
        np.testing.assert_allclose([np.nanmin(bar.get_xdata()), np.nanmax(bar.get_xdata())], ends)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["AE", "CAE"]


def test_a_dot_chart_leaves_the_row_of_a_model_without_a_number_empty():
    axes = Figure().add_subplot()
    table = pd.DataFrame({"model": ["ae", "cae", "rbm"], "norm": [8.0, np.nan, 3.0]})
    dot_chart(axes, table, "norm", "mean norm")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["AE", "CAE", "RBM"]
    assert [tuple(point) for line in axes.lines for point in line.get_xydata() if np.isfinite(point).all()] == [
        (8.0, 0),
        (3.0, 2),
    ]


SEEDS = {0: ([1.0, 2.0, 3.0], 10.0), 1: ([4.0], 30.0), 2: ([6.0], 20.0)}  # what a model has at x = 1 and at x = 2


def of_seeds(count=3):
    rows = [("cae", seed, 1.0, value) for seed in range(count) for value in SEEDS[seed][0]]
    rows += [("cae", seed, 2.0, SEEDS[seed][1]) for seed in range(count)]
    return pd.DataFrame(rows, columns=["model", "seed", "radius", "ratio"])


def test_a_curve_is_the_mean_over_seeds_and_its_band_their_t_interval():
    axes = Figure().add_subplot()
    curves(axes, of_seeds(), "radius", "ratio")
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_xydata(), [(1, 4), (2, 20)])  # each seed counts once, whatever its rows
    assert (line.get_label(), line.get_marker(), line.get_color()) == ("CAE", "*", load_recipe("cae").look.color)
    outline = band.get_paths()[0].vertices
    for x, values in ((1, [2.0, 4.0, 6.0]), (2, [10.0, 30.0, 20.0])):
        heights = outline[outline[:, 0] == x, 1]
        ends = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        np.testing.assert_allclose([heights.min(), heights.max()], ends)


def test_one_seed_has_no_band():
    axes = Figure().add_subplot()
    curves(axes, of_seeds(1), "radius", "ratio")
    assert len(axes.collections) == 0
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2, 10])


def test_curves_are_not_averaged_on_a_logarithmic_axis():
    axes = Figure().add_subplot(yscale="log")
    with pytest.raises(ValueError, match="on linear axes, but one is log; set scales after"):
        curves(axes, of_seeds(), "radius", "ratio")


def test_charts_leave_the_generators_and_pyplot_alone():
    states, opened = random_states(), pyplot.get_fignums()
    drawing()
    curves(Figure().add_subplot(), of_seeds(), "radius", "ratio")
    assert random_states() == states
    assert pyplot.get_fignums() == opened


@pytest.mark.parametrize(
    ("values", "low", "high"), [([9.9, 10], 0, 10.5), ([-2, -2.01], -2.1105, 0), ([-1, 1], -1.1, 1.1)]
)
def test_zero_is_shown_and_nothing_is_cut(values, low, high):
    left, right = Figure().subplots(1, 2, sharey=True)
    left.plot(values)
    show_zero(right)
    assert left.get_ylim() == pytest.approx((low, high))
