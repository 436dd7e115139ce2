"""The trace of a square Jacobian, exact and estimated, and what intervals of estimates promise."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.estimates import mean_of
from caelab.jacobian.service import jacobian
from tests.core.jacobian.references import dense_jacobian, parameter_gradients

WIDTHS = {"one layer": [6, 6], "two layers": [6, 9, 6], "three layers": [6, 4, 7, 6]}
METHODS = ("hutchinson", "hutch++")


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[*WIDTHS, "opaque"])
def case(request):
    torch.manual_seed(2)
    widths = WIDTHS.get(request.param, WIDTHS["two layers"])
    steps = [s for a, b in pairwise(widths) for s in (nn.Linear(a, b), nn.Tanh())]
    encode = nn.Sequential(*steps).double()
    inputs = torch.rand(5, 6, dtype=torch.float64)
    return encode, (lambda x: encode(x)) if request.param == "opaque" else encode, inputs


@pytest.mark.parametrize("budget", [None, 2_000], ids=["at once", "in pieces"])
def test_the_exact_trace_and_its_gradient(case, budget):
    encode, asked, inputs = case
    dense = dense_jacobian(encode, inputs)
    budget = budget if budget is None else 4 * jacobian(asked, inputs).strategy.bytes_per_product()
    found = jacobian(asked, inputs, memory_budget=budget).trace()
    assert_close(found.detach(), dense.diagonal(dim1=1, dim2=2).sum(1).detach(), rtol=1e-12, atol=1e-14)
    scale = torch.linspace(0.5, 1.5, len(inputs), dtype=torch.float64)
    mine = torch.autograd.grad((found * scale).sum(), list(encode.parameters()), materialize_grads=True)

    def by_rows():
        return float((dense_jacobian(encode, inputs).diagonal(dim1=1, dim2=2).sum(1) * scale).sum())

    for found, expected in zip(mine, parameter_gradients(by_rows, list(encode.parameters())), strict=True):
        assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_estimates_are_unbiased_and_their_error_is_their_own(case, method):
    encode, asked, inputs = case
    exact = dense_jacobian(encode, inputs).diagonal(dim1=1, dim2=2).sum(1)
    generator, many = draws(), inputs[:1].expand(4000, -1)
    found = jacobian(asked, many).estimated_trace(12 if method == "hutchinson" else 9, method, generator)
    value, error = found.value.detach(), found.standard_error
    assert found.freedom == (11 if method == "hutchinson" else 2)
    spread = float(value.std())
    assert abs(float(value.mean() - exact[0])) < 4 * spread / 4000**0.5
    assert_close(float(error.square().mean().sqrt()), spread, rtol=0.1, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_an_estimate_is_unbiased(case, method):
    encode, asked, inputs = case
    many = inputs[:1].expand(3000, -1)
    weight = encode[0].weight
    (found,) = torch.autograd.grad(jacobian(asked, many).trace(6, method, draws()).mean(), weight)
    (expected,) = torch.autograd.grad(jacobian(encode, inputs[:1]).trace().sum(), weight)
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max()) + 0.02


@pytest.mark.parametrize("method", METHODS)
def test_an_estimate_and_its_gradient_do_not_depend_on_the_budget(case, method):
    encode, asked, inputs = case
    few = 40 * jacobian(asked, inputs).strategy.bytes_per_product()
    parameters = list(encode.parameters())
    both = []
    for budget in (None, few):
        value = jacobian(asked, inputs, memory_budget=budget).trace(9, method, draws())
        both.append([value.detach(), *torch.autograd.grad(value.sum(), parameters, materialize_grads=True)])
    for one, other in zip(*both, strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_hutch_plus_plus_is_exact_where_its_basis_holds_the_range():
    torch.manual_seed(0)
    layer = nn.Linear(40, 40).double()
    layer.weight.data.copy_(torch.rand(40, 3).double() @ torch.rand(3, 40).double())
    j = jacobian(layer, torch.rand(4, 40, dtype=torch.float64))
    found, plain = (j.estimated_trace(15, method, draws()) for method in ("hutch++", "hutchinson"))
    assert_close(found.value.detach(), j.trace().detach(), rtol=1e-10, atol=0)
    assert (found.standard_error < 1e-9).all()
    assert (plain.standard_error > 1).all()
    assert_close(j.estimated_trace(300, "hutch++", draws()).value.detach(), j.trace().detach(), rtol=1e-10, atol=0)


def test_a_zero_jacobian_has_trace_zero():
    layer = nn.Linear(5, 5).double()
    layer.weight.data.zero_()
    j = jacobian(layer, torch.rand(2, 5, dtype=torch.float64))
    for value in (j.trace(), j.trace(4), j.trace(6, "hutch++")):
        assert_close(value.detach(), torch.zeros(2, dtype=torch.float64))


def test_the_error_stands_beside_the_value_and_an_exact_answer_has_none(case):
    _, asked, inputs = case
    j = jacobian(asked, inputs)
    plain = j.method
    value, estimate = j.trace(4, generator=draws()), j.estimated_trace(4, generator=draws())
    assert torch.equal(value, estimate.value)
    assert torch.equal(j.standard_error, estimate.standard_error)
    assert j.method == f"estimate ({plain})"
    j.trace()
    assert (j.method, j.standard_error) == (plain, None)


REFUSED = {
    "not square": (lambda j, _: j.trace(), "expected a square Jacobian .* the code has 4 entries and the input 6"),
    "not square, estimated": (lambda j, _: j.trace(3), "expected a square Jacobian"),
    "no samples": (lambda _, j: j.trace(0), "whole number of samples, at least 1, but 0 came"),
    "half a sample": (lambda _, j: j.trace(1.5), "whole number of samples, at least 1, but 1.5 came"),
    "two for Hutch++": (lambda _, j: j.trace(2, "hutch++"), "whole number of samples, at least 3, but 2 came"),
    "another method": (lambda _, j: j.trace(2, "hutch"), r"the method hutchinson or hutch\+\+ .* but 'hutch' came"),
    "a level of 95": (lambda _, j: j.estimated_trace(2).interval(95), "level .* between 0 and 1, .* but 95 came"),
}


@pytest.mark.parametrize(("ask", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(ask, said):
    inputs = torch.rand(2, 6)
    with pytest.raises(CaelabError, match=said) as error:
        ask(jacobian(nn.Linear(6, 4), inputs), jacobian(nn.Linear(6, 6), inputs))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("samples", [2, 3, 4, 16])
def test_intervals_of_normal_samples_hold_the_truth_as_often_as_they_say(samples):
    trials = 40_000
    estimate = mean_of(3 + torch.randn(trials, samples, generator=draws(samples), dtype=torch.float64))
    for level in (0.5, 0.95):
        lower, upper = estimate.interval(level)
        share = float(((lower <= 3) & (upper >= 3)).double().mean())
        assert abs(share - level) < 4 * (level * (1 - level) / trials) ** 0.5
    half = 1.96 * estimate.standard_error
    normal = float(((estimate.value - 3).abs() <= half).double().mean())
    assert (normal < 0.75) == (samples == 2)  # 70 %, not 95


def test_intervals_of_projections_of_a_wide_jacobian_hold_its_norm_and_its_trace():
    torch.manual_seed(0)
    layer = nn.Linear(64, 64).double()
    j = jacobian(layer, torch.rand(1, 64, dtype=torch.float64).expand(4000, -1))
    for exact, estimate in (
        (layer.weight.square().sum(), j.estimated_squared_norm(2, draws())),
        (layer.weight.trace(), j.estimated_trace(2, generator=draws())),
    ):
        lower, upper = estimate.interval()
        assert 0.935 < float(((lower <= exact) & (exact <= upper)).double().mean()) < 0.965
        normal = (estimate.value - exact).abs() <= 1.96 * estimate.standard_error
        assert float(normal.double().mean()) < 0.75


def test_one_sample_has_no_interval():
    j = jacobian(nn.Linear(6, 6), torch.rand(2, 6))
    assert all(end.isnan().all() for end in j.estimated_trace(1).interval())
    assert all(end.isnan().all() for end in j.estimated_trace(3, "hutch++").interval())
