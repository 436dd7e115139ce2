import copy
from math import prod

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from caelab.errors import CaelabError, NotApplicable
from caelab.models.autoencoder import Autoencoder, autoencoder
from caelab.models.reconstruction import output_map
from caelab.registry.signatures import checked_options
from caelab.streams import Streams
from caelab_analyses import noise_expansion
from caelab_analyses.noise_expansion import ENCODER, FULL, GAUSS_NEWTON
from caelab_analyses.noise_expansion.expansions import (
    LOSSES,
    along_all_directions,
    encoder_term,
    expansion,
    monte_carlo,
)
from tests.drawing import drawn_alike

SIGMAS = (0.05, 0.1, 0.2, 0.4)
KINDS = sorted(LOSSES)


@pytest.fixture
def network():
    """``network(inputs, hidden, **options)``: float64, weights and biases off zero."""

    def build(inputs, hidden, **options):
        torch.manual_seed(3)
        model = autoencoder(inputs, hidden=hidden, **options).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.7 * torch.randn_like(parameter))
        return model.eval()

    return build


@pytest.fixture
def batch():
    return torch.from_numpy(np.random.default_rng(0).random((3, 4)))


def error_at(model, kind, target):
    """x̃ ↦ L(x, r(x̃)) with its equation written out, from probabilities."""

    def error(noisy):
        r = model(noisy[None])[0]
        if kind == "squared-error":
            return ((r - target) ** 2).sum()
        return -(target * r.log() + (1 - target) * (1 - r).log()).sum()

    return error


def explicit(model, kind, batch):
    """Half the trace of the error's Hessian, and its Gauss-Newton part, example by example."""
    full, gauss_newton = [], []
    for x in batch:
        full.append(torch.func.hessian(error_at(model, kind, x))(x).trace() / 2)
        jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x)
        r = model(x[None])[0].detach()
        weights = torch.ones_like(r) if kind == "squared-error" else 1 / (2 * r * (1 - r))  # J_a = J_r / (r (1 - r))
        gauss_newton.append((weights[:, None] * jacobian.square()).sum())
    return torch.stack(full).detach(), torch.stack(gauss_newton).detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus"])
@pytest.mark.parametrize("hidden", [[3], [3, 2]], ids=["closed form", "along directions"])
def test_coefficients_are_traces_of_explicit_hessians(network, batch, kind, tied, activation, hidden):
    model = network(4, hidden, activation=activation, tied=tied)
    found = expansion(model, kind, batch)
    full, gauss_newton = explicit(model, kind, batch)
    assert_allclose(found.full.detach(), full, rtol=1e-9)
    assert_allclose(found.gauss_newton.detach(), gauss_newton, rtol=1e-9)
    assert (found.curvature / found.gauss_newton).abs().min() > 1e-3  # without it the test would see nothing of it


@pytest.mark.parametrize("output", ["tanh", "identity"])
def test_other_outputs_and_the_sum_over_directions_agree(network, batch, output):
    model = network(4, [3], output=output)
    found = expansion(model, "squared-error", batch)
    full, gauss_newton = explicit(model, "squared-error", batch)
    assert_allclose(found.full.detach(), full, rtol=1e-9)
    squares, traces = along_all_directions(output_map("squared-error", model), batch)
    assert_allclose(squares.sum(dim=1).detach(), gauss_newton, rtol=1e-9)
    assert_allclose(((model(batch) - batch) * traces).sum(dim=1).detach(), found.curvature.detach(), rtol=1e-9)


def test_linear_network_with_squared_error_is_exact(network, batch):
    """The error is quadratic: nothing is left at any σ, pair by pair."""
    model = network(4, [3], activation="identity", output="identity")
    matrix = (model.decode[0].weight @ model.encode[0].weight).detach()
    found = expansion(model, "squared-error", batch)
    assert_allclose(found.full.detach(), matrix.square().sum().expand(3), rtol=1e-12)
    assert_allclose(found.curvature.detach(), 0, atol=1e-12)
    draws = monte_carlo(model, "squared-error", batch, SIGMAS, 7, Streams(0)["noise"])
    for sigma, increments in zip(SIGMAS, draws.increments, strict=True):
        assert_allclose(increments, sigma**2 * draws.full, rtol=1e-8)


