import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from caelab.errors import NotApplicable
from caelab.streams import Streams
from caelab_analyses import higher_order
from caelab_analyses.higher_order.figure import ACROSS, ALONG
from tests.drawing import drawn_alike

WIDTH = 6


def encoder(activation="sigmoid", hidden=None):
    torch.manual_seed(3)
    steps = [nn.Linear(WIDTH, 5), {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus}[activation]()]
    steps += [nn.Linear(5, 4), nn.Tanh()] if hidden else []
    made = nn.Sequential(*steps).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.8)
    return made


@pytest.fixture
def points():
    rng = np.random.default_rng(2)
    inputs = torch.from_numpy(rng.standard_normal((3, WIDTH)))
    units = torch.from_numpy(rng.standard_normal((3, 4, WIDTH)))
    return inputs, units / units.norm(dim=-1, keepdim=True)


def jacobian_at(encode, x):
    return torch.autograd.functional.jacobian(encode, x)


@pytest.mark.parametrize("hidden", [False, True], ids=["one layer", "two layers"])
@pytest.mark.parametrize("radius", [0.3, 2.0])
def test_turning_equals_that_of_explicit_jacobians(points, hidden, radius):
    inputs, units = points
    encode = encoder(hidden=hidden)
    change, norm = higher_order.curvature(encode, inputs, units, radius)
    for i, x in enumerate(inputs):
        for j, u in enumerate(units[i]):
            ahead, behind = jacobian_at(encode, x + radius * u), jacobian_at(encode, x - radius * u)
            assert float(change[i, j]) == pytest.approx(float((ahead - behind).norm()) / (2 * radius), rel=1e-10)
            assert float(norm[i, j]) == pytest.approx(float(ahead.norm() + behind.norm()) / 2, rel=1e-10)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus"])
def test_the_limit_equals_finite_differences(points, activation):
    inputs, units = points
    encode = encoder(activation)
    limit, norm = higher_order.curvature(encode, inputs, units, 0)
    for i, x in enumerate(inputs):
        assert_allclose(norm[i], float(jacobian_at(encode, x).norm()), rtol=1e-10)
        for j, u in enumerate(units[i]):
            difference = (jacobian_at(encode, x + 1e-5 * u) - jacobian_at(encode, x - 1e-5 * u)) / 2e-5
            assert float(limit[i, j]) == pytest.approx(float(difference.norm()), rel=1e-6)


@pytest.mark.parametrize("hidden", [False, True], ids=["one layer", "two layers"])
def test_over_a_basis_the_squares_add_up_to_the_hessian(points, hidden):
    """Σ_i ‖∂_i J‖² = Σ_j ‖H_j‖_F², the second derivatives by autograd."""
    inputs, _ = points
    encode = encoder(hidden=hidden)
    basis = torch.eye(WIDTH, dtype=torch.float64).expand(len(inputs), -1, -1)
    found = higher_order.curvature(encode, inputs, basis, 0)[0].square().sum(dim=1)
    for x, total in zip(inputs, found, strict=True):
        count = len(encode(x))
        hessians = [torch.autograd.functional.hessian(lambda y, j=j: encode(y)[j], x) for j in range(count)]
        assert float(total) == pytest.approx(float(sum(h.square().sum() for h in hessians)), rel=1e-6)


def test_wrong_formulas_would_be_noticed(points):
    """The first derivative for the second, or the sum for the root of squares, are far away."""
    inputs, units = points
    encode = encoder()
    right = higher_order.curvature(encode, inputs, units, 0)[0]
    weight = encode[0].weight
    h = encode(inputs)[:, None]
    along, rows = units @ weight.T, weight.square().sum(dim=1)
    first = ((h * (1 - h) * along).square() @ rows).sqrt()
    unweighted = (h * (1 - h) * (1 - 2 * h) * along).norm(dim=-1)
    for wrong in (first, unweighted, right.square(), 2 * right):
        assert float((wrong.detach() / right - 1).abs().median()) > 0.05


def test_a_linear_encoder_does_not_turn(encoder_run, linear):
    run = encoder_run(linear(np.random.default_rng(0).random((3, WIDTH))), np.random.default_rng(1).random((40, WIDTH)))
    table = higher_order.measure(run, Streams(0), tangents=2)
    assert_allclose(table["curvature"], 0, atol=1e-12)
    assert_allclose(table["relative_norm"], 1, rtol=1e-12)


def test_rows_are_means_over_examples_of_tangents_and_what_is_orthogonal(encoder_run, explicit_jacobians):
    run = encoder_run(encoder().float(), np.random.default_rng(1).random((60, WIDTH)), splits=(40, 10, 10))
    table = higher_order.measure(run, Streams(0), tangents=2, directions=3, radii=(1.0,), examples=8)
    encode = encoder().float().double()
    inputs = run.dataset.valid_inputs[:8].double()
    along = []
    for x, dense in zip(inputs, explicit_jacobians(run, 8), strict=True):
        leading = torch.from_numpy(np.linalg.svd(dense)[2][0])
        turned = jacobian_at(encode, x + leading) - jacobian_at(encode, x - leading)
        along.append(float(turned.norm()) / 2 / np.linalg.norm(dense))
    rows = table[(table["kind"] == ALONG) & (table["radius"] == 1)]
    assert rows.set_index("direction")["relative_curvature"][1] == pytest.approx(np.mean(along), rel=1e-4)
    assert table.groupby("kind")["direction"].max().to_dict() == {ALONG: 2, ACROSS: 3}
    assert sorted(set(table["radius"])) == [0, 1]


def test_tangents_that_fill_the_space_are_not_applicable(encoder_run, linear):
    run = encoder_run(linear(np.eye(3)), np.random.default_rng(0).random((30, 3)))
    with pytest.raises(NotApplicable, match="compares 3 tangents"):
        higher_order.measure(run, Streams(0))


def test_draws_from_the_stored_table(tiny_runs, gathered, tmp_path):
    tables = {(n, s): higher_order.measure(run, Streams(s), examples=5) for n, run in tiny_runs.items() for s in (0, 1)}
    gathered(tables).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(higher_order.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert len(figure.axes) == 6  # the last one holds the names
    legend = figure.axes[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["AE", "CAE"]
    assert legend.get_title().get_text() == "bands: 95 % intervals over seeds"
    both = pd.concat([tables["cae", 0], tables["cae", 1]])
    expected = both[(both["kind"] == ALONG)].groupby("radius")["relative_curvature"].mean()
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert_allclose(lines["CAE"].get_ydata(), expected, rtol=1e-9)
    summary = higher_order.summarise(tables["cae", 0])
    assert summary["curvature along-to-across"] == pytest.approx(
        summary["curvature along tangents"] / summary["curvature across tangents"]
    )
