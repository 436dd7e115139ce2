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
        j = jacobian(encode, case.inputs)
        found = j.squared_norm(samples=20_000, generator=draws()).detach()
        assert j.method.startswith("estimate (")
        assert (j.standard_error < 0.05 * exact).all()
        assert ((found - exact).abs() < 4 * j.standard_error).all()


def test_the_standard_error_is_the_spread_of_many_estimates():
    case = make_case("three layers", "tanh")
    j = jacobian(case.encode, case.inputs)
    generator = draws()
    estimates = torch.stack([j.squared_norm(samples=8, generator=generator).detach() for _ in range(3000)])
    errors = torch.stack([(j.squared_norm(samples=8, generator=generator), j.standard_error)[1] for _ in range(3000)])
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
    j.squared_norm(samples=1)
    assert j.standard_error.isnan().all()


def test_no_samples_are_refused():
    case = make_case("one layer", "sigmoid")
    with pytest.raises(CaelabError, match="a whole number of samples, at least 1, but 0 came"):
        jacobian(case.encode, case.inputs).squared_norm(samples=0)
