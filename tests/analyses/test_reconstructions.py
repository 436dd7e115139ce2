import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from caelab import train
from caelab.analysis.base import gather
from caelab.errors import NotApplicable
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import reconstructions
from tests.drawing import drawn_alike


@pytest.fixture(scope="module")
def trained():
    """Small runs on scikit-learn's digits, by recipe."""

    def run(recipe):
        dataset = {"kind": "digits", "splits": [300, 60, 100]}
        return train(recipe_config(recipe, ["training.epochs=2", "model.hidden=[20]"], dataset=dataset))

    return {recipe: run(recipe) for recipe in ("ae", "dae-b")}


def part(table, role):
    rows = table[table["role"] == role]
    return np.stack([np.asarray(pixels) for pixels in rows["pixels"]])


def decoded(run, inputs):
    """The tied auto-encoder written out in numpy."""
    layer, bias = run.model.encode[0], run.model.decode[0].bias.detach().double().numpy()
    weight, code_bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    code = 1 / (1 + np.exp(-(inputs @ weight.T + code_bias)))
    return 1 / (1 + np.exp(-(code @ weight + bias)))


def test_reconstructions_are_the_models_own(trained):
    run = trained["ae"]
    table = reconstructions.measure(run, Streams(0), examples=7)
    assert set(table["role"]) == {"input", "reconstructed"}
    inputs = part(table, "input")
    shown = table.loc[table["role"] == "input", "example"]
    assert_allclose(inputs, run.dataset.valid_inputs[shown.to_list()])
    assert_allclose(part(table, "reconstructed"), decoded(run, inputs), atol=1e-6)
    assert len(set(run.dataset.valid_labels[shown.to_list()].tolist())) == 7


def test_squared_errors_are_sums_over_pixels(trained):
    table = reconstructions.measure(trained["dae-b"], Streams(0), examples=4)
    for role in reconstructions.ROLES:
        expected = np.sum((part(table, role) - part(table, "input")) ** 2, axis=1)
        assert_allclose(table.loc[table["role"] == role, "squared_error"], expected, rtol=1e-5)


def test_a_denoising_model_is_given_what_it_was_trained_on(trained):
    run = trained["dae-b"]
    table = reconstructions.measure(run, Streams(0), examples=30)
    clean, corrupted = part(table, "input"), part(table, "corrupted")
    masked = corrupted != clean
    assert (corrupted[masked] == 0).all()
    share = masked.sum() / (clean > 0).sum()
    assert share == pytest.approx(0.5, abs=0.06)  # p of the recipe; 4 standard errors of some 1 000 pixels
    assert_allclose(part(table, "reconstructed"), decoded(run, corrupted), atol=1e-6)


def test_the_corruption_is_drawn_from_the_given_streams(trained):
    first, again, other = (
        part(reconstructions.measure(trained["dae-b"], Streams(seed)), "corrupted") for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_a_model_that_only_encodes_is_not_applicable(trained):
    run = trained["ae"]
    bare = Run(run.config, EncoderOnly(torch.sigmoid), run.dataset, [])
    with pytest.raises(NotApplicable, match="'ae' only encodes"):
        reconstructions.measure(bare, Streams(0))


def test_draws_inputs_once_and_corrupted_ones_above_their_model(trained, tmp_path):
    tables = {name: reconstructions.measure(run, Streams(0), examples=5) for name, run in trained.items()}
    gather(table.assign(model=name, seed=seed) for name, table in tables.items() for seed in (0, 1)).to_parquet(
        tmp_path / "t.parquet"
    )
    (axes,) = drawn_alike(reconstructions.draw, pd.read_parquet(tmp_path / "t.parquet")).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["input", "AE", "DAE-b, input", "DAE-b"]
    assert len(axes.images) == 4 * 5
    assert_allclose(axes.images[5].get_array().ravel(), part(tables["ae"], "reconstructed")[0])
    assert {image.get_clim() for image in axes.images} == {(0.0, 1.0)}


def test_draws_the_inputs_again_where_they_differ(trained):
    few, more = (reconstructions.measure(trained["ae"], Streams(0), examples=n) for n in (2, 3))
    table = gather([few.assign(model="ae", seed=0), more.assign(model="cae", seed=0)])
    (axes,) = reconstructions.draw(table).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["input", "AE", "input", "CAE"]