def expected_error(model, kind, x, sigma, nodes=24):
    """E L(x, r(x + σ u)) by Gauss-Hermite quadrature over all inputs, no number drawn."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    total = 0.0
    for place in np.ndindex(*[nodes] * len(x)):
        weight = prod(weights[i] for i in place) / (2 * np.pi) ** (len(x) / 2)
        total += weight * error_at(model, kind, x)(x + sigma * torch.tensor([points[i] for i in place])).item()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_of_order_four_by_quadrature(network, kind):
    model, x = network(2, [3]), torch.tensor([0.2, 0.9], dtype=torch.float64)
    sigmas = np.array([0.02, 0.04, 0.08])
    with torch.no_grad():
        here = error_at(model, kind, x)(x).item()
        found = expansion(model, kind, x[None])
        left = [expected_error(model, kind, x, s, 12) - here - s**2 * found.full.item() for s in sigmas]
    assert noise_expansion.order(sigmas, np.abs(left)) == pytest.approx(4, abs=0.05)
    without_curvature = np.abs(left + sigmas**2 * found.curvature.item())
    assert noise_expansion.order(sigmas, without_curvature) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_monte_carlo_has_the_mean_of_the_quadrature(network, kind):
    model, x = network(2, [3]), torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    draws = monte_carlo(model, kind, x, SIGMAS, 4000, Streams(0)["noise"])
    with torch.no_grad():
        here = error_at(model, kind, x[0])(x[0]).item()
        for sigma, increments in zip(SIGMAS, draws.increments, strict=True):
            expected = expected_error(model, kind, x[0], sigma, 16) - here
            error = increments.std().item() / 4000**0.5
            assert abs(increments.mean().item() - expected) < 4 * error
    assert abs(draws.full.mean().item() - expansion(model, kind, x).full.item()) < 4 * draws.full.std() / 4000**0.5


@pytest.fixture(scope="module")
def table(tiny_runs):
    return noise_expansion.measure(tiny_runs["cae"], Streams(0), sigmas=SIGMAS, examples=4, samples=50)


def of_term(table, term):
    return table[table["term"] == term].reset_index(drop=True)


def test_table_by_loops(table, tiny_runs):
    """Every column from the definition: all pairs drawn anew, one by one."""
    run = tiny_runs["cae"]
    model, inputs = copy.deepcopy(run.model).double(), run.dataset.valid_inputs[:4].double()
    stream = Streams(0)["noise expansion"]
    full = explicit(model, "cross-entropy", inputs)[0]
    rest = np.zeros((len(SIGMAS), 4, 50))
    for i, x in enumerate(inputs):
        error, draws = error_at(model, "cross-entropy", x), torch.randn((50, 64), generator=stream, dtype=x.dtype)
        hessian = torch.func.hessian(error)(x)
        with torch.no_grad():
            for n, u in enumerate(draws):
                for s, sigma in enumerate(SIGMAS):
                    pair = (error(x + sigma * u) + error(x - sigma * u)) / 2 - error(x)
                    rest[s, i, n] = pair - sigma**2 * (u @ hessian @ u / 2 - full[i])
    found = of_term(table, FULL)
    assert_allclose(found["increment"], rest.mean(axis=(1, 2)), rtol=1e-9)
    errors = np.sqrt((rest.var(axis=2, ddof=1) / 50).sum(axis=1)) / 4
    assert_allclose(found["increment error"], errors, rtol=1e-5)
    assert_allclose(found["prediction"], np.square(SIGMAS) * full.mean().item(), rtol=1e-9)


def test_predictions_of_the_other_terms(table, tiny_runs, explicit_jacobians):
    run = tiny_runs["cae"]
    model, inputs = copy.deepcopy(run.model).double(), run.dataset.valid_inputs[:4].double()
    gauss_newton = explicit(model, "cross-entropy", inputs)[1].mean().item()
    assert_allclose(of_term(table, GAUSS_NEWTON)["prediction"], np.square(SIGMAS) * gauss_newton, rtol=1e-9)
    squared_norm = (explicit_jacobians(run, 4) ** 2).sum(axis=(1, 2))
    assert_allclose(of_term(table, ENCODER)["prediction"], np.square(SIGMAS) * squared_norm.mean(), rtol=1e-9)
    assert_allclose(encoder_term(model, inputs), squared_norm, rtol=1e-9)


def test_orders_are_those_of_the_three_smallest(table):
    found = of_term(table, FULL)
    slope = np.polyfit(np.log(SIGMAS[:3]), np.log(found["difference"].abs()[:3]), 1)[0]
    assert_allclose(found["remainder order"], slope, rtol=1e-12)
    assert slope == pytest.approx(4, abs=0.4)
    assert found["relative order"][0] == pytest.approx(slope - 2, abs=0.1)
    assert noise_expansion.summarise(table)["remainder order"] == slope


def test_the_control_leaves_less_noise_than_the_pairs_have(table, tiny_runs):
    run = tiny_runs["cae"]
    model, inputs = copy.deepcopy(run.model).double(), run.dataset.valid_inputs[:4].double()
    draws = monte_carlo(model, "cross-entropy", inputs, SIGMAS, 50, Streams(0)["noise expansion"])
    plain = noise_expansion.standard_errors(draws.increments)
    assert (of_term(table, FULL)["increment error"] < plain)[:3].all()
    assert of_term(table, FULL)["increment error"][0] < plain[0] / 20


def test_a_width_beyond_the_limit_is_estimated_from_the_draws(tiny_runs, table, monkeypatch):
    monkeypatch.setattr(noise_expansion, "expansion", lambda *_: None)
    found = noise_expansion.measure(tiny_runs["cae"], Streams(0), sigmas=SIGMAS, examples=4, samples=50)
    assert set(found["method"]) == {"estimated"}
    full, exact = of_term(found, FULL), of_term(table, FULL)
    assert_allclose(full["difference"], exact["difference"], rtol=1e-9)  # what is left is the same: draw by draw
    assert_allclose(full["noise"], exact["noise"], rtol=1e-9)
    assert (full["prediction"] - exact["prediction"]).abs().iloc[0] < 4 * full["increment error"].iloc[0]


def test_a_loss_may_be_chosen(tiny_runs, table):
    other = noise_expansion.measure(tiny_runs["cae"], Streams(0), sigmas=(0.1,), examples=2, loss="squared-error")
    assert (set(table["loss"]), set(other["loss"])) == ({"cross-entropy"}, {"squared-error"})
    model, inputs = tiny_runs["cae"].model, tiny_runs["cae"].dataset.valid_inputs[:2].double()
    full = explicit(copy.deepcopy(model).double(), "squared-error", inputs)[0].mean().item()
    assert_allclose(of_term(other, FULL)["prediction"], 0.01 * full, rtol=1e-9)


def test_an_encoder_alone_is_not_applicable(encoder_run, linear):
    with pytest.raises(NotApplicable, match="only encode"):
        noise_expansion.measure(encoder_run(linear(np.eye(3)), np.random.default_rng(0).random((20, 3))), Streams(0))


@pytest.mark.parametrize("sigmas", [[], [0.1, 0.1], [-1.0]])
def test_wrong_noise_levels_are_refused(sigmas):
    with pytest.raises(CaelabError, match=r"noise_expansion.sigmas.* but .* came"):
        checked_options(noise_expansion.measure, {"sigmas": sigmas}, "noise_expansion", ("run", "streams"))


def test_logits_of_ones_own_are_respected(batch):
    """A model that computes its logits otherwise is not read as a chain of its decoder's layers."""

    class Sharpened(Autoencoder):
        def logits(self, code):
            return 2 * super().logits(code)

    torch.manual_seed(0)
    plain = autoencoder(4, hidden=[3]).double()
    model = Sharpened(plain.encode, plain.decode)
    assert_allclose(output_map("cross-entropy", model)(batch).detach(), model.logits(model.encode(batch)).detach())


def test_figure_shows_the_table_and_the_fitted_order(table, gathered):
    figure = drawn_alike(noise_expansion.draw, gathered({("ae", 0): table, ("cae", 0): table}))
    assert [axes.get_title() for axes in figure.axes] == ["increment of the error", FULL, GAUSS_NEWTON, ENCODER]
    for axes, term in zip(figure.axes[1:], (FULL, GAUSS_NEWTON, ENCODER), strict=True):
        error, noise = axes.lines[0], axes.lines[2]  # two models' errors come first
        assert_allclose(error.get_ydata(), of_term(table, term)["relative error"])
        assert_allclose(noise.get_ydata(), of_term(table, term)["relative noise"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[2:] == ["Monte Carlo", "full expansion (first panel)", "Monte-Carlo noise"]
    fitted = of_term(table, FULL)["remainder order"][0]
    assert labels[:2] == [f"{name}: remainder $\\propto\\sigma^{{{fitted:.1f}}}$" for name in ("AE", "CAE")]
