import pytest
import torch
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from tests.core.jacobian.conftest import make_case


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", ["one layer", "wide code", "three layers"])
def test_the_estimate_is_unbiased_and_its_error_is_its_own(shape):
    case = make_case(shape, "sigmoid")
    exact = case.dense.square().sum(dim=(1, 2))
    for encode in (case.encode, case.hidden()):
        found, error, freedom = jacobian(encode, case.inputs).estimated_squared_norm(20_000, draws())
        assert freedom == 19_999
        assert (error < 0.05 * exact).all()
        assert ((found.detach() - exact).abs() < 4 * error).all()


def test_the_standard_error_is_the_spread_of_many_estimates():
    case = make_case("three layers", "tanh")
    j = jacobian(case.encode, case.inputs)
    generator = draws()
    found = [j.estimated_squared_norm(8, generator) for _ in range(3000)]
    estimates, errors = (
        torch.stack([each.value.detach() for each in found]),
        torch.stack([e.standard_error for e in found]),
    )
    assert_close(errors.square().mean(dim=0).sqrt(), estimates.std(dim=0), rtol=0.1, atol=0)


@pytest.mark.parametrize("shape", ["wide code", "three layers"])
def test_its_gradient_is_that_of_the_same_projections(shape):
    case = make_case(shape, "softplus")
    parameters = list(case.encode.parameters())
    found = [
        torch.autograd.grad(jacobian(e, case.inputs).squared_norm(3, draws()).sum(), parameters, materialize_grads=True)
        for e in (case.encode, case.hidden())
    ]
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_one_sample_has_no_error_to_tell():
    case = make_case("one layer", "sigmoid")
    j = jacobian(case.encode, case.inputs)
    assert j.estimated_squared_norm(1).standard_error.isnan().all()


def test_a_squared_norm_with_samples_is_the_estimate_with_its_error_beside_it():
    case = make_case("three layers", "tanh")
    j = jacobian(case.encode, case.inputs)
    estimate = j.estimated_squared_norm(5, draws())
    assert (j.method, j.standard_error) == ("layer by layer (tanh)", None)  # an estimate leaves nothing behind
    assert torch.equal(j.squared_norm(5, draws()), estimate.value)
    assert torch.equal(j.standard_error, estimate.standard_error)
    assert j.method == "estimate (layer by layer (tanh))"
    j.squared_norm()
    assert (j.method, j.standard_error) == ("layer by layer (tanh)", None)


def test_no_samples_are_refused():
    case = make_case("one layer", "sigmoid")
    j = jacobian(case.encode, case.inputs)
    for estimate in (j.squared_norm, j.estimated_squared_norm):
        with pytest.raises(CaelabError, match="a whole number of samples, at least 1, but 0 came"):
            estimate(samples=0)
