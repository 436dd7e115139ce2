import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from caelab.errors import CaelabError, NotApplicable
from caelab.registry.catalogue import Offer, catalogue
from caelab.registry.signatures import checked_options
from caelab.streams import Streams, stream_seed
from caelab_analyses import deterministic_twin
from caelab_analyses.deterministic_twin import CLIPPED
from tests.drawing import drawn_alike

SIGMAS, PROBABILITIES = (0.05, 0.3), (0.05, 0.3)
EXAMPLES, SAMPLES = 4, 400


@pytest.fixture(scope="module")
def table(tiny_runs):
    options = {"sigmas": SIGMAS, "probabilities": PROBABILITIES, "examples": EXAMPLES, "samples": SAMPLES}
    return deterministic_twin.measure(tiny_runs["cae"], Streams(0), **options)


@pytest.fixture
def parts(tiny_runs):
    """The tiny run's map in float64 as functions of one input, its inputs, and its loss."""
    run = tiny_runs["cae"]
    model = copy.deepcopy(run.model).double()

    def logits(x):
        return model.logits(model.encode(x[None]))[0]

    def loss(noisy, x):
        r = torch.sigmoid(logits(noisy))
        return -(x * r.log() + (1 - x) * (1 - r).log()).sum().item()

    return logits, loss, run.dataset.valid_inputs[:EXAMPLES].double()


def row(table, corruption, strength):
    found = table[(table["corruption"] == corruption) & (table["strength"] == strength)]
    assert len(found) == 1
    return found.iloc[0]


def test_every_corruption_at_every_strength(table):
    expected = {(c, s) for c in ("gaussian", CLIPPED) for s in SIGMAS}
    expected |= {(c, p) for c in ("masking", "salt-and-pepper") for p in PROBABILITIES}
    assert {*zip(table["corruption"], table["strength"], strict=True)} == expected
    assert set(table["loss"]) == {"cross-entropy"}


MOMENTS = {
    "gaussian": lambda x, sigma: (x, torch.full_like(x, sigma**2)),
    "masking": lambda x, p: ((1 - p) * x, p * (1 - p) * x**2),
    "salt-and-pepper": lambda x, p: ((1 - p) * x + p / 2, (1 - p) * x**2 + p / 2 - ((1 - p) * x + p / 2) ** 2),
}


@pytest.mark.parametrize("corruption", MOMENTS)
def test_prediction_from_explicit_matrices(table, parts, corruption):
    logits, loss, inputs = parts
    for strength in SIGMAS:
        shift = spread = 0.0
        for x in inputs:
            mean, variance = MOMENTS[corruption](x, strength)
            J, y = torch.autograd.functional.jacobian(logits, mean), torch.sigmoid(logits(mean)).detach()
            shift += (loss(mean, x) - loss(x, x)) / EXAMPLES
            spread += (torch.diag(y * (1 - y) / 2) @ J @ torch.diag(variance) @ J.T).trace().item() / EXAMPLES
        found = row(table, corruption, strength)
        assert_allclose(found["mean shift"], shift, rtol=1e-8, atol=1e-12)
        assert_allclose(found["second order"], spread, rtol=1e-8)
        assert_allclose(found["prediction"], shift + spread, rtol=1e-8)


