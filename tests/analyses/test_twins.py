import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch.testing import assert_close

import caelab
from caelab.analysis.base import analyse, summarise
from caelab.analysis.contract import default_analyses, load_analysis
from caelab.errors import CaelabError, NotApplicable
from caelab.models.autoencoder import autoencoder
from caelab.runs.run import dataset_of
from caelab_analyses.twin_training import (
    FallingRate,
    GradientWatch,
    HeldNorm,
    check,
    draw,
    train_twins,
    trained,
    twin_config,
    twins,
)
from tests.drawing import drawn_alike

TINY = ["model.hidden=[8]", "training.epochs=2"]


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    torch.manual_seed(4)
    return autoencoder(3, hidden=[6], activation="tanh", tied=False, output="identity").double()


@pytest.fixture
def inputs():
    return torch.randn(7, 3, generator=stream(1), dtype=torch.float64)


def test_denoising_penalty_is_the_mean_over_draws_one_by_one(model, inputs):
    noise = torch.randn(2, 7, 3, generator=stream(2), dtype=torch.float64)
    with torch.no_grad():
        errors = [
            float((model((x + sign * e)[None])[0] - x).square().sum())
            for draw_ in noise
            for sign in (1, -1)
            for x, e in zip(inputs, draw_, strict=True)
        ]
        plain = np.mean([float((model(x[None])[0] - x).square().sum()) for x in inputs])
        found = float(twins.denoising_penalty(model, inputs, noise))
    assert found == pytest.approx(np.mean(errors) - plain, rel=1e-10)


def test_denoising_of_a_linear_reconstruction_is_its_twin():
    torch.manual_seed(0)
    linear = autoencoder(3, hidden=[2], activation="identity", output="identity").double()
    inputs, sigma = torch.randn(200_000, 3, generator=stream(1), dtype=torch.float64), 0.7
    noise = sigma * torch.randn((1, *inputs.shape), generator=stream(3), dtype=torch.float64)
    with torch.no_grad():
        found = twins.denoising_penalty(linear, inputs, noise)
    expected = twins.reconstruction_norm(linear, inputs[:2]).detach()
    assert float(found) == pytest.approx(sigma**2 * float(expected), rel=0.01)  # four standard errors are 0.8 %


def test_norms_equal_explicit_jacobians(model, inputs):
    def jacobians(f):
        return torch.stack([torch.autograd.functional.jacobian(lambda v: f(v[None])[0], x) for x in inputs])

    for found, f in ((twins.encoder_norm, model.encode), (twins.reconstruction_norm, model)):
        assert_close(found(model, inputs), jacobians(f).square().sum(dim=(1, 2)).mean())


def test_parameter_gradient_equals_finite_differences(model, inputs):
    found = twins.parameter_gradient(model, twins.reconstruction_norm(model, inputs))
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    numbers = []
    for unit in torch.eye(len(start), dtype=torch.float64) * 1e-5:
        values = []
        for place in (start + unit, start - unit):
            torch.nn.utils.vector_to_parameters(place, model.parameters())
            values.append(twins.reconstruction_norm(model, inputs).item())
        numbers.append((values[0] - values[1]) / 2e-5)
    assert_close(found, torch.tensor(numbers).double(), rtol=1e-5, atol=1e-8)


def test_codes_that_differ_by_permutation_and_sign_have_distance_zero():
    code = torch.randn(50, 6, generator=stream(5), dtype=torch.float64)
    order, signs = torch.tensor([3, 0, 5, 1, 2, 4]), torch.tensor([1.0, -1, 1, 1, -1, -1]).double()
    moved = (code * signs)[:, order] + 3
    assert twins.code_distance(moved, code) == pytest.approx(0, abs=1e-12)
    assert twins.relative_distance(moved, code) > 0.5
    indices, _ = twins.matching(moved, code)
    assert torch.equal(order[indices], torch.arange(6))


def test_distance_and_cosine_by_hand():
    first, second = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    assert twins.relative_distance(first, second) == pytest.approx(5 / 4)
    assert twins.cosine(first, second) == 0
    assert twins.cosine(-2 * first, first) == pytest.approx(-1)


