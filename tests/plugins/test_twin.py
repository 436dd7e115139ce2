from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from caelab import CaelabError, hookimpl, train
from caelab.models.reconstruction import cross_entropy, output_map
from caelab.registry.catalogue import Offer, catalogue
from caelab.runs.recipes import recipe_config
from caelab.streams import Streams
from caelab_regularizers import twin as twins
from caelab_regularizers.moments import corrupted_copies, declared_moments
from caelab_regularizers.reconstruction_contractive import mean_squared_norm
from caelab_regularizers.twin import Twin, second_order, second_order_of_copies, weighted_squared_norm
from tests.plugins.references import as_map, jacobian, parameter_gradient

MASKING, GAUSSIAN = {"kind": "masking", "p": 0.3}, {"kind": "gaussian", "sigma": 0.4}
CORRUPTIONS = {
    "gaussian": GAUSSIAN,
    "masking": MASKING,
    "salt-and-pepper": {"kind": "salt-and-pepper", "p": 0.2},
    "chain": {"kind": "corruption-chain", "steps": [MASKING, GAUSSIAN]},
}
KINDS = ("squared-error", "cross-entropy")

# mean and variance of one input value v, written out
MOMENTS = {
    "gaussian": lambda v: (v, 0.16),
    "masking": lambda v: (0.7 * v, 0.7 * v**2 - (0.7 * v) ** 2),
    "salt-and-pepper": lambda v: (0.8 * v + 0.1, 0.8 * v**2 + 0.1 - (0.8 * v + 0.1) ** 2),
    "chain": lambda v: (0.7 * v, 0.7 * v**2 - (0.7 * v) ** 2 + 0.16),
}


def error(kind, r, x):
    return ((r - x) ** 2).sum() if kind == "squared-error" else -(x * np.log(r) + (1 - x) * np.log(1 - r)).sum()


def brute_force(model, kind, name, batch):
    """Mean of L(x, r(μ)) - L(x, r(x)) + tr(K J C Jᵀ) with every matrix explicit; K is half the Hessian of L by o."""
    total, r = 0.0, as_map(model.encode, model.decode)
    for x in batch.numpy():
        mean, variance = (np.array(part) for part in zip(*(MOMENTS[name](v) for v in x), strict=True))
        if kind == "squared-error":
            J, K = jacobian(r, mean), np.eye(len(x))
        else:
            J, K = jacobian(as_map(model.encode, model.decode[:-1]), mean), np.diag(r(mean) * (1 - r(mean)) / 2)
        total += error(kind, r(mean), x) - error(kind, r(x), x) + np.trace(K @ J @ np.diag(variance) @ J.T)
    return total / len(batch)