@pytest.mark.parametrize("corruption", ["gaussian", CLIPPED, "masking"])
def test_increment_by_loops_over_the_plugins_copies(table, parts, corruption):
    _, loss, inputs = parts
    kind, option = ("masking", "p") if corruption == "masking" else ("gaussian", "sigma")
    plugin = catalogue().get("regularizer", kind)(**{option: 0.3})
    streams = Streams(stream_seed(0, "deterministic twin"))
    drawn = []
    for x in inputs:
        copies = plugin.corrupt_input(clean=x.repeat(SAMPLES, 1), epoch=1, streams=streams)
        copies = copies.clamp(0, 1) if corruption == CLIPPED else copies
        drawn.append([loss(copy_, x) - loss(x, x) for copy_ in copies])
    drawn = np.array(drawn)
    found = row(table, corruption, 0.3)
    assert_allclose(found["increment"], drawn.mean(), rtol=1e-9)
    error = np.sqrt((drawn.var(axis=1, ddof=1) / SAMPLES).sum()) / EXAMPLES
    assert_allclose(found["increment error"], error, rtol=1e-9)
    assert_allclose(found["spread"], found["increment"] - found["mean shift"], rtol=1e-12)
    off = abs(found["prediction"] - found["increment"])
    assert_allclose(found["relative error"], off / abs(found["increment"]), rtol=1e-12)
    assert_allclose(found["second-order error"], off / abs(found["spread"]), rtol=1e-12)
    assert_allclose(found["relative noise"], error / abs(found["spread"]), rtol=1e-9)


def test_a_weak_corruption_has_its_twin_and_a_clipped_one_has_not(table):
    for corruption in ("gaussian", "masking"):
        found = row(table, corruption, 0.05)
        assert found["second-order error"] < 0.15 + 3 * found["relative noise"]
    assert row(table, CLIPPED, 0.05)["second-order error"] > 0.5


def made_up(errors, noise=0.0):
    strengths = [0.1, 0.2, 0.3][: len(errors)]
    columns = {"corruption": "masking", "strength": strengths, "second-order error": errors, "relative noise": noise}
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("errors", "noise", "holds"),
    [
        ([0.1, 0.15, 0.5], 0.0, 0.2),
        ([0.1, 0.3, 0.1], 0.0, 0.1),
        ([0.5, 0.1], 0.0, np.nan),
        ([0.1, 1.2, 0.3], 0.4, np.nan),
        ([1.2, 0.1, 0.5], [0.4, 0.02, 0.02], 0.2),
        ([1.2, 0.1, 0.5], [0.1, 0.02, 0.02], np.nan),
        ([0.25, 0.1, 0.5], 0.06, np.nan),
    ],
    ids=["breaks at last", "a gap ends it", "never", "noise alone", "passed over", "seen to break", "known to break"],
)
def test_how_far_a_twin_holds(errors, noise, holds):
    found = deterministic_twin.summarise(made_up(errors, noise))
    assert_allclose(found["masking twin holds to"], holds)


@dataclass(eq=False)
class Doubling:
    """x̃ = (1 + a b) x, b = ±1, one sign for all inputs of an example: correlated, and it declares no moments."""

    a: float

    def corrupt_input(self, clean, streams):
        signs = torch.randint(2, (len(clean), 1), generator=streams["doubling"]) * 2 - 1
        return clean * (1 + self.a * signs)


def measured(run, of, **options):
    checked = checked_options(deterministic_twin.measure, {"of": of, **options}, "t", ("run", "streams"))
    return deterministic_twin.measure(run, Streams(0), **checked)


def test_any_corruption_by_name(tiny_runs, table):
    found = measured(tiny_runs["cae"], {"kind": "masking", "p": 0.3}, examples=EXAMPLES, samples=SAMPLES)
    expected = row(table, "masking", 0.3)
    assert found[["corruption", "option", "strength"]].values.tolist() == [["masking", "p", 0.3]]
    for column in ("increment", "prediction", "relative noise"):
        assert_allclose(found[column], expected[column], rtol=1e-12)


def test_a_chain_is_numbered_and_holds_what_its_steps_say(tiny_runs, parts):
    steps = [{"kind": "masking", "p": 0.2}, {"kind": "gaussian", "sigma": 0.1}]
    chain = {"kind": "corruption-chain", "steps": steps}
    found = measured(tiny_runs["cae"], [chain, chain], examples=EXAMPLES, samples=50)
    assert found[["corruption", "option", "strength"]].values.tolist() == [
        ["corruption-chain", "case", 1],
        ["corruption-chain", "case", 2],
    ]
    logits, _, inputs = parts
    spread = 0.0
    for x in inputs:
        mean, variance = 0.8 * x, 0.16 * x**2 + 0.01
        J, y = torch.autograd.functional.jacobian(logits, mean), torch.sigmoid(logits(mean)).detach()
        spread += (torch.diag(y * (1 - y) / 2) @ J @ torch.diag(variance) @ J.T).trace().item() / EXAMPLES
    assert_allclose(found["second order"], spread, rtol=1e-8)


