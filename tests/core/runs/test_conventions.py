"""A converted weight trains to the weights of the code that it comes from, written out here as its authors would.

The other code is a tied auto-encoder, plain SGD and torch's autograd in float64, nothing of caelab's; caelab's is its
model, its reconstruction error and its Jacobian.
"""

import re
from itertools import product

import numpy as np
import pytest
import torch
from torch.func import jacrev, vmap
from torch.nn import functional as F

import caelab
from caelab import CaelabError, convert_weight, jacobian
from caelab.cli.main import main
from caelab.models.autoencoder import autoencoder
from caelab.models.reconstruction import reconstruction_error
from caelab.runs.conventions import PENALTIES, RECONSTRUCTIONS
from tests.test_docs import ROOT

D, M, BATCH, STEPS, RATE, LAMBDA = 6, 4, 5, 6, 0.05, 0.7
SIZES = {"inputs": D, "units": M, "batch_size": BATCH}


def start():
    """Weight (M, D), bias of the code (M,), bias of the reconstruction (D,)."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((M, D), (M,), (D,))
    return [torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(BATCH, D, generator=generator, dtype=torch.float64) for _ in range(STEPS)]


def jacobians(W, b, x):
    return vmap(jacrev(lambda one: torch.sigmoid(W @ one + b)))(x)


def floored_mean(J):
    return torch.div((J**2).sum(), len(J), rounding_mode="floor")


THEIR_PENALTIES = {
    "caelab": lambda J: (J**2).sum(dim=(1, 2)).mean(),
    "half": lambda J: 0.5 * torch.linalg.matrix_norm(J).pow(2).mean(),
    "mean-over-units": lambda J: (J**2).sum(dim=2).mean(),
    "mean-over-inputs": lambda J: (J**2).sum(dim=1).mean(),
    "mean-over-entries": lambda J: F.mse_loss(J, torch.zeros_like(J)),
    "sum-over-batch": lambda J: torch.sum(J**2),
    "alain-2012": lambda J: (J**2).sum() / len(J),
    "theano-tutorial": floored_mean,
}

THEIR_ERRORS = {
    "cross-entropy": {
        "caelab": lambda r, x: -(x * r.log() + (1 - x) * (1 - r).log()).sum(dim=1).mean(),
        "mean-over-inputs": F.binary_cross_entropy,
        "sum-over-batch": lambda r, x: F.binary_cross_entropy(r, x, reduction="sum"),
    },
    "squared-error": {
        "caelab": lambda r, x: ((r - x) ** 2).sum(dim=1).mean(),
        "mean-over-inputs": F.mse_loss,
        "sum-over-batch": lambda r, x: F.mse_loss(r, x, reduction="sum"),
        "half": lambda r, x: 0.5 * ((r - x) ** 2).sum() / len(x),
    },
}

PAIRS = [
    (penalty, kind, error)
    for penalty, (kind, errors) in product(THEIR_PENALTIES, THEIR_ERRORS.items())
    for error in errors
]


def theirs(penalty, error, rate=RATE, weight=LAMBDA):
    """The weights that the other code trains."""
    W, b, c = start()
    for x in batches():
        r = torch.sigmoid(torch.sigmoid(x @ W.T + b) @ W + c)
        loss = error(r, x) + weight * penalty(jacobians(W, b, x))
        gradients = torch.autograd.grad(loss, (W, b, c))
        with torch.no_grad():
            for parameter, gradient in zip((W, b, c), gradients, strict=True):
                parameter -= rate * gradient
    return [parameter.detach() for parameter in (W, b, c)]


def ours(kind, weight, rate):
    """The weights that caelab's loss trains."""
    model = autoencoder(D, hidden=[M]).double()
    W, b, c = (parameter.detach() for parameter in start())
    with torch.no_grad():
        model.encode[0].weight.copy_(W)
        model.encode[0].bias.copy_(b)
        model.decode[0].bias.copy_(c)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for x in batches():
        optimizer.zero_grad()
        error = reconstruction_error(kind, model, model.encode(x), x).mean()
        (error + weight * jacobian(model.encode, x).squared_norm().mean()).backward()
        optimizer.step()
    return [p.detach() for p in (model.encode[0].weight, model.encode[0].bias, model.decode[0].bias)]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)  # rounding of six steps in float64


