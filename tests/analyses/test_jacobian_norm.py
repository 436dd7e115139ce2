import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

import caelab
from caelab.runs.recipes import recipe_config
from caelab.streams import Streams
from caelab_analyses import jacobian_norm
from tests.drawing import drawn_alike

COUNT = 6


@pytest.fixture(params=["ae", "cae"])
def run(request, tiny_runs):
    return tiny_runs[request.param]


def test_norms_equal_those_of_explicit_jacobians(run, explicit_jacobians):
    table = jacobian_norm.measure(run, Streams(0), examples=COUNT)
    jacobians = explicit_jacobians(run, COUNT)
    assert_allclose(table["norm"], np.linalg.norm(jacobians, axis=(1, 2)), rtol=1e-12)
    assert_allclose(table["squared_norm"], (jacobians**2).sum(axis=(1, 2)), rtol=1e-12)
    assert_allclose(table["squared_entry"], (jacobians**2).mean(axis=(1, 2)), rtol=1e-12)


def test_norm_is_not_that_of_the_summed_code(run, explicit_jacobians):
    """The reference tells the Jacobian from the gradient of the summed code, the usual mistake."""
    jacobians = explicit_jacobians(run, COUNT)
    of_the_sum = (jacobians.sum(axis=1) ** 2).sum(axis=1)
    table = jacobian_norm.measure(run, Streams(0), examples=COUNT)
    assert np.abs(of_the_sum / table["squared_norm"] - 1).min() > 0.01


def test_saturation_and_reconstruction_by_numpy(run):
    table = jacobian_norm.measure(run, Streams(0), examples=COUNT)
    x = run.dataset.valid_inputs[:COUNT].double().numpy()
    weight, bias = (p.detach().double().numpy() for p in run.model.encode[0].parameters())
    code = 1 / (1 + np.exp(-(x @ weight.T + bias)))
    output = 1 / (1 + np.exp(-(code @ weight + run.model.decode[0].bias.detach().double().numpy())))
    entropy = -(x * np.log(output) + (1 - x) * np.log(1 - output)).sum(axis=1)
    assert_allclose(table["saturated_share"], ((code < 0.05) | (code > 0.95)).mean(axis=1), atol=1e-12)
    assert_allclose(table["reconstruction_error"], entropy, rtol=1e-5)  # the run computes it in float32


def test_one_row_per_example_and_not_more_than_there_are(run):
    assert len(jacobian_norm.measure(run, Streams(0), examples=COUNT)) == COUNT
    assert len(jacobian_norm.measure(run, Streams(0))) == len(run.dataset.valid) == 60


def test_summary_holds_the_means_under_their_fixed_names(run):
    table = jacobian_norm.measure(run, Streams(0))
    summary = jacobian_norm.summarise(table)
    assert summary == {
        "mean norm": table["norm"].mean(),
        "mean squared norm": table["squared_norm"].mean(),
        "mean squared entry": table["squared_entry"].mean(),
        "saturated share": table["saturated_share"].mean(),
        "reconstruction error": table["reconstruction_error"].mean(),
    }
    assert summary["mean norm"] ** 2 < summary["mean squared norm"]  # the mean of squares is not the squared mean


@pytest.mark.parametrize(("activation", "bounded"), [("tanh", True), ("relu", False), ("identity", False)])
def test_saturation_needs_an_activation_with_two_bounds(activation, bounded):
    settings = ["training.epochs=1", "model.hidden=[7]", f"model.activation={activation}"]
    config = recipe_config("ae", settings, dataset={"kind": "digits", "splits": [100, 20, 20]})
    table = jacobian_norm.measure(caelab.train(config), Streams(0))
    assert table["saturated_share"].notna().all() == bounded
    assert table["norm"].notna().all()


def test_activation_is_read_from_the_encoder_and_not_from_a_config_that_did_not_make_it(encoder_run):
    relu = encoder_run(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), np.eye(4), (2, 1, 1))
    assert relu.config.model.options["activation"] == "sigmoid"
    assert jacobian_norm.code_activation(relu) == "relu"
    nested = encoder_run(nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Tanh())), np.eye(4), (2, 1, 1))
    assert jacobian_norm.code_activation(nested) == "tanh"
    function = encoder_run(lambda x: torch.relu(x[:, :2]), np.eye(4), (2, 1, 1))
    assert jacobian_norm.code_activation(function) == "unknown"


def test_rbm_has_a_sigmoid_code_though_its_config_does_not_say_so():
    settings = ["training.epochs=1", "model.hidden=7"]
    run = caelab.train(recipe_config("rbm", settings, dataset={"kind": "digits", "splits": [100, 20, 20]}))
    assert jacobian_norm.code_activation(run) == "sigmoid"


def test_encoder_without_decoder_has_no_reconstruction_error(encoder_run, linear):
    run = encoder_run(linear([[3.0, 0], [0, 4]]).float(), [[0.0, 1], [1, 0], [1, 1], [0, 0]], (2, 1, 1))
    table = jacobian_norm.measure(run, Streams(0))
    assert table["reconstruction_error"].isna().all()
    assert_allclose(table["norm"], 5, rtol=1e-12)
    assert np.isnan(jacobian_norm.summarise(table)["reconstruction error"])


def test_figure_has_a_panel_per_column_and_leaves_out_what_nobody_has(run, gathered):
    table = jacobian_norm.measure(run, Streams(0), examples=COUNT)
    both = gathered({("ae", 0): table, ("ae", 1): table * 1.1, ("cae", 0): table})
    assert len(drawn_alike(jacobian_norm.draw, both).axes) == 5
    assert len(jacobian_norm.draw(both.assign(saturated_share=np.nan)).axes) == 4


def test_squared_entry_stands_in_scientific_notation(run, gathered):
    table = jacobian_norm.measure(run, Streams(0), examples=COUNT).assign(squared_entry=2.4e-4)
    axes = jacobian_norm.draw(gathered({("ae", 0): table})).axes[2]
    assert "$10^{-4}$" in axes.get_xlabel()
    assert_allclose(axes.lines[0].get_xdata(), 2.4)


def test_exponent_of_scientific_notation():
    assert [jacobian_norm.exponent(pd.Series(values)) for values in ([9.9e-5, 1e-6], [12.0], [0.0])] == [-5, 1, 0]