def test_noise_does_not_lower_the_unattenuated_cosine():
    exact, other = torch.randn(2, 20_000, generator=stream(8), dtype=torch.float64)
    mean = 0.6 * exact + 0.8 * other  # at right angles to a percent: cosine 0.6
    draws = [mean + 2 * torch.randn(20_000, generator=stream(seed), dtype=torch.float64) for seed in (9, 10)]
    assert twins.unattenuated_cosine(exact, mean, mean) == pytest.approx(twins.cosine(exact, mean), rel=1e-12)
    assert twins.unattenuated_cosine(exact, *draws) == pytest.approx(twins.cosine(exact, mean), abs=0.05)
    assert twins.cosine(exact, draws[0]) < 0.35


def test_falling_rate_is_a_lower_learning_rate():
    weights = [torch.nn.Linear(2, 2) for _ in range(2)]
    weights[1].load_state_dict(weights[0].state_dict())
    falling, rate, total = FallingRate(4), 0.1, 4
    optimizers = [torch.optim.Adam(module.parameters(), lr=rate) for module in weights]
    for step in range(1, total + 1):
        for module, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            module(torch.ones(1, 2)).square().sum().backward()
        falling.before_update(model=weights[0])
        optimizers[0].step()
        falling.after_batch(model=weights[0])
        optimizers[1].param_groups[0]["lr"] = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * step / total)) / 2)
        optimizers[1].step()
    assert_close(weights[0].weight, weights[1].weight, rtol=1e-4, atol=1e-6)  # float32


def test_held_norms_gradient_is_that_of_its_weight(model, inputs):
    held = HeldNorm(strength=0.3, target=2.0)
    term = held.penalty_terms(encoder_jacobian=caelab.jacobian(model.encode, inputs))["held norm"]
    found = twins.parameter_gradient(model, term)
    expected = held.weight * twins.parameter_gradient(model, twins.encoder_norm(model, inputs))
    assert_close(found, expected)


def test_gradients_agree_as_the_noise_falls(model, inputs):
    watch = GradientWatch(inputs.repeat(100, 1), 0.01, 40, stream(6), every=1)
    found = {(row["twin"], row["quantity"]): row["value"] for row in watch.cosines(model)}
    # what Gauss-Newton drops is of the penalty's order: only the whole objectives must agree
    assert found["rcae", "gradient cosine (objective)"] > 0.9999
    assert all(abs(value) < 1.01 for value in found.values())


def test_watching_changes_nothing():
    base = twin_config("digits", TINY).model_copy(update={"seed": 3})
    watch = GradientWatch(torch.rand(20, 64), 0.1, 1, stream(), every=3)
    data = dataset_of(base)
    plain, watched = trained(base, data, {}), trained(base, data, {}, {"watch": watch})
    assert watch.rows
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name


@pytest.fixture(scope="module")
def table():
    return train_twins(twin_config("gaussian-mixture", TINY), [0.1, 0.3], watched=2, examples=20, radii=[0.0, 1.0])


def test_table_has_every_twin_and_quantity(table):
    assert list(table) == ["dataset", "sigma", "twin", "quantity", "at", "value"]
    single = table[table["quantity"] == "distance of r(x) - x"]
    assert sorted(single["twin"].unique()) == ["cae", "cae matched", "rcae"]
    assert len(single) == 6
    assert np.isfinite(table["value"]).all()
    assert not table.duplicated(["sigma", "twin", "quantity", "at"]).any()


def test_radius_zero_is_no_larger_than_the_norm(table):
    """‖J u‖ for unit u, in the mean over directions, is at most ‖J‖_F."""
    numbers = table.set_index(["sigma", "twin", "quantity", "at"])["value"]
    for sigma in (0.1, 0.3):
        norm = table.query("sigma == @sigma and twin == 'dae' and quantity == 'mean squared norm of J_f'")[
            "value"
        ].iloc[0]
        assert numbers[sigma, "dae", "contraction of f", 0.0] ** 2 < norm


def test_figure_reads_nothing_but_the_table(table):
    figure = drawn_alike(draw, table)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 6


