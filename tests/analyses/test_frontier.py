import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import caelab
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.streams import Streams
from caelab_analyses import frontier
from tests.drawing import drawn_alike


def row(model, norm, error, seed=0):
    return {
        "model": model,
        "seed": seed,
        "norm": norm,
        "reconstruction_error": error,
        "error_kind": "cross-entropy",
        "family": model.partition(" ")[0],
    }


def test_point_of_a_run_by_explicit_jacobians(tiny_runs, explicit_jacobians):
    run = tiny_runs["cae"]
    table = frontier.measure(run, Streams(0), examples=6)
    assert len(table) == 1
    norms = np.linalg.norm(explicit_jacobians(run, 6), axis=(1, 2))
    assert_allclose(table["norm"], norms.mean(), rtol=1e-12)
    errors = run.reconstruction_error(run.dataset.valid_inputs[:6])
    assert_allclose(table["reconstruction_error"], errors.mean(), rtol=1e-6)


def test_norm_is_the_mean_norm_and_not_the_root_of_the_mean_square(tiny_runs, explicit_jacobians):
    squares = (explicit_jacobians(tiny_runs["ae"], 6) ** 2).sum(axis=(1, 2))
    table = frontier.measure(tiny_runs["ae"], Streams(0), examples=6)
    assert abs(np.sqrt(squares.mean()) / table["norm"].iloc[0] - 1) > 1e-6


@pytest.mark.parametrize(
    ("recipe", "label", "family", "settings", "weight"),
    [
        ("ae", "ae", "ae", "", np.nan),
        ("cae", "cae contractive.weight=0.3", "cae", "contractive.weight=0.3", 0.3),
        ("sparse-ae", "sparse-ae", "sparse-ae", "sparse-kl.weight=3 sparse-kl.target=0.1", 3.0),
    ],
)
def test_family_and_settings_come_from_label_and_config(recipe, label, family, settings, weight):
    given = [label.partition(" ")[2]] if " " in label else []
    dataset = {"kind": "digits", "splits": [60, 20, 20]}
    config = recipe_config(recipe, ["training.epochs=1", "model.hidden=[5]", *given], label=label, dataset=dataset)
    found = frontier.measure(caelab.train(config), Streams(0)).iloc[0]
    assert (found["family"], found["settings"]) == (family, settings)
    assert_allclose(found["weight"], weight)


def test_encoder_alone_is_not_on_the_frontier(encoder_run, linear):
    run = encoder_run(linear(np.eye(3)), np.eye(3), (1, 1, 1))
    with pytest.raises(NotApplicable, match="needs a model that reconstructs, but 'mine' has an encoder alone"):
        frontier.measure(run, Streams(0))


def test_one_line_per_family_in_order_of_reconstruction_error():
    rows = [
        row("cae contractive.weight=2", 3.0, 110.0),
        row("cae contractive.weight=0.3", 6.0, 90.0, seed=0),
        row("cae contractive.weight=0.3", 8.0, 92.0, seed=1),
        row("cae contractive.weight=1", 4.0, 100.0),
        row("ae", 9.0, 80.0),
    ]
    axes = drawn_alike(frontier.draw, pd.DataFrame(rows)).axes[0]
    joined = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert len(joined) == 2
    assert_allclose(joined[0].get_xydata(), [[91, 7], [100, 4], [110, 3]])
    assert axes.get_yscale() == "log"
    assert "nats" in axes.get_xlabel()


def test_every_run_is_a_dot_and_every_model_has_a_name():
    rows = [row("ae", 9.0, 80.0, seed=0), row("ae", 9.5, 81.0, seed=1), row("cae", 4.0, 95.0)]
    figure = frontier.draw(pd.DataFrame(rows))
    dots = figure.axes[0].lines[0]
    assert_allclose(dots.get_xydata(), [[80, 9], [81, 9.5], [95, 4]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["AE", "CAE"]


def test_squared_error_has_no_nats():
    rows = pd.DataFrame([row("ae", 9.0, 80.0)]).assign(error_kind="squared-error")
    assert "nats" not in frontier.draw(rows).axes[0].get_xlabel()
