import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from caelab.errors import CaelabError
from caelab.registry.signatures import checked_options
from caelab.streams import Streams
from caelab_analyses import contraction_curve
from caelab_analyses.contraction_curve import NEAREST, ORTHOGONAL, OTHERS, RANDOM, TANGENTS
from tests.drawing import drawn_alike

RADII = (0.5, 2.0, 7.0)
COUNT = 5


@pytest.fixture(scope="module")
def run(tiny_runs):
    return tiny_runs["cae"]


@pytest.fixture(scope="module")
def table(run):
    return contraction_curve.measure(run, Streams(0), examples=COUNT, tangents=2, radii=RADII)


def curve(table, kind, column="ratio"):
    return table.loc[table["kind"] == kind, column].to_numpy()


@pytest.fixture(scope="module")
def by_numpy(run):
    """Encoder, validation and training examples of the run in numpy, float64."""
    weight, bias = (p.detach().double().numpy() for p in run.model.encode[0].parameters())
    valid, train = (part.double().numpy() for part in (run.dataset.valid_inputs[:COUNT], run.dataset.train_inputs))
    return lambda x: 1 / (1 + np.exp(-(weight @ x + bias))), valid, train


def ratios_by_loops(encode, examples, directions):
    """Mean over examples and their directions of ‖f(x + r u) - f(x)‖ / r, at every one of RADII."""
    return [
        np.mean([
            np.linalg.norm(encode(x + r * u) - encode(x)) / r
            for x, own in zip(examples, directions, strict=True)
            for u in own
        ])
        for r in RADII
    ]  # fmt: skip


def test_curve_toward_the_nearest_example_by_loops(table, by_numpy):
    encode, valid, train = by_numpy
    nearest = [min(train, key=lambda t, x=x: np.linalg.norm(t - x)) for x in valid]
    distances = [np.linalg.norm(n - x) for n, x in zip(nearest, valid, strict=True)]
    directions = [[(n - x) / distance] for n, x, distance in zip(nearest, valid, distances, strict=True)]
    assert_allclose(curve(table, NEAREST)[1:], ratios_by_loops(encode, valid, directions), rtol=1e-9)
    assert_allclose(table["nearest distance"], np.mean(distances), rtol=1e-9)


def test_curve_along_tangents_goes_both_ways(table, run, by_numpy, explicit_jacobians):
    encode, valid, _ = by_numpy
    _, values, right = np.linalg.svd(explicit_jacobians(run, COUNT))
    directions = [[*v[:2], *-v[:2]] for v in right]
    # the tangents' span is exact to a sine of 2e-2, the mean along them to its square
    assert_allclose(curve(table, TANGENTS)[1:], ratios_by_loops(encode, valid, directions), rtol=1e-3)
    assert_allclose(curve(table, TANGENTS)[0], values[:, :2].mean(), rtol=1e-3)


def test_tangents_have_no_sign(run, by_numpy, explicit_jacobians):
    """One way alone would give another curve, so that an arbitrary sign would show."""
    encode, valid, _ = by_numpy
    right = np.linalg.svd(explicit_jacobians(run, COUNT))[2]
    one_way, other_way = (ratios_by_loops(encode, valid, [sign * v[:2] for v in right]) for sign in (1, -1))
    assert np.abs(np.divide(one_way, other_way) - 1).max() > 1e-2


def test_value_at_zero_is_the_limit_of_small_radii(run):
    table = contraction_curve.measure(run, Streams(0), examples=COUNT, radii=(1e-4,))
    for _, rows in table.groupby("kind"):
        at_zero, near_zero = rows["ratio"]
        assert_allclose(near_zero, at_zero, rtol=1e-4)  # they differ by a part of the order of the radius
        assert near_zero != at_zero


def test_value_at_zero_in_random_directions_is_the_norm_over_the_root_of_the_width(run, explicit_jacobians):
    table = contraction_curve.measure(run, Streams(0), examples=COUNT, directions=400, radii=(1.0,))
    squares = (explicit_jacobians(run, COUNT) ** 2).sum(axis=(1, 2)) / 64  # E ‖J u‖² on the sphere in R^64
    # 2000 directions; the mean of ‖J u‖ lies below the root of the mean square by its variance, a few per cent
    assert 0.9 * np.sqrt(squares).mean() < curve(table, RANDOM)[0] < np.sqrt(squares).mean()


