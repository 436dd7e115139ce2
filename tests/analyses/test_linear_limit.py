import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

import caelab
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import linear_limit
from caelab_analyses.linear_limit.solutions import trained_linear
from tests.drawing import drawn_alike

DIGITS = {"kind": "digits", "splits": [310, 60, 100]}  # 310: the last batch is not full
LINEAR = ["model.activation=identity", "model.output=identity", "training.reconstruction=squared-error"]


def difference_order(table):
    """The exponent p in 1 - mean ‖J‖² / limit ∝ tᵖ, where it is below 0.1; NaN from fewer than two scales."""
    difference = 1 - table.groupby("scale")["norm_share"].mean()
    small = difference[(difference > 1e-12) & (difference < 0.1)]
    return np.polyfit(np.log(small.index), np.log(small), 1)[0] if len(small) > 1 else np.nan


def weights_after(recipe, settings, seed):
    small = ["training.epochs=2", "model.hidden=[20]"]
    run = caelab.train(recipe_config(recipe, [*LINEAR, *small, *settings], dataset=DIGITS, seed=seed))
    return run.model.state_dict()


@pytest.mark.parametrize("batch", [100, 33])
@pytest.mark.parametrize("strength", [0.3, 0.1, 0.017])
def test_contraction_is_weight_decay_to_the_last_bit(strength, batch):
    contracted, decayed = (
        weights_after(recipe, [f"{key}={strength}", f"training.batch_size={batch}"], seed=1)
        for recipe, key in (("cae", "contractive.weight"), ("ae-wd", "weight-decay.weight"))
    )
    plain = weights_after("ae", [f"training.batch_size={batch}"], seed=1)
    for name, value in contracted.items():
        assert torch.equal(value, decayed[name]), name
    assert not torch.equal(contracted["encode.0.weight"], plain["encode.0.weight"])


def test_a_sigmoid_is_not_linear():
    sigmoid = ["model.activation=sigmoid"]
    contracted = weights_after("cae", [*sigmoid, "contractive.weight=0.3"], 0)["encode.0.weight"]
    assert not torch.equal(
        contracted, weights_after("ae-wd", [*sigmoid, "weight-decay.weight=0.3"], 0)["encode.0.weight"]
    )


@pytest.fixture
def sigmoid_run(encoder_run):
    torch.manual_seed(4)
    encode = nn.Sequential(nn.Linear(6, 5), nn.Sigmoid())
    nn.init.normal_(encode[0].bias)
    return encoder_run(encode, np.random.default_rng(0).random((40, 6)), splits=(20, 10, 10))


def explicit(run, scale):
    """Numbers at one scale by loops over units, in numpy."""
    layer = run.model.encode[0]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    shares, means, deviations = [], [], []
    for x in run.dataset.valid_inputs.double().numpy():
        ratios = []
        for row, offset in zip(weight, bias, strict=True):
            h = 1 / (1 + np.exp(-scale * (row @ x + offset)))
            ratios.append(4 * h * (1 - h))
        squared = sum(r**2 * row @ row for r, row in zip(ratios, weight, strict=True))
        shares.append(squared / np.sum(weight**2))
        means.append(np.mean(ratios))
        deviations.append(np.std(ratios))
    return shares, means, deviations


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_slopes_and_norms_by_hand(sigmoid_run, scale):
    table = linear_limit.measure(sigmoid_run, Streams(0), scales=(scale,))
    rows = table[table["scale"] == scale]
    shares, means, deviations = explicit(sigmoid_run, scale)
    assert_allclose(rows["norm_share"], shares, rtol=1e-10)
    assert_allclose(rows["slope_ratio"], means, rtol=1e-10)
    assert_allclose(rows["slope_deviation"], deviations, rtol=1e-9)


def test_the_norm_share_is_the_penalty_over_weight_decay(sigmoid_run, explicit_jacobians):
    table = linear_limit.measure(sigmoid_run, Streams(0), scales=(1.0,))
    norms = np.square(explicit_jacobians(sigmoid_run, 10)).sum(axis=(1, 2))
    weight = sigmoid_run.model.encode[0].weight.detach().double().numpy()
    assert_allclose(table["norm_share"], norms / (np.sum(weight**2) / 16), rtol=1e-10)


def test_the_explained_share_equals_differences_of_the_penalty(sigmoid_run):
    layer = sigmoid_run.model.encode[0]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    inputs = sigmoid_run.dataset.valid_inputs.double().numpy()

    def penalty(both):
        h = 1 / (1 + np.exp(-(inputs @ both[:, :-1].T + both[:, -1])))
        return np.mean((h * (1 - h)) ** 2 @ np.square(both[:, :-1]).sum(axis=1))

    both = np.column_stack([weight, bias])
    gradient = np.zeros_like(both)
    for index in np.ndindex(*both.shape):
        step = np.zeros_like(both)
        step[index] = 1e-5
        gradient[index] = (penalty(both + step) - penalty(both - step)) / 2e-5
    decay = np.column_stack([weight, np.zeros_like(bias)])
    expected = np.sum(gradient * decay) ** 2 / np.sum(gradient**2) / np.sum(decay**2)
    table = linear_limit.measure(sigmoid_run, Streams(0), scales=(1.0,))
    assert_allclose(table["explained_share"], expected, rtol=1e-6)
    assert 0.01 < expected < 0.99


