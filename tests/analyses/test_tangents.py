from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from caelab.analysis.base import gather
from caelab.data import Samples, load_dataset
from caelab.data.dataset import make_dataset
from caelab.models.autoencoder import autoencoder
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import tangents
from tests.drawing import drawn_alike

DATA = load_dataset("digits", splits=(300, 60, 100))


def run_with(hidden, dataset=DATA):
    torch.manual_seed(1)
    return Run(recipe_config("ae"), autoencoder(64, hidden=[hidden]).eval(), dataset, [])


@pytest.fixture
def run():
    return run_with(20)


def explicit_jacobian(run, example):
    """diag(h (1 - h)) W in numpy."""
    layer = run.model.encode[0]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    h = 1 / (1 + np.exp(-(weight @ example + bias)))
    return (h * (1 - h))[:, None] * weight


def pixels(rows):
    return np.stack([np.asarray(row) for row in rows["pixels"]])


def test_tangents_are_the_right_singular_vectors_of_the_jacobian(run):
    table = tangents.measure(run, Streams(0), examples=3, tangents=4)
    for position, rows in table.groupby("example"):
        example = run.dataset.valid_inputs[position].double().numpy()
        assert_allclose(pixels(rows[rows["role"] == "example"])[0], example)
        _, values, right = np.linalg.svd(explicit_jacobian(run, example))
        shown = rows[rows["role"] == "tangent"]
        assert list(shown["rank"]) == [1, 2, 3, 4]
        assert_allclose(shown["singular_value"], values[:4], rtol=1e-8)
        cosines = np.sum(pixels(shown) * right[:4], axis=1)
        assert_allclose(np.abs(cosines), np.ones(4), atol=1e-8)


def test_the_largest_entry_of_a_tangent_is_positive(run):
    table = tangents.measure(run, Streams(0))
    for vector in pixels(table[table["role"] == "tangent"]):
        assert vector[np.abs(vector).argmax()] > 0


@pytest.mark.parametrize("along", [1, 3])
def test_the_walk_is_straight_and_as_long_as_it_says(run, along):
    table = tangents.measure(run, Streams(0), examples=1, tangents=3, along=along, reach=2.0, steps=3)
    start = pixels(table[table["role"] == "example"])[0]
    step = pixels(table[(table["role"] == "tangent") & (table["rank"] == along)])[0]
    walk = table[table["role"] == "walk"]
    assert list(walk["t"]) == [-2, 0, 2]
    assert_allclose(pixels(walk), [start - 2 * step, start, start + 2 * step], atol=1e-12)


def test_the_walk_may_go_along_a_tangent_that_is_not_shown(run):
    table = tangents.measure(run, Streams(0), examples=1, tangents=1, along=3)
    assert (table["role"] == "tangent").sum() == 1
    assert set(table.loc[table["role"] == "walk", "rank"]) == {3}


def test_examples_are_of_different_classes(run):
    table = tangents.measure(run, Streams(0), examples=5)
    assert len(set(run.dataset.valid_labels[table["example"].unique()].tolist())) == 5


def test_a_narrow_code_has_few_tangents():
    table = tangents.measure(run_with(1), Streams(0))
    assert set(table.loc[table["role"] == "tangent", "rank"]) == {1}
    assert set(table.loc[table["role"] == "walk", "rank"]) == {1}


def test_leaves_the_run_in_its_precision(run):
    before = deepcopy(run.model.state_dict())
    tangents.measure(run, Streams(0))
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert run.model.encode[0].weight.dtype == torch.float32


def test_draws_models_with_fewer_tangents_in_the_same_columns(run, tmp_path):
    tables = {"ae": tangents.measure(run, Streams(0)), "cae": tangents.measure(run_with(1), Streams(0))}
    gather(table.assign(model=name, seed=seed) for name, table in tables.items() for seed in (0, 1)).to_parquet(
        tmp_path / "t.parquet"
    )
    (axes,) = drawn_alike(tangents.draw, pd.read_parquet(tmp_path / "t.parquet")).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["AE", "CAE"] * 2
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        "$x$",
        *(f"$v_{{{rank}}}$" for rank in range(1, 6)),
        *(f"$t = {t}$" for t in (-6, -3, 0, 3, 6)),
    ]
    assert len(axes.images) == 2 * (11 + 7)
    ends = {image.get_extent()[1] for image in axes.images[:11]}
    assert {image.get_extent()[1] for image in axes.images[11:18]} < ends


def test_draws_inputs_that_are_no_images(tmp_path):
    flat = make_dataset("flat", Samples(np.random.default_rng(0).random((100, 64))), splits=(60, 20, 20))
    table = tangents.measure(run_with(9, flat), Streams(0), examples=1)
    assert (table["height"] == 1).all()
    (axes,) = tangents.draw(table.assign(model="ae", seed=0)).axes
    assert len(axes.lines) == len(table)
