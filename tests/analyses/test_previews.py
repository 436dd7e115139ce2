"""The small pictures of the built-in analyses: the tiles of their figures, in the same colours."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps

from caelab.report.pictures import checked_pixels
from caelab.streams import Streams
from caelab_analyses import filters, reconstructions, tangents
from caelab_analyses.shared.tiles import SIGNED, Tile, fill, sheet


def test_a_sheet_has_its_tiles_line_by_line_with_white_between():
    dark, bright = np.zeros((2, 3)), np.ones((2, 3))
    found = sheet([Tile(0, 0, each, (0, 1)) for each in (dark, bright, dark)], columns=2)
    assert found.shape == (5, 7, 3)
    assert (found[:2, :3] == 0).all()
    assert (found[3:, :3] == 0).all()
    rest = found.copy()
    rest[:2, :3] = rest[3:, :3] = 1
    assert (rest == 1).all()


@pytest.mark.parametrize(("style", "colour"), [("default", "0.15"), ("dark_background", "white")])
def test_lines_of_vectors_are_seen_on_their_ground(style, colour):
    with plt.style.context(style):
        figure, axes = plt.subplots()
        fill(axes, [Tile(0, 0, np.array([[0.0, 1.0, 0.5]]), (0, 1))], columns=1, rows=1)
        (line,) = axes.get_lines()
        plt.close(figure)
    assert line.get_color() == colour


def test_signed_tiles_are_each_on_their_own_scale():
    values = np.array([[-2.0, 0.0], [1.0, 2.0]])
    found = sheet([Tile(0, 0, values)])
    expected = [[colormaps[SIGNED]((value + 2) / 4)[:3] for value in row] for row in values]
    assert np.allclose(found, expected)


@pytest.mark.parametrize(("shape", "size"), [((96, 64), (32, 22)), ((33, 33), (17, 17)), ((1, 784), (1, 32))])
def test_large_tiles_become_means_of_blocks(shape, size):
    values = np.random.default_rng(0).random(shape)
    found = sheet([Tile(0, 0, values, (0, 1))])[:, :, 0]
    tall = values if shape[0] > 1 else np.repeat(values, 6, axis=0)
    step = int(np.ceil(max(tall.shape) / 32))
    assert found.shape == size
    block = tall[:step, :step].mean()
    assert abs(found[0, 0] - block) < 1 / 256


def run_table(analysis, runs, label):
    return pd.DataFrame(analysis.measure(runs[label], Streams(0)))


@pytest.mark.parametrize("analysis", [filters, tangents, reconstructions], ids=lambda each: each.title)
def test_every_analysis_of_images_previews_a_run(analysis, tiny_runs):
    pictures = [checked_pixels(analysis.preview(run_table(analysis, tiny_runs, label)), label) for label in tiny_runs]
    assert all(each.shape == pictures[0].shape and each.std() > 0.05 for each in pictures)
    assert not np.array_equal(*pictures)


def test_the_preview_of_reconstructions_has_the_inputs_above_what_the_model_makes_of_them(tiny_runs):
    table = run_table(reconstructions, tiny_runs, "ae")
    found = reconstructions.preview(table)
    inputs = [np.asarray(p).reshape(8, 8) for p in table[table["role"] == "input"]["pixels"][:8]]
    assert found.shape == (17, 71, 3)
    for place, pixels in enumerate(inputs):
        assert np.abs(found[:8, 9 * place : 9 * place + 8, 0] - pixels).max() < 1 / 255


def test_the_preview_of_tangents_begins_each_line_with_its_example(tiny_runs):
    table = run_table(tangents, tiny_runs, "cae")
    found = tangents.preview(table)
    examples = [np.asarray(p).reshape(8, 8) for p in table[table["role"] == "example"]["pixels"]]
    assert found.shape == (17, 53, 3)
    for line, pixels in enumerate(examples):
        assert np.abs(found[9 * line : 9 * line + 8, :8, 0] - pixels).max() < 1 / 255
