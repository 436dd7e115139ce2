"""The largest singular value, the nuclear norm and the log-volume, with their gradients, against torch's own svd."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from tests.core.jacobian.conftest import make_case
from tests.core.jacobian.references import parameter_gradients
from tests.core.jacobian.unusual import convolution, images

ASKED = {
    "spectral norm": lambda j: j.spectral_norm(),
    "nuclear norm": lambda j: j.nuclear_norm(),
    "log-volume": lambda j: j.log_volume().value,
    "singular values": lambda j: j.singular_values().square().sum(1),
}
BY_SVD = {
    "spectral norm": lambda values: values[:, 0],
    "nuclear norm": lambda values: values.sum(1),
    "log-volume": lambda values: torch.where(values > 1e-10 * values[:, :1], values, 1.0).log().sum(1),
    "singular values": lambda values: values.square().sum(1),
}


def dense_of(encode, inputs):
    return torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0].flatten()))(inputs).flatten(2).detach()


def linear(matrix):
    layer = nn.Linear(matrix.shape[1], matrix.shape[0]).double()
    layer.weight.data.copy_(matrix)
    return layer


def normalised():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.LayerNorm(5)).double()


@pytest.fixture(params=["one layer", "wide code", "three layers", "convolution", "final LayerNorm"])
def case(request):
    if request.param == "convolution":
        return convolution(nn.Tanh()), images()
    if request.param == "final LayerNorm":
        return normalised(), torch.rand(4, 6, dtype=torch.float64)
    made = make_case(request.param, "tanh")
    return made.encode, made.inputs


@pytest.mark.parametrize("name", ASKED)
def test_the_values_are_those_of_the_svd(case, name):
    encode, inputs = case
    expected = BY_SVD[name](torch.linalg.svdvals(dense_of(encode, inputs)))
    for asked in (jacobian(encode, inputs), jacobian(lambda x: encode(x), inputs)):
        found = ASKED[name](asked)
        assert found.dtype == torch.float64
        assert_close(found.detach(), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("gradients", [True, False], ids=["asked for", "on demand"])
def test_the_gradients_are_those_of_central_differences(case, name, gradients):
    encode, inputs = case
    parameters = list(encode.parameters())
    scale = torch.linspace(0.5, 1.5, len(inputs), dtype=torch.float64)  # unlike weights of the examples
    total = (ASKED[name](jacobian(encode, inputs, gradients=gradients)) * scale).sum()
    found = torch.autograd.grad(total, parameters, materialize_grads=True, allow_unused=True)

    def by_svd():
        return float((BY_SVD[name](torch.linalg.svdvals(dense_of(encode, inputs))) * scale).sum())

    for mine, theirs in zip(found, parameter_gradients(by_svd, parameters), strict=True):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_a_gradient_by_the_inputs_is_found_on_demand_too():
    made = make_case("three layers", "tanh")
    inputs = made.inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(jacobian(made.encode, inputs).spectral_norm().sum(), inputs)
    (expected,) = torch.autograd.grad(jacobian(made.encode, inputs, gradients=True).spectral_norm().sum(), inputs)
    assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("gradients", [True, False], ids=["asked for", "on demand"])
def test_a_penalty_made_of_them_trains(name, gradients):
    torch.manual_seed(0)
    encode, inputs = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), torch.rand(8, 6)
    optimizer, seen = torch.optim.SGD(encode.parameters(), lr=0.002), []
    for _ in range(6):
        penalty = ASKED[name](jacobian(encode, inputs, gradients=gradients)).mean()
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        seen.append(float(penalty.detach()))
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < seen[0]


def test_weights_that_moved_before_the_way_back_are_noticed():
    made = make_case("three layers", "tanh")
    norm = jacobian(made.encode, made.inputs).spectral_norm().sum()
    with torch.no_grad():
        made.encode[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        norm.backward()


def test_on_demand_they_are_differentiated_once():
    made = make_case("three layers", "tanh")
    norm = jacobian(made.encode, made.inputs).nuclear_norm().sum()
    with pytest.raises(CaelabError, match="differentiated once"):
        torch.autograd.grad(norm, made.encode[0].weight, create_graph=True)


def test_without_a_record_or_without_parameters_there_is_no_gradient():
    made = make_case("one layer", "tanh")
    with torch.no_grad():
        assert not jacobian(made.encode, made.inputs).spectral_norm().requires_grad
    assert not jacobian(torch.tanh, made.inputs).spectral_norm().requires_grad


Q = torch.linalg.qr(torch.rand(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
MATRICES = {
    "clustered": (Q * torch.tensor([2.0, 2.0, 2.0, 1.0, 1.0, 0.5])) @ Q.T.roll(1, 0),
    "rank 2": (Q[:, :2] * torch.tensor([3.0, 1.0])) @ Q[:2],
    "nearly rank 2": (Q[:, :3] * torch.tensor([3.0, 1.0, 1e-9])) @ Q[:3],
    "zero": torch.zeros(6, 6, dtype=torch.float64),
}
SPECTRA = {"clustered": [2, 2, 2, 1, 1, 0.5], "rank 2": [3, 1], "nearly rank 2": [3, 1, 1e-9], "zero": []}


@pytest.mark.parametrize("name", MATRICES)
def test_clustered_deficient_and_zero_jacobians(name):
    layer, inputs = linear(MATRICES[name]), torch.rand(3, 6, dtype=torch.float64)
    exact = torch.tensor(SPECTRA[name], dtype=torch.float64)
    for asked in (jacobian(layer, inputs), jacobian(lambda x: layer(x), inputs)):
        assert_close(asked.spectral_norm().detach(), exact[:1].sum().expand(3), rtol=1e-12, atol=0)
        assert_close(asked.nuclear_norm().detach(), exact.sum().expand(3), rtol=1e-6, atol=0)
        value, rank = asked.log_volume()
        assert rank.tolist() == 3 * [len(exact)]
        assert rank.dtype == torch.int64
        assert_close(value.detach(), exact.log().sum().expand(3), rtol=0, atol=1e-6)


def test_the_gradients_of_equal_and_of_vanishing_singular_values():
    """Of A with singular values U s Vᵀ: Σ u vᵀ and Σ u vᵀ / s over those that are not 0, by any basis of a cluster."""
    for name, matrix in MATRICES.items():
        layer, inputs = linear(matrix), torch.rand(1, 6, dtype=torch.float64)
        left, values, right = torch.linalg.svd(matrix)
        rank = len(SPECTRA[name])
        keep = [left[:, :rank], values[:rank], right[:rank]]
        asked = jacobian(layer, inputs, gradients=True)
        (nuclear,) = torch.autograd.grad(asked.nuclear_norm().sum(), layer.weight)
        (volume,) = torch.autograd.grad(asked.log_volume().value.sum(), layer.weight)
        assert_close(nuclear, keep[0] @ keep[2], rtol=0, atol=1e-6)
        inverse = (keep[0] / keep[1]) @ keep[2]
        assert_close(volume, inverse, rtol=1e-6, atol=1e-6 * float(inverse.abs().max()) + 1e-12)


def test_the_tolerance_says_which_values_count():
    asked = jacobian(linear(MATRICES["clustered"]), torch.rand(1, 6, dtype=torch.float64))
    ranks = {tolerance: int(asked.log_volume(tolerance).rank) for tolerance in (1e-3, 0.3, 0.7, 0.999)}
    assert ranks == {1e-3: 6, 0.3: 5, 0.7: 3, 0.999: 3}
    assert_close(
        asked.log_volume(0.3).value.detach(), torch.tensor([8.0], dtype=torch.float64).log(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_final_layernorm_takes_one_from_the_rank(dtype):
    encode, inputs = normalised().to(dtype), torch.rand(4, 6, dtype=dtype)
    value, rank = jacobian(encode, inputs).log_volume()
    values = torch.linalg.svdvals(dense_of(encode.double(), inputs.double()))
    assert rank.tolist() == 4 * [4]
    assert_close(value.detach(), values[:, :4].log().sum(1), rtol=0, atol=1e-3 if dtype is torch.float32 else 1e-9)
    assert (values[:, 4] < 1e-12 * values[:, 0]).all()


@pytest.mark.parametrize("tolerance", [0, 1, -0.1, 2.0, float("nan"), True, "small"], ids=str)
def test_another_tolerance_is_refused(tolerance):
    made = make_case("one layer", "tanh")
    with pytest.raises(CaelabError, match=r"expected a rank tolerance between 0 and 1, .* but .* came"):
        jacobian(made.encode, made.inputs).log_volume(tolerance)


def test_inside_a_transform_of_torch_func():
    made = make_case("three layers", "tanh")
    found = torch.func.vmap(lambda x: jacobian(made.encode, x[None]).nuclear_norm()[0])(made.inputs)
    assert_close(found.detach(), jacobian(made.encode, made.inputs).nuclear_norm().detach(), rtol=1e-7, atol=0)
    found = torch.func.vmap(lambda x: jacobian(made.encode, x[None]).spectral_norm()[0])(made.inputs)
    assert_close(found.detach(), jacobian(made.encode, made.inputs).spectral_norm().detach(), rtol=1e-9, atol=0)


def test_the_spectral_norm_beyond_the_budget_comes_from_a_search_and_trains():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(450, 600), nn.Tanh(), nn.Linear(600, 420)).double()
    inputs = torch.rand(2, 450, dtype=torch.float64)
    whole = jacobian(encode, inputs, gradients=True)
    small = jacobian(lambda x: encode(x), inputs, memory_budget=1_500_000)
    found, exact = small.spectral_norm(), whole.spectral_norm()
    assert "block Krylov" in small.method
    assert_close(found.detach(), exact.detach(), rtol=1e-4, atol=0)
    mine, expected = (torch.autograd.grad(norm.sum(), encode[0].weight)[0] for norm in (found, exact))
    assert float((mine - expected).norm() / expected.norm()) < 1e-2


@pytest.mark.parametrize("smallest", [1e-3, 1e-5, 1e-6])
def test_the_gradient_of_a_volume_with_small_singular_values(smallest):
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q for n in (5, 7))
    scales = torch.logspace(0, math.log10(smallest), 5, dtype=torch.float64)
    encode = nn.Sequential(linear(left @ torch.diag(scales) @ right[:5]), nn.Tanh())
    inputs = 0.1 * torch.randn(2, 7, dtype=torch.float64)
    weight = encode[0].weight
    (found,) = torch.autograd.grad(jacobian(encode, inputs).log_volume().value.sum(), weight)
    dense = torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0]))(inputs)
    (expected,) = torch.autograd.grad(torch.linalg.svdvals(dense).log().sum(), weight)
    assert (found - expected).norm() <= 1e-9 * expected.norm()
