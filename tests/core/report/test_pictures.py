"""Small pictures of runs: what an analysis returns, and what the page holds of it."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from caelab.errors import ContractError
from caelab.registry.catalogue import Offer, catalogue
from caelab.report import pictures as module
from caelab.report.pictures import checked_pixels, pictures, png, reduced
from tests.core.invented import analysis, dots

RUNS = pd.DataFrame({"model": ["a", "a", "b"], "seed": [0, 1, 0], "run": ["a0", "a1", "b0"]})
TABLE = pd.DataFrame({"model": [*"aaaab"], "seed": [0, 0, 1, 1, 0], "level": [0.0, 1.0, 1.0, 1.0, 0.4]})


@pytest.fixture
def offered(monkeypatch):
    """Offer analyses with these previews: ``offered(name=preview)``."""
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))

    def offer(**previews):
        for name, preview in previews.items():
            found = analysis(name, dots)
            found.preview = preview
            catalogue().offers["analysis", name] = Offer("analysis", name, "test", found)

    return offer


def opened(text):
    return np.asarray(Image.open(BytesIO(b64decode(text))).convert("RGB")) / 255


def test_each_run_has_the_picture_of_its_own_rows(offered):
    offered(mine=lambda table: table[["level"]].to_numpy())
    found, step, problems = pictures({"mine": TABLE}, RUNS)
    assert (step, problems, [*found]) == (1, [], ["mine"])
    shown = {run: opened(text)[:, :, 0].round(2).tolist() for run, text in found["mine"].items()}
    assert shown == {("a", "0"): [[0], [1]], ("a", "1"): [[1], [1]], ("b", "0"): [[0.4]]}


def test_a_preview_that_fails_is_told_and_the_others_go_on(offered):
    offered(mine=lambda table: table[["level"]].to_numpy(), broken=lambda table: table["nowhere"])
    offered(bytes=lambda table: np.full((2, 2), 255))
    found, _, problems = pictures({"broken": TABLE, "bytes": TABLE, "mine": TABLE}, RUNS)
    assert [*found] == ["mine"]
    assert [problem.analysis for problem in problems] == ["broken", "bytes"]
    assert "KeyError: 'nowhere'" in problems[0].message
    assert "they lie in [255, 255]" in problems[1].message


def test_an_analysis_that_is_gone_or_makes_no_pictures_has_none(offered):
    assert pictures({"gone": TABLE, "dots": TABLE}, RUNS) == ({}, 1, [])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros((2, 2, 4)),
        np.zeros((0, 3)),
        np.zeros((513, 2)),
        [[np.nan]],
        [[-0.1]],
        "dark",
        [[1], [1, 0]],
    ],
    ids=lambda wrong: str(getattr(wrong, "shape", wrong)),
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ContractError, match="expected numbers from 0 to 1 of shape"):
        checked_pixels(wrong, "preview of 'mine'")


def test_shades_are_those_of_the_numbers_to_a_sixteenth():
    levels = np.linspace(0, 1, 64).reshape(8, 8)
    grey = opened_png(np.repeat(levels[:, :, None], 3, axis=2))
    assert np.abs(grey[:, :, 0] - levels).max() <= 0.5 / 15 + 0.5 / 255
    red = np.zeros((4, 4, 3))
    red[:2, :, 0] = 1
    assert np.abs(opened_png(red) - red).max() == 0


def opened_png(pixels):
    return np.asarray(Image.open(BytesIO(png(pixels))).convert("RGB")) / 255


@pytest.mark.parametrize("shape", [(7, 9), (4, 4), (1, 5), (8, 2)])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_reduced_pixels_are_means_of_blocks(shape, step):
    pixels = np.random.default_rng(0).random((*shape, 3))
    found = reduced(pixels, step)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            block = pixels[row * step : (row + 1) * step, column * step : (column + 1) * step]
            assert np.allclose(found[row, column], block.reshape(-1, 3).mean(axis=0))


def test_many_pictures_become_coarser_until_they_fit(offered, monkeypatch):
    chance = np.random.default_rng(0)
    offered(mine=lambda table: chance.random((32, 32)))
    full = pictures({"mine": TABLE}, RUNS)[0]["mine"]
    monkeypatch.setattr(module, "BUDGET", sum(map(len, full.values())) // 2)
    found, step, _ = pictures({"mine": TABLE}, RUNS)
    assert step == 2
    assert opened(found["mine"]["b", "0"]).shape == (16, 16, 3)
