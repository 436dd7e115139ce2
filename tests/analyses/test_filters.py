import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from caelab.analysis.base import gather
from caelab.data import load_dataset
from caelab.errors import NotApplicable
from caelab.models.autoencoder import autoencoder
from caelab.models.convolutional import convolutional
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import filters
from tests.drawing import drawn_alike

DATA = load_dataset("digits", splits=(300, 60, 100))


def run_of(model):
    """A run of that model on digits, never trained."""
    return Run(recipe_config("ae"), model.eval(), DATA, [])


@pytest.fixture
def run():
    torch.manual_seed(0)
    return run_of(autoencoder(64, hidden=[20], tied=True))


def test_pixels_are_the_rows_of_the_weight_by_their_norm(run):
    table = filters.measure(run, Streams(0), count=6)
    weight = run.model.encode[0].weight.detach().double().numpy()
    norms = np.sqrt(np.sum(weight**2, axis=1))
    order = np.argsort(-norms)[:6]
    assert list(table["unit"]) == list(order)
    assert_allclose(table["norm"], norms[order], rtol=1e-6)
    assert_allclose(np.stack(table["pixels"]), weight[order])
    assert (table[["height", "width", "units"]] == [8, 8, 20]).all(axis=None)


def test_there_are_no_more_filters_than_units(run):
    assert sorted(filters.measure(run, Streams(0), count=100)["unit"]) == list(range(20))


def test_random_units_come_from_a_named_stream(run):
    first, again, other = (filters.measure(run, Streams(s), count=5, choice="random") for s in (0, 0, 1))
    assert list(first["unit"]) == list(again["unit"]) != list(other["unit"])
    assert first["unit"].is_unique


def test_filters_of_a_convolution_are_averaged_over_its_channels():
    torch.manual_seed(0)
    model = convolutional(64, (8, 8))
    table = filters.measure(run_of(model), Streams(0))
    weight = model.encode[1].weight.detach().double().numpy()
    row = table.iloc[0]
    assert (row["height"], row["width"]) == (4, 4)
    assert_allclose(row["pixels"], weight[row["unit"]].mean(axis=0).ravel(), atol=1e-8)


def test_a_plain_function_has_no_filters():
    with pytest.raises(NotApplicable, match="has neither"):
        filters.measure(run_of(EncoderOnly(lambda inputs: inputs[:, :3])), Streams(0))


def test_weights_that_do_not_fit_the_image_are_vectors():
    model = EncoderOnly(nn.Sequential(nn.AvgPool1d(2), nn.Linear(32, 3)))
    table = filters.measure(run_of(model), Streams(0))
    assert (table[["height", "width"]] == [1, 32]).all(axis=None)


def test_draws_from_the_stored_table(run, tmp_path):
    table = filters.measure(run, Streams(0), count=18)
    named = [table.assign(model=model, seed=seed) for model in ("ae", "cae") for seed in (3, 2)]
    gather(named).to_parquet(tmp_path / "t.parquet")
    (axes,) = drawn_alike(filters.draw, pd.read_parquet(tmp_path / "t.parquet")).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["AE", "CAE"]
    assert len(axes.images) == 2 * 18  # one seed, the lowest
    assert "18 of 20 units" in axes.get_title(loc="left")
    assert "Seed 2" in axes.get_title(loc="left")
    first = axes.images[0]
    assert_allclose(first.get_array(), np.reshape(table["pixels"][0], (8, 8)))
    assert first.get_clim() == pytest.approx((-np.abs(table["pixels"][0]).max(), np.abs(table["pixels"][0]).max()))