def test_the_difference_starts_as_half_the_weighted_square(sigmoid_run):
    """1 - E s'(tz)² / s'(0)² = t² E z² / 2 + O(t⁴) for the logistic sigmoid, each unit weighted by ‖W_j‖²."""
    layer = sigmoid_run.model.encode[0].double()
    z = layer(sigmoid_run.dataset.valid_inputs.double()).detach().numpy()
    rows = np.square(layer.weight.detach().numpy()).sum(axis=1)
    expected = 0.5 * np.mean(z**2 @ rows) / rows.sum()
    table = linear_limit.measure(sigmoid_run, Streams(0), scales=(0.01, 0.02, 0.04))
    small = table[table["scale"] == 0.01]
    assert (1 - small["norm_share"].mean()) / 0.01**2 == pytest.approx(expected, rel=1e-3)
    assert difference_order(table[table["scale"] < 1]) == pytest.approx(2, abs=0.01)


def test_a_linear_encoder_is_in_the_limit(encoder_run, linear):
    run = encoder_run(
        nn.Sequential(linear([[1.0, 2.0], [0.0, 3.0]]), nn.Identity()), np.random.default_rng(0).random((30, 2))
    )
    table = linear_limit.measure(run, Streams(0))
    assert_allclose(table[["norm_share", "explained_share", "slope_ratio"]], 1, rtol=1e-12)
    assert np.isnan(difference_order(table))


@pytest.mark.parametrize(
    "encode", [nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))]
)
def test_what_has_no_linear_limit_is_not_applicable(encoder_run, encode):
    run = encoder_run(encode, np.random.default_rng(0).random((30, 4)))
    with pytest.raises(NotApplicable, match="linear_limit needs"):
        linear_limit.measure(run, Streams(0))


def test_draws_from_the_stored_table(tiny_runs, gathered, tmp_path):
    tables = {
        (name, seed): linear_limit.measure(run, Streams(0), examples=10)
        for name, run in tiny_runs.items()
        for seed in (0, 1)
    }
    gathered(tables).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(linear_limit.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["AE", "CAE"]
    scan = figure.axes[0].lines[0]
    first = tables["ae", 0]
    expected = 1 - first.groupby("scale")["norm_share"].mean()
    assert_allclose(scan.get_ydata(), expected, rtol=1e-9)
    assert set(linear_limit.summarise(first)) == {
        "slope over slope at 0",
        "squared norm over its linear limit",
        "gradient explained by weight decay",
    }


def linear_run(recipe, settings, model, inputs):
    """A run of that recipe around a linear model and data that are given."""
    config = recipe_config(recipe, [*LINEAR, "model.hidden=[3]", *settings])
    return Run(config, model, make_dataset("given", Samples(inputs), splits=(40, 10, 10)), [])


@pytest.fixture(scope="module")
def ellipsoid():
    return (np.random.default_rng(0).standard_normal((60, 6)) * [2.0, 1.5, 1.1, 0.6, 0.4, 0.3]).astype(np.float32)


@pytest.mark.parametrize(
    ("recipe", "settings", "options"),
    [
        ("ae", [], {}),
        ("dae-g", ["gaussian.sigma=0.5"], {"sigma": 0.5}),
        ("cae", ["contractive.weight=0.3"], {"weight": 0.3}),
        ("ae-wd", ["weight-decay.weight=0.3"], {"weight": 0.3}),
    ],
)
def test_a_linear_run_is_held_against_its_closed_form(ellipsoid, recipe, settings, options):
    trained = linear_run(recipe, settings, None, ellipsoid).dataset.train_inputs
    run = linear_run(recipe, settings, trained_linear(trained, 3, **options), ellipsoid)
    summary = linear_limit.summarise(linear_limit.measure(run, Streams(0)))
    assert summary["angle to the principal subspace (deg)"] < 0.06  # 1e-3 rad
    assert summary["distance from the closed form"] < 1e-5
    other = linear_run(recipe, settings, trained_linear(trained, 3, sigma=1.0), ellipsoid)
    assert linear_limit.summarise(linear_limit.measure(other, Streams(0)))["distance from the closed form"] > 0.05


def test_what_is_not_linear_has_no_closed_form(tiny_runs):
    assert len(linear_limit.summarise(linear_limit.measure(tiny_runs["ae"], Streams(0), examples=5))) == 3


def test_a_linear_run_is_drawn_and_named(ellipsoid, tiny_runs, gathered):
    run = linear_run("cae", [], trained_linear(torch.from_numpy(ellipsoid), 3), ellipsoid)
    table = linear_limit.measure(run, Streams(0))
    alone = linear_limit.draw(gathered({("cae", 0): table}))
    alone.canvas.draw()
    assert alone.axes[0].texts[0].get_text() == "0 at every $t$:\nCAE"
    beside = linear_limit.measure(tiny_runs["ae"], Streams(0), examples=5)
    mixed = linear_limit.draw(gathered({("ae", 0): beside, ("cae", 0): table}))
    mixed.canvas.draw()
    assert mixed.axes[0].get_yscale() == "log"
    assert mixed.axes[0].texts[0].get_text() == "0 at every $t$:\nCAE"