def term(model, kind, of, batch, weight=1.0, streams=None):
    twin = Twin(weight=weight, of=of)
    twin.kind = kind
    return twin.penalty_terms(model=model, clean=batch, epoch=1, streams=streams or Streams(0))["twin"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("hidden", [[4], [5, 3]], ids=["Gram matrices", "dense"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_term_is_that_of_explicit_matrices(trained, batch, kind, name, hidden, tied):
    model = trained(hidden, "tanh", tied)
    found = term(model, kind, CORRUPTIONS[name], batch, weight=0.7)
    assert_allclose(found.item(), 0.7 * brute_force(model, kind, name, batch), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gaussian", "masking"])
@pytest.mark.parametrize("hidden", [[4], [5, 3]], ids=["Gram matrices", "dense"])
def test_gradient_by_central_differences(trained, batch, kind, name, hidden):
    model = trained(hidden)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(term(model, kind, CORRUPTIONS[name], batch), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        expected = parameter_gradient(lambda: term(model, kind, CORRUPTIONS[name], batch).item(), parameter)
        assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_gaussian_twin_is_the_reconstruction_contractive_penalty(trained, batch):
    import caelab

    for hidden in ([4], [5, 3]):
        model = trained(hidden)
        norm = mean_squared_norm(caelab.jacobian(nn.Sequential(model.encode, model.decode), batch))
        assert_allclose(term(model, "squared-error", GAUSSIAN, batch).item(), 0.16 * norm.item(), rtol=1e-12)


def test_weights_on_rows_and_columns(trained, batch):
    model, rng = trained([4]), np.random.default_rng(0)
    rows, columns = (torch.from_numpy(rng.random(batch.shape)) for _ in range(2))
    outputs = output_map("squared-error", model)
    found = weighted_squared_norm(outputs, batch, rows, columns).detach()
    for x, w, c, norm in zip(batch.numpy(), rows.numpy(), columns.numpy(), found, strict=True):
        J = jacobian(as_map(model.encode, model.decode), x)
        expected = sum(w[k] * c[i] * J[k, i] ** 2 for k in range(7) for i in range(7))
        assert norm.item() == pytest.approx(expected, rel=1e-12)
    assert_allclose(weighted_squared_norm(lambda v: outputs(v), batch, rows, columns).detach(), found, rtol=1e-12)


def test_pieces_of_a_batch_give_the_same_term_and_gradient(trained, batch, monkeypatch):
    model = trained([4])
    weight = model.encode[0].weight
    whole = term(model, "squared-error", MASKING, batch)
    (gradient,) = torch.autograd.grad(whole, weight)
    monkeypatch.setattr(twins, "budget_in_bytes", lambda *_: 2 * 5 * 8 * 4 * (7 + 7 + 8))
    parted = term(model, "squared-error", MASKING, batch)
    assert_allclose(parted.item(), whole.item(), rtol=1e-12)
    assert_allclose(torch.autograd.grad(parted, weight)[0], gradient, rtol=1e-10)


def test_total_of_a_linear_map_is_the_mean_error_of_denoising(trained, batch):
    """L(x, r(x)) + twin is E L(x, r(x̃)) exactly where the error is quadratic in x̃, however strong the corruption."""
    model = trained([4], "identity")
    model.decode[-1] = nn.Identity()
    twin = term(model, "squared-error", MASKING, batch).item()
    copies = corrupted_copies(Twin(weight=1.0, of=MASKING).corruption, batch, 20_000, 1, Streams(0))
    with torch.no_grad():
        errors = (model(copies.flatten(0, 1)).reshape(copies.shape) - batch).square().sum(dim=2).mean(dim=1)
        clean = (model(batch) - batch).square().sum(dim=1).mean()
    assert abs((errors.mean() - clean).item() - twin) < 4 * errors.std().item() / 20_000**0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_declared_moments_are_those_written_out(batch, name):
    mean, variance = declared_moments(Twin(weight=1.0, of=CORRUPTIONS[name]).corruption, batch)
    expected = np.vectorize(MOMENTS[name])(batch.numpy())
    assert_allclose(mean, expected[0], rtol=1e-12)
    assert_allclose(variance, np.broadcast_to(expected[1], batch.shape), rtol=1e-12)


@dataclass(eq=False)
class Brightness:
    """x̃ = x + s u with one u ~ N(0, 1) for all inputs of an example: fully correlated, and it declares nothing."""

    s: float = 0.3

    @hookimpl
    def corrupt_input(self, clean, streams):
        u = torch.randn((len(clean), 1), generator=streams["brightness"], dtype=clean.dtype)
        return clean + self.s * u


@pytest.fixture
def brightness(monkeypatch):
    offer = Offer("regularizer", "brightness", "someone", Brightness)
    monkeypatch.setitem(catalogue().offers, ("regularizer", "brightness"), offer)


@pytest.mark.parametrize("kind", KINDS)
def test_second_order_of_copies_knows_their_correlation(trained, batch, kind):
    """C = s² 1 1ᵀ: tr(K J C Jᵀ) = s² Σ_k K_k (Σ_i J_ki)², which no diagonal covariance gives."""
    model = trained([4])
    copies = corrupted_copies(Brightness(), batch, 6000, 1, Streams(0))
    found = second_order_of_copies(model, kind, copies).detach()
    for x, one in zip(batch.numpy(), found, strict=True):
        r = as_map(model.encode, model.decode)(x)
        steps = model.decode if kind == "squared-error" else model.decode[:-1]
        K = np.ones(7) if kind == "squared-error" else r * (1 - r) / 2
        expected = 0.09 * (K * jacobian(as_map(model.encode, steps), x).sum(axis=1) ** 2).sum()
        assert one.item() == pytest.approx(expected, rel=0.08)  # χ² of 6000 draws: 1.8 %, four times
    diagonal = second_order(model, kind, batch, torch.full_like(batch, 0.09))
    assert (diagonal / found - 1).abs().max() > 0.3


def test_copies_of_a_known_corruption_agree_with_its_declared_moments(trained, batch):
    model, corruption = trained([4]), Twin(weight=1.0, of=MASKING).corruption
    copies = corrupted_copies(corruption, batch, 8000, 1, Streams(0))
    drawn = second_order_of_copies(model, "squared-error", copies).detach()
    declared = second_order(model, "squared-error", *declared_moments(corruption, batch)).detach()
    assert_allclose(drawn, declared, rtol=0.08)


def test_few_copies_have_no_bias_for_a_linear_map(batch):
    """L at the copies' own mean and their own spread together: E is that of the corruption, however few copies."""
    model = nn.Module()
    model.encode, model.decode = nn.Linear(7, 3).double(), nn.Linear(3, 7).double()
    with torch.no_grad():
        many = corrupted_copies(Brightness(), batch, 40_000, 1, Streams(0))
        expected = (model.decode(model.encode(many)) - batch).square().sum(dim=2).mean()
        found = []
        for pair in many.reshape(20_000, 2, *batch.shape)[:3000]:
            at_mean = (model.decode(model.encode(pair.mean(dim=0))) - batch).square().sum(dim=1)
            found.append((at_mean + second_order_of_copies(model, "squared-error", pair)).mean())
    found = torch.stack(found)
    assert abs(found.mean() - expected) < 5 * found.std() / 3000**0.5


@pytest.mark.usefixtures("brightness")
def test_a_corruption_that_declares_nothing_is_drawn_from_streams_of_the_twins_own(trained, batch):
    model, streams = trained([4]), Streams(0)
    first, second = (term(model, "squared-error", {"kind": "brightness"}, batch, streams=streams) for _ in range(2))
    assert first.isfinite()
    assert first != second
    assert streams.state().keys() == {"twin: brightness"}


@pytest.mark.usefixtures("brightness")
def test_a_chain_with_a_step_that_declares_nothing_is_drawn_from(trained, batch):
    chain = {"kind": "corruption-chain", "steps": [{"kind": "brightness", "s": 1e-6}, MASKING]}
    twin = Twin(weight=1.0, of=chain)
    assert declared_moments(twin.corruption, batch) is None
    shift, spread = twin.parts(trained([4]), "squared-error", batch, 1, Streams(0))
    expected = second_order(trained([4]), "squared-error", 0.7 * batch, 0.21 * batch.square())
    assert_allclose(spread.sum().item(), expected.sum().item(), rtol=0.5)
    assert shift.isfinite().all()


def test_the_runs_loss_is_taken(trained, batch):
    """Trained under cross-entropy, the term in the history is that of cross-entropy."""
    config = recipe_config(
        "ae",
        ["model.hidden=[9]", "training.epochs=1", "training.batch_size=300", "training.learning_rate=1e-9"],
        dataset={"kind": "digits", "splits": [300, 60, 100]},
        regularizers={"twin": {"weight": 1.0, "of": MASKING}},
    )
    run = train(config)
    model, clean = run.model.double(), run.dataset.train_inputs.double()
    expected = term(model, "cross-entropy", MASKING, clean).item()
    assert run.metrics[0]["train_twin"] == pytest.approx(expected, rel=1e-4)
    assert term(model, "squared-error", MASKING, clean).item() != pytest.approx(expected, rel=0.1)


def test_logits_are_those_of_the_loss(trained, batch):
    model = trained([4])
    mean = 0.7 * batch
    logits = output_map("cross-entropy", model)(mean)
    assert_allclose(torch.sigmoid(logits).detach(), model(mean).detach(), rtol=1e-12)
    assert_allclose(
        cross_entropy(logits, batch).detach(), cross_entropy(model.logits(model.encode(mean)), batch).detach()
    )


@pytest.mark.parametrize(
    ("of", "complaint"),
    [
        ({"p": 0.3}, "twin.of expects a mapping with a kind"),
        ({"kind": "masking"}, r"twin.of.p is missing"),
        ({"kind": "masking", "p": 2}, r"twin.of.p: .* but 2 came"),
        ({"kind": "maskin", "p": 0.3}, "did you mean 'masking'"),
        ({"kind": "weight-decay", "weight": 1.0}, "'weight-decay' does not corrupt"),
    ],
    ids=["no kind", "missing", "impossible", "misspelt", "no corruption"],
)
def test_a_wrong_corruption_is_refused_in_the_config(of, complaint):
    with pytest.raises(CaelabError, match=complaint):
        recipe_config("ae", regularizers={"twin": {"weight": 1.0, "of": of}})


def test_settings_reach_into_the_corruption():
    config = recipe_config("ae", ["twin.weight=1", "twin.of={kind: masking, p: 0.3}", "twin.of.p=0.5"])
    assert config.regularizers["twin"].options == {"weight": 1.0, "of": {"kind": "masking", "p": 0.5}}