def test_level_is_the_ratio_between_pairs_of_examples(table, by_numpy):
    encode, valid, _ = by_numpy
    pairs = [(a, b) for i, a in enumerate(valid) for b in valid[:i]]
    ratio = np.mean([np.linalg.norm(encode(a) - encode(b)) / np.linalg.norm(a - b) for a, b in pairs])
    assert_allclose(table["data ratio"], ratio, rtol=1e-9)
    assert_allclose(table["relative to data"], table["ratio"] / ratio, rtol=1e-9)
    assert_allclose(table["mean distance"], np.mean([np.linalg.norm(a - b) for a, b in pairs]), rtol=1e-9)


def test_shape_is_relative_to_zero_of_the_same_kind(table):
    for _, rows in table.groupby("kind"):
        assert rows["radius"].tolist() == [0, *RADII]
        assert_allclose(rows["relative to zero"], rows["ratio"] / rows["ratio"].iloc[0], rtol=1e-12)


def test_linear_encoder_has_flat_curves(encoder_run, linear):
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    run = encoder_run(linear(matrix), np.random.default_rng(1).random((30, 9)), (18, 10, 2))
    table = contraction_curve.measure(run, Streams(0), tangents=3)
    assert set(table["kind"]) == {RANDOM, OTHERS, NEAREST, TANGENTS, ORTHOGONAL}
    assert_allclose(table["relative to zero"], 1, rtol=1e-9)
    assert_allclose(curve(table, TANGENTS), np.linalg.svd(matrix, compute_uv=False)[:3].mean(), rtol=1e-9)
    assert (curve(table, ORTHOGONAL) < curve(table, RANDOM)).all()
    assert contraction_curve.summarise(table)["bump height"] == pytest.approx(1)


def test_all_radii_see_the_same_directions(run, table):
    fewer = contraction_curve.measure(run, Streams(0), examples=COUNT, tangents=2, radii=RADII[1:])
    for kind in (RANDOM, OTHERS, ORTHOGONAL):
        assert_allclose(curve(fewer, kind), curve(table, kind)[[0, 2, 3]], rtol=1e-12)
    other = contraction_curve.measure(run, Streams(1), examples=COUNT, tangents=2, radii=RADII)
    assert (curve(other, RANDOM) != curve(table, RANDOM)).all()


def test_random_directions_are_spread_over_the_sphere():
    directions = contraction_curve.sphere((3000, 2, 5), Streams(0)["directions"]).flatten(0, 1)
    assert_allclose(directions.norm(dim=1), 1, rtol=1e-12)
    assert_allclose(directions.mean(dim=0), 0, atol=0.03)
    assert_allclose(directions.T @ directions / len(directions), np.eye(5) / 5, atol=0.02)


def test_orthogonal_directions_have_no_part_in_the_tangents():
    drawn = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tangents = torch.linalg.qr(drawn[:, :2].mT).Q.mT
    found = contraction_curve.without_span(contraction_curve.unit(drawn[:, 2:]), tangents)
    assert_allclose(found @ tangents.mT, 0, atol=1e-12)
    assert_allclose(found.norm(dim=2), 1, rtol=1e-12)


def test_other_examples_are_examples_each_once():
    rng = np.random.default_rng(0)
    inputs, among = torch.from_numpy(rng.random((3, 4))), torch.from_numpy(rng.random((6, 4)))
    directions = contraction_curve.toward_others(inputs, among, 5, Streams(0)["examples"])
    cosines = directions @ contraction_curve.unit(among - inputs[:, None]).mT  # (3, 5, 6)
    reached = (cosines > 1 - 1e-12).double()
    assert_allclose(reached.sum(dim=2), 1)
    assert (reached.sum(dim=1) <= 1).all()


def test_copies_of_an_example_give_no_direction(encoder_run, linear):
    inputs = np.repeat([[0.0, 0, 0, 0], [3, 4, 0, 0]], 10, axis=0)
    run = encoder_run(linear(np.eye(4)[:2]), inputs)
    table = contraction_curve.measure(run, Streams(0), tangents=1)
    assert_allclose(table["nearest distance"], 5)
    assert_allclose(table["mean distance"], 5)
    assert_allclose(curve(table, NEAREST), 1)
    assert table["ratio"].notna().all()