@pytest.mark.parametrize(
    ("settings", "sigmas", "message"),
    [
        (["contractive.weight=1"], [0.1], "bring their own"),
        (["training.reconstruction=cross-entropy"], [0.1], "squared-error"),
        ([], [0.1, 0.0], "above 0"),
        ([], [], "above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, sigmas, message):
    with pytest.raises(CaelabError, match=message):
        check(twin_config("gaussian-mixture", [*TINY, *settings]), sigmas)


@pytest.mark.parametrize("count", ["draws", "watched", "examples"])
def test_a_count_of_nothing_is_refused(count):
    with pytest.raises(CaelabError, match=f"expected {count} of at least 1, but {count}=0 came"):
        train_twins(twin_config("gaussian-mixture", TINY), [0.1], **{count: 0})


def test_an_untrained_base_is_refused():
    with pytest.raises(CaelabError, match=r"training\.epochs=0 came"):
        train_twins(twin_config("gaussian-mixture", ["training.epochs=0"]), [0.1])


def test_as_an_analysis_it_repeats_the_runs_own_training(table):
    settings = ["contractive.weight=1"]  # the run's own penalty makes way
    run = caelab.train(twin_config("gaussian-mixture", [*TINY, *settings]))
    found = analyse(run, "twin_training", sigmas=[0.1, 0.3], watched=2, examples=20, radii=[0.0, 1.0])
    pd.testing.assert_frame_equal(found[list(table)], table)
    other = caelab.train(twin_config("gaussian-mixture", TINY, seed=1))
    again = analyse(other, "twin_training", sigmas=[0.1], watched=2, examples=20, radii=[0.0])
    assert summarise("twin_training", again) != summarise("twin_training", found)


def test_the_summary_is_of_the_smallest_noise(table):
    single = table[(table["sigma"] == 0.1) & (table["twin"] == "rcae")].set_index("quantity")["value"]
    assert summarise("twin_training", table)["RCAE distance to the DAE"] == single["distance of r(x) - x"]


def test_several_data_sets_have_panels_of_their_own(table):
    both = pd.concat([table, table.assign(dataset="another")])
    assert len(draw(both).axes) == 12
    doubled = table.assign(value=table["value"] + 2)
    lines = draw(pd.concat([table, doubled])).axes[0].lines
    for line, alone in zip(lines, draw(table).axes[0].lines, strict=True):
        assert line.get_ydata() == pytest.approx(alone.get_ydata() + 1)  # the mean over runs


def test_it_is_no_part_of_a_default_comparison():
    assert not {"twin_training", "alignment_transition"} & set(default_analyses())
    assert load_analysis("twin_training").draw is draw


def test_twins_of_a_run_under_cross_entropy_or_of_an_encoder_have_no_meaning(tiny_runs, encoder_run):
    with pytest.raises(NotApplicable, match="'ae' was trained under cross-entropy"):
        analyse(tiny_runs["ae"], "twin_training")
    with pytest.raises(NotApplicable, match="only encodes"):
        analyse(encoder_run(torch.nn.Linear(3, 2), np.random.default_rng(0).random((30, 3))), "twin_training")


def test_unknown_data_set_is_refused():
    with pytest.raises(CaelabError, match="give train_twins a config"):
        twin_config("spiral")


def test_what_parts_the_penalties_gradients_is_the_curvature_of_the_reconstruction():
    """Σ (r_i - x_i) tr H_i is small beside ‖J_r‖² while its gradient is not: r - x is small, ∂r/∂θ is not."""
    torch.manual_seed(6)
    tied = autoencoder(5, hidden=[4], activation="tanh", output="identity").double()
    inputs, sigma = torch.randn(400, 5, generator=stream(1), dtype=torch.float64), 0.05
    noise = sigma * torch.randn((200, *inputs.shape), generator=stream(2), dtype=torch.float64)
    penalty = sigma**2 * twins.reconstruction_norm(tied, inputs)
    layer = tied.encode[0]
    code = tied.encode(inputs)
    laplacian = (-2 * code * (1 - code**2) * layer.weight.square().sum(dim=1)) @ layer.weight  # tr H_i
    curvature = sigma**2 * ((tied(inputs) - inputs) * laplacian).sum(dim=1).mean()
    gradients = [
        twins.parameter_gradient(tied, loss)
        for loss in (penalty, curvature, twins.denoising_penalty(tied, inputs, noise))
    ]
    assert twins.cosine(gradients[0], gradients[2]) < 0.99
    assert twins.cosine(gradients[0] + gradients[1], gradients[2]) > 0.999