def test_moments_that_are_not_declared_are_estimated_with_their_error(tiny_runs, parts, monkeypatch):
    monkeypatch.setitem(
        catalogue().offers, ("regularizer", "doubling"), Offer("regularizer", "doubling", "t", Doubling)
    )
    of = [{"kind": "doubling", "a": a} for a in (0.2, 0.1)]
    found = measured(tiny_runs["cae"], of, examples=EXAMPLES, samples=SAMPLES)
    assert found["strength"].tolist() == [0.1, 0.2]
    logits, _, inputs = parts
    for strength, rows in found.groupby("strength"):
        expected = 0.0  # C = a² x xᵀ: ½ Σ_k y_k (1 - y_k) a² (J x)_k²
        for x in inputs:
            J, y = torch.autograd.functional.jacobian(logits, x), torch.sigmoid(logits(x)).detach()
            expected += (y * (1 - y) / 2 * strength**2 * (J @ x) ** 2).sum().item() / EXAMPLES
        (got,) = rows.to_dict("records")
        known = {**got, "relative noise": got["increment error"] / abs(got["spread"])}
        assert got["relative noise"] > known["relative noise"]
        assert abs(got["prediction"] - expected) < 4 * got["relative noise"] * abs(got["spread"])
    drawn_alike(deterministic_twin.draw, found.assign(model="cae", seed=0))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"kind": "maskin"}, "did you mean 'masking'"),
        ({"kind": "contractive", "weight": 1}, r"deterministic_twin\.of expects a corruption"),
        ({"p": 0.1}, r"deterministic_twin\.of expects a mapping with a kind"),
        ({"kind": "masking", "q": 0.1}, "unknown option 'q'"),
    ],
)
def test_what_is_no_corruption_is_refused(of, message):
    with pytest.raises(CaelabError, match=message):
        checked_options(deterministic_twin.measure, {"of": of}, "deterministic_twin", ("run", "streams"))


def test_an_encoder_alone_is_not_applicable(encoder_run, linear):
    with pytest.raises(NotApplicable, match="only encode"):
        deterministic_twin.measure(encoder_run(linear(np.eye(3)), np.random.default_rng(0).random((20, 3))), Streams(0))


@pytest.mark.parametrize(
    "options",
    [{"sigmas": []}, {"sigmas": [0.2, 0.1]}, {"probabilities": [0.5, 1.5]}, {"probabilities": [0.0]}],
    ids=str,
)
def test_wrong_strengths_are_refused(options):
    with pytest.raises(CaelabError, match=r"deterministic_twin.(sigmas|probabilities).* but .* came"):
        checked_options(deterministic_twin.measure, options, "deterministic_twin", ("run", "streams"))


def test_figure_shows_increments_over_predictions_and_errors_beneath(table, gathered):
    figure = deterministic_twin.draw(gathered({("ae", 0): table, ("cae", 0): table}))
    above, below = figure.axes[:4], figure.axes[4:]
    assert [axes.get_title() for axes in above] == ["gaussian", CLIPPED, "masking", "salt-and-pepper"]
    for top, bottom in zip(above, below, strict=True):
        rows = table[table["corruption"] == top.get_title()]
        prediction, increment = top.lines[0], top.lines[2]  # two models' predictions come first
        assert_allclose(prediction.get_ydata(), rows["prediction"])
        assert_allclose(increment.get_ydata().astype(float), rows["increment"])
        assert_allclose(bottom.lines[0].get_ydata(), rows["second-order error"])