def test_one_example_has_no_distance(encoder_run, linear):
    run = encoder_run(linear(np.eye(4)[:2]), np.ones((10, 4)))
    with pytest.raises(CaelabError, match="needs two distinct validation examples, but 1 came"):
        contraction_curve.measure(run, Streams(0))


def test_nothing_is_orthogonal_to_tangents_that_span_the_input_space(encoder_run, linear):
    run = encoder_run(linear(np.eye(2)), np.random.default_rng(0).random((20, 2)))
    table = contraction_curve.measure(run, Streams(0), tangents=5)
    assert set(table["kind"]) == {RANDOM, OTHERS, NEAREST, TANGENTS}


def test_an_encoder_that_is_a_plain_function_has_a_curve(encoder_run):
    run = encoder_run(lambda x: torch.tanh(x[:, :3] - 0.5), np.random.default_rng(0).random((30, 6)), (20, 8, 2))
    table = contraction_curve.measure(run, Streams(0), tangents=2)
    # at radius 60 the code of three units has moved by 2 √3 at most
    assert curve(table, RANDOM)[-1] < np.sqrt(3) * 2 / 60


def made_up(random, nearest=(0.4, 0.4, 0.4), radii=(0.0, 1.0, 20.0)):
    parts = {RANDOM: random, NEAREST: nearest}
    return pd.concat(
        pd.DataFrame({"kind": kind, "radius": radii, "ratio": ratio, "relative to zero": np.divide(ratio, ratio[0])})
        for kind, ratio in parts.items()
    )


def test_summary_of_a_bump():
    found = contraction_curve.summarise(made_up([0.2, 0.2, 0.22]))
    assert_allclose([found["bump height"], found["bump radius"], found["nearest-to-random ratio"]], [1.1, 20, 2])


@pytest.mark.parametrize(("random", "height"), [([0.2, 0.19, 0.1], 1.0), ([0.2, 0.2008, 0.1], 1.004)])
def test_a_curve_that_falls_has_no_bump(random, height):
    found = contraction_curve.summarise(made_up(random))
    assert found["bump height"] == pytest.approx(height)
    assert np.isnan(found["bump radius"])


def test_ratio_to_random_directions_is_unknown_without_radius_one():
    found = contraction_curve.summarise(made_up([0.2, 0.2, 0.2], radii=(0.0, 2.0, 20.0)))
    assert np.isnan(found["nearest-to-random ratio"])


@pytest.mark.parametrize("radii", [[-1.0], [], [float("inf")]])
def test_radii_that_cannot_be_are_refused_before_anything_runs(radii):
    with pytest.raises(CaelabError, match=r"contraction_curve.radii: expected at least one radius.* but .* came"):
        checked_options(contraction_curve.measure, {"radii": radii}, "contraction_curve", ("run", "streams"))


def test_figure_has_shape_and_level_and_marks_the_distances(table, gathered):
    figure = drawn_alike(contraction_curve.draw, gathered({("ae", 0): table, ("cae", 0): table}))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"{RANDOM}: shape",
        *(f"{kind}: level" for kind in (RANDOM, OTHERS, NEAREST, TANGENTS, ORTHOGONAL)),
    ]
    assert_allclose(figure.axes[0].lines[0].get_ydata(), curve(table, RANDOM, "relative to zero"))
    assert_allclose(figure.axes[1].lines[0].get_ydata(), curve(table, RANDOM, "relative to data"))
    for axes, distance in zip(figure.axes, ["mean distance"] * 3 + ["nearest distance"], strict=False):
        marks = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert_allclose([line.get_xdata()[0] for line in marks], [table[distance].iloc[0]])
        assert [text.get_text() for text in axes.texts] == [distance]


def test_bands_are_intervals_over_seeds(table, gathered):
    first = contraction_curve.draw(gathered({("ae", 0): table})).axes[0]
    assert len(first.collections) == 0
    both = contraction_curve.draw(gathered({("ae", 0): table, ("ae", 1): table, ("cae", 0): table})).axes[0]
    assert len(both.collections) == 1