def differ(some, others):
    return any((one - other).abs().max() > 1e-4 for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize(("penalty", "kind", "error"), PAIRS)
def test_both_train_to_the_same_weights(penalty, kind, error):
    found = convert_weight(LAMBDA, penalty, error, **SIZES)
    there = theirs(THEIR_PENALTIES[penalty], THEIR_ERRORS[kind][error])
    assert_same(ours(kind, found.weight, RATE * found.learning_rate_factor), there)
    if (penalty, error) not in (("caelab", "caelab"), ("alain-2012", "caelab")):
        assert differ(ours(kind, LAMBDA, RATE), there)  # unconverted they do not


def test_every_convention_is_among_them():
    assert {*THEIR_PENALTIES, "rifai-2012"} == {*PENALTIES}
    assert {error for _, _, error in PAIRS} == {*RECONSTRUCTIONS}


def rifai_2012():
    """A script with the gradient of the penalty by hand, where the 2 of the square was left out; and what it prints."""
    W, b, c = (parameter.detach() for parameter in start())
    printed = []
    for x in batches():
        h = torch.sigmoid(x @ W.T + b)
        r = torch.sigmoid(h @ W + c)
        slope = h * (1 - h)
        printed.append(float((slope**2 @ (W**2).sum(dim=1)).mean()))
        at_output = (r - x) / len(x)
        at_code = at_output @ W.T * slope
        penalty_at_code = slope**2 * (1 - 2 * h) * (W**2).sum(dim=1) / len(x)
        penalty_at_weight = (slope**2).mean(dim=0)[:, None] * W + penalty_at_code.T @ x
        W = W - RATE * (h.T @ at_output + at_code.T @ x + LAMBDA * penalty_at_weight)
        b = b - RATE * (at_code.sum(dim=0) + LAMBDA * penalty_at_code.sum(dim=0))
        c = c - RATE * at_output.sum(dim=0)
    return [W, b, c], printed


def test_the_authors_script_prints_the_penalty_and_applies_half_its_gradient():
    there, printed = rifai_2012()
    found = convert_weight(LAMBDA, "rifai-2012")
    assert (found.weight, found.learning_rate_factor) == (LAMBDA / 2, 1)
    assert_same(ours("cross-entropy", found.weight, RATE), there)
    assert differ(ours("cross-entropy", LAMBDA, RATE), there)
    W, b, _ = (parameter.detach() for parameter in start())
    assert printed[0] == pytest.approx(float((jacobians(W, b, batches()[0]) ** 2).sum(dim=(1, 2)).mean()), rel=1e-12)
    assert convert_weight(0.1, "rifai-2012").weight == 0.05


def test_several_conventions_at_once_multiply():
    def halved_sum_over_units(J):
        return 0.5 * (J**2).sum(dim=2).mean(dim=1).sum()

    def sum_of_means(r, x):
        return F.mse_loss(r, x, reduction="none").mean(dim=1).sum()

    found = convert_weight(
        LAMBDA, ["half", "mean-over-units", "sum-over-batch"], ("mean-over-inputs", "sum-over-batch"), **SIZES
    )
    there = theirs(halved_sum_over_units, sum_of_means)
    assert_same(ours("squared-error", found.weight, RATE * found.learning_rate_factor), there)


def test_momentum_keeps_the_same_factor_and_adam_needs_none():
    """A loss times a constant: SGD with momentum takes it in the rate, and Adam divides it out."""
    found = convert_weight(LAMBDA, "sum-over-batch", "sum-over-batch", **SIZES)
    assert (found.weight, found.learning_rate_factor) == (LAMBDA, BATCH)

    def trained(optimizer, scale, **options):
        parameters = [parameter.detach().requires_grad_() for parameter in start()]
        steps = optimizer(parameters, **options)
        W, b, c = parameters
        for x in batches():
            steps.zero_grad()
            r = torch.sigmoid(torch.sigmoid(x @ W.T + b) @ W + c)
            (
                scale * (((r - x) ** 2).sum(dim=1).mean() + LAMBDA * THEIR_PENALTIES["caelab"](jacobians(W, b, x)))
            ).backward()
            steps.step()
        return [p.detach() for p in parameters]

    factor = found.learning_rate_factor
    assert_same(
        trained(torch.optim.SGD, factor, lr=RATE, momentum=0.9),
        trained(torch.optim.SGD, 1, lr=RATE * factor, momentum=0.9),
    )
    one, other = (trained(torch.optim.Adam, scale, lr=RATE, eps=0) for scale in (1, factor))
    assert_same(one, other)


@pytest.mark.parametrize(("penalty", "error"), [
    ("rifai-2012", "caelab"), ("sum-over-batch", "mean-over-inputs"), ("mean-over-entries", "sum-over-batch"),
])  # fmt: skip
def test_a_whole_run_trains_to_the_weights_of_the_other_code(penalty, error, tmp_path):
    """caelab's training from a config, every batch all the data, in float32."""
    x = np.random.default_rng(0).random((20, D)).astype(np.float32)
    config = caelab.recipe_config(
        "cae", ["model.hidden=[4]", "training.optimizer=sgd", "training.batch_size=12"]
    ).as_dict()
    sizes = {"inputs": D, "units": M, "batch_size": 12}
    found = convert_weight(LAMBDA, penalty, error, **sizes)

    def run(epochs):
        asked = {**config, "training": {**config["training"], "epochs": epochs, "patience": None,
                 "learning_rate": RATE / 3 * found.learning_rate_factor},
                 "regularizers": {"contractive": {"weight": found.weight}}}  # fmt: skip
        return caelab.train(asked, dataset=x, splits=(12, 4, 4))

    before, after = run(0), run(5)
    W, b, c = (p.detach().double().requires_grad_() for p in parameters_of(before))
    data = before.dataset.train_inputs.double()
    their_penalty = THEIR_PENALTIES.get(penalty, lambda J: 0.5 * (J**2).sum(dim=(1, 2)).mean())
    for _ in range(5):
        r = torch.sigmoid(torch.sigmoid(data @ W.T + b) @ W + c)
        loss = THEIR_ERRORS["cross-entropy"][error](r, data) + LAMBDA * their_penalty(jacobians(W, b, data))
        gradients = torch.autograd.grad(loss, (W, b, c))
        W, b, c = (
            (p - RATE / 3 * gradient).detach().requires_grad_()
            for p, gradient in zip((W, b, c), gradients, strict=True)
        )
    for one, other, first in zip(parameters_of(after), (W, b, c), parameters_of(before), strict=True):
        torch.testing.assert_close(one.double(), other.detach(), rtol=1e-4, atol=1e-5)  # float32 against float64
        assert (one - first).abs().max() > 1e-4


def parameters_of(run):
    model = run.model
    return [p.detach() for p in (model.encode[0].weight, model.encode[0].bias, model.decode[0].bias)]


def test_the_documentation_tells_every_convention_and_what_becomes_of_lambda():
    page = (ROOT / "docs" / "theory" / "which-lambda.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| `([^`]+)` \| `([^`]+)` \|$", page, re.MULTILINE)
    told = [name for name, _, _ in rows]
    assert told == [*PENALTIES, *RECONSTRUCTIONS]
    values = {"λ": LAMBDA, "d": 784, "m": 1000, "B": 20, "rate": RATE}
    for place, (name, weight, rate) in enumerate(rows):
        names = (name, "caelab") if place < len(PENALTIES) else ("caelab", name)
        found = convert_weight(LAMBDA, *names, inputs=784, units=1000, batch_size=20)
        assert eval(weight, {}, values) == pytest.approx(found.weight, rel=1e-12)
        assert eval(rate, {}, values) == pytest.approx(RATE * found.learning_rate_factor, rel=1e-12)


class TestWrongInput:
    @pytest.mark.parametrize(("given", "told"), [
        (((-1.0,), {}), r"finite number of at least 0, but -1\.0 came"),
        (((float("nan"),), {}), "but nan came"),
        (((True,), {}), "but True came"),
        (((0.1, "haf"), {}), "unknown convention of the penalty 'haf'; did you mean 'half'"),
        (((0.1, "caelab", "mean"), {}), "unknown convention of the reconstruction 'mean'"),
        (((0.1, ("half", "half")), {}), "'half' of the penalty came twice"),
        (((0.1, 3), {}), "the conventions of the penalty as a list, but 3 came"),
        (((0.1, "mean-over-units"), {}), r"depends on the number of units of the code; give it: units=N.*--units N"),
        (((0.1, "sum-over-batch"), {"units": 3}), r"depends on the batch size.*--batch-size N"),
        (((0.1, "mean-over-units"), {"units": 0}), "whole number of at least 1, but 0 came"),
        (((0.1, "norm"), {}), "cannot be converted by a constant"),
        (((1e308, "caelab", "mean-over-inputs"), {"inputs": 784}), r"1e\+308 times the factor .* is too large"),
        (((1.0, "caelab", "mean-over-inputs"), {"inputs": 10**400}), "1 times the factor .* is too large for a number"),
        (((0.0, "sum-over-batch", "sum-over-batch"), {"batch_size": 10**400}), "is too large for a number"),
    ], ids=lambda value: str(value)[:60])  # fmt: skip
    def test_it_is_one_sentence(self, given, told):
        positions, options = given
        with pytest.raises(CaelabError, match=told):
            convert_weight(*positions, **options)

    def test_the_norm_itself_is_converted_by_no_constant(self):
        """The ratio of the gradients of ‖J‖_F and ‖J‖_F² is another one at other weights."""
        W, b, _ = start()
        ratios = []
        for scale in (1.0, 3.0):
            J = jacobians(scale * W, b, batches()[0])
            norm = torch.autograd.grad(torch.linalg.matrix_norm(J).mean(), b, retain_graph=True)[0]
            squared = torch.autograd.grad((J**2).sum(dim=(1, 2)).mean(), b)[0]
            ratios.append(norm / squared)
        assert (ratios[0] / ratios[1] - 1).abs().max() > 0.1


class TestCommand:
    def said(self, capsys, *words):
        with pytest.raises(SystemExit) as stopped:
            main(("convert-weight", *words))
        found = capsys.readouterr()
        return stopped.value.code, found.out, found.err

    def test_it_says_what_to_set(self, capsys):
        status, out, _ = self.said(capsys, "0.1", "--penalty", "rifai-2012", "--learning-rate", "0.1")
        assert status == 0
        assert out.splitlines() == [
            "weight: 0.05",
            "learning rate of SGD: times 1",
            "settings: --set contractive.weight=0.05 --set training.optimizer=sgd --set training.learning_rate=0.1",
        ]

    def test_sizes_and_several_names_are_taken(self, capsys):
        words = (
            "--penalty sum-over-batch --penalty half --reconstruction mean-over-inputs --inputs 784 --batch-size 100"
        )
        _, out, _ = self.said(capsys, "1e-4", *words.split())
        assert out.splitlines()[0] == "weight: 3.92"
        assert "note: it trains a plain auto-encoder" in self.said(capsys, "1", "--penalty", "theano-tutorial")[1]

    def test_without_a_weight_it_lists_what_is_known(self, capsys):
        status, out, _ = self.said(capsys)
        assert status == 0
        names = [line.split("\t")[1] for line in out.splitlines()[1:]]
        assert names == [*PENALTIES, *RECONSTRUCTIONS, "norm"]

    @pytest.mark.parametrize("words", [
        ("x",), ("0.1", "--penalty", "norm"), ("0.1", "--penalty", "haf"), ("nan",), ("1", "--units", "0"),
        ("1", "--learning-rate", "nan"), ("1", "--penalty", "mean-over-units"), ("--penalty", "half"),
        ("--inputs", "784"), ("--learning-rate", "0.1"),
    ], ids=str)  # fmt: skip
    def test_wrong_input_is_one_sentence_and_status_2(self, capsys, words):
        status, out, err = self.said(capsys, *words)
        assert status == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert out == ""
