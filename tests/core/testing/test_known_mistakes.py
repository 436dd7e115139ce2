"""Every historical mistake is caught and named; a mistake of one's own is caught and not named."""

import re
from functools import cache
from inspect import signature
from pathlib import Path

import pytest
import torch

from caelab import CaelabError
from caelab.testing import CheckFailed, check_penalty
from caelab.testing.mistakes.known import KNOWN_MISTAKES, gradient_of_the_summed_code, rows_of, squares
from caelab.testing.penalty.observing import expected_values, observe
from caelab.testing.penalty.quantities import CLAIMS, ENCODER, HESSIAN, RECONSTRUCTION, WEIGHTS, claim_named
from caelab.testing.regularizers import penalty_subject

PIECES = [(mistake, claim) for mistake in KNOWN_MISTAKES for claim in mistake.claims]


@cache
def report_on(mistake, claim):
    options = {"sigma": 0.1} if claim == HESSIAN else {}
    function = of_reconstruction(mistake.function) if claim == RECONSTRUCTION else mistake.function
    return check_penalty(function, claim, options=options, raises=False)


def of_reconstruction(function):
    """The same mistake about r = g∘f, as a script would make it."""
    if "corrupted" in signature(function).parameters:
        return lambda reconstruct, corrupted: function(reconstruct, corrupted)
    return lambda reconstruct, inputs: function(reconstruct, inputs)


@pytest.mark.parametrize(("mistake", "claim"), PIECES, ids=lambda x: getattr(x, "name", x))
def test_every_mistake_is_caught_and_named(mistake, claim):
    report = report_on(mistake, claim)
    assert report.mistakes == [mistake.name]
    (row,) = (check for check in report.checks if check.name == "known mistake")
    assert row.verdict == "failed"
    assert row.found == mistake.name
    assert row.remedy == mistake.explanation


@pytest.mark.parametrize("setting", [
    "random initialisation", "after training", "identical weight rows", "one huge row", "tanh", "relu", "softplus",
    "identity", "untied weights", "two layers", "corrupted input", "BatchNorm in training mode",
    "dropout in training mode",
])  # fmt: skip
def test_every_value_has_a_known_mistake_that_fails_it(setting):
    assert any(f"value: {setting}" in {check.name for check in report_on(*piece).failures} for piece in PIECES)


def test_each_mistake_is_seen_where_it_shows_and_only_there():
    failures = {
        mistake.name: {c.name for c in report_on(mistake, ENCODER).failures}
        for mistake, claim in PIECES
        if claim == ENCODER
    }
    values = {name: {row for row in rows if row.startswith("value")} for name, rows in failures.items()}
    modes = {"value: BatchNorm in training mode", "value: dropout in training mode"}
    assert values["BatchNorm in training mode"] == modes
    assert values["penalty at the corrupted point"] == modes | {"value: corrupted input"}
    assert "value: random initialisation" not in values["frozen initial weights"]
    assert values["the sigmoid formula on other activations"] == {
        f"value: {a}" for a in ("tanh", "relu", "softplus", "identity")
    }
    assert values["detached weights"] == values["the sigmoid formula on other activations"]
    assert "gradient: after training" in failures["detached weights"]
    assert "gradient: not zero" in failures["integer division"]


@pytest.mark.parametrize("wrong", [
    lambda encode, x: 0.7 * squares(encode, x).mean(),
    lambda encode, x: squares(encode, x).sqrt().mean(),
    lambda encode, x: rows_of(encode, x).abs().sum(dim=(1, 2)).mean(),
    lambda encode, x: squares(encode, x).mean() + 1e-6,
    lambda encode, x: (squares(encode, x).mean() + gradient_of_the_summed_code(encode, x)) / 2,
    lambda encode, x: torch.linalg.matrix_norm(rows_of(encode, x), ord=2).square().mean(),
], ids=["scaled", "norm", "absolute", "shifted", "blend", "spectral"])  # fmt: skip
def test_a_mistake_of_ones_own_fails_without_a_name(wrong):
    report = check_penalty(wrong, ENCODER, raises=False)
    assert not report.passed
    assert report.mistakes == []
    assert any(check.name == "known mistake" and check.verdict == "reported" for check in report.checks)


def test_the_right_formula_beside_a_refusal_passes_and_no_mistake_is_named():
    def right(model, x):
        if any(isinstance(module, (torch.nn.BatchNorm1d, torch.nn.Dropout)) for module in model.modules()):
            raise CaelabError("no Jacobian per example")
        return squares(model.encode, x).mean()

    assert check_penalty(right, ENCODER).mistakes == []


def test_two_mistakes_at_once_are_both_named():
    def summed(W, h):
        return ((h * (1 - h)).square() @ W.square().sum(dim=1)).sum()

    report = check_penalty(summed, ENCODER, raises=False)
    (row,) = (check for check in report.checks if check.name == "known mistake")
    assert row.found == "the sigmoid formula on other activations, and sum over examples"
    assert report.mistakes == ["the sigmoid formula on other activations", "sum over examples"]


def test_a_weight_of_another_size_does_not_hide_a_mistake():
    report = check_penalty(
        lambda encode, x, lam: lam * squares(encode, x).mean() / 2, ENCODER, options={"lam": 0.5}, raises=False
    )
    assert report.mistakes == ["the factor ½"]


def test_weight_decay_from_a_script_passes():
    check_penalty(lambda model: sum(p.square().sum() for p in model.parameters() if p.ndim == 2), WEIGHTS)


@pytest.mark.parametrize("mistake", KNOWN_MISTAKES, ids=lambda mistake: mistake.name)
def test_the_docs_tell_every_mistake_with_a_number_that_is_computed(mistake):
    page = Path(__file__).parents[3].joinpath("docs/theory/known-mistakes.md").read_text()
    title = f"## {mistake.name[0].upper()}{mistake.name[1:]}\n"
    assert title in page
    section = page.split(title)[1].split("\n## ")[0]
    assert f":pyobject: {mistake.function.__name__}\n" in section
    printed, where = re.search(r"Found: \*\*([\d.]+)\*\* of what is claimed, (.*?) \(", section).groups()
    assert float(printed) == pytest.approx(ratio(mistake, where), rel=0.03, abs=1e-9)


def ratio(mistake, where):
    claim = claim_named(mistake.claims[0])
    function = of_reconstruction(mistake.function) if claim.name == RECONSTRUCTION else mistake.function
    subject = penalty_subject(function, claim.name, options={"sigma": 0.1} if claim.name == HESSIAN else {})
    (setting,) = (setting for setting in subject.settings if setting.name == where)
    return observe(subject, setting).mean / float(expected_values(subject, claim, setting).mean())


def test_unknown_names_are_refused_in_one_sentence():
    with pytest.raises(CaelabError, match="did you mean 'weight decay'"):
        claim_named("weigth decay")
    with pytest.raises(CaelabError, match=r"expected parameters that are named .* but 'foo' came"):
        check_penalty(lambda foo: foo)
    with pytest.raises(CaelabError, match=r"--set foo=VALUE on the command line, options=\{'foo': VALUE\} in Python"):
        check_penalty(lambda foo: foo)
    with pytest.raises(CaelabError, match="unknown activation 'sigmiod'; did you mean 'sigmoid'"):
        check_penalty(squares, ENCODER, activations=["sigmiod"])
    with pytest.raises(CheckFailed):
        check_penalty(squares, ENCODER)
    assert len(CLAIMS) >= 4
