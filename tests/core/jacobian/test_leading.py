"""Leading singular triplets with a tolerance: which route is taken, what is returned, what is refused."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

import caelab
from caelab.errors import CaelabError
from caelab.jacobian.leading import Leading
from caelab.jacobian.measured_rounding import UNSEEN, relative_rounding

WIDTH = 500  # beyond which a matrix is not cheaper in any case


class Quick(nn.Module):
    """A map whose inside is not known, with a Jacobian of quickly falling singular values."""

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        narrow = min(code, width)
        left = torch.linalg.qr(torch.randn(code, narrow, generator=draws)).Q
        right = torch.linalg.qr(torch.randn(width, narrow, generator=draws)).Q
        self.weight = nn.Parameter((left * 0.8 ** torch.arange(narrow).clamp(max=30)) @ right.T)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.tanh(inputs.flatten(1) @ self.weight.T)


def inputs_of(*shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def truth_of(encode: nn.Module, inputs: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    dense = torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0]))(inputs).flatten(2).double()
    _, values, right = torch.linalg.svd(dense, full_matrices=False)
    return values[:, :count], right[:, :count]


def sine_between(own: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return torch.linalg.matrix_norm(own - own @ truth.mT @ truth, 2)


@pytest.mark.parametrize(("code", "width"), [(WIDTH, 700), (700, WIDTH)])
def test_a_search_gives_what_the_matrix_gives_within_its_bounds(code, width):
    encode, inputs = Quick(code, width), inputs_of(2, 1, width // 10, 10)
    j = caelab.jacobian(encode, inputs)
    found = j.tangents(3, tolerance=1e-3)
    values, right = truth_of(encode, inputs, 3)
    assert j.method == f"{found.method} (autodiff)"
    assert found.method == f"block Krylov, {int(found.products.max())} products"
    assert bool(((found.values - values).abs() <= found.value_error).all())
    assert bool((found.value_error <= 1e-3 * values[:, :1]).all())
    assert bool((sine_between(found.directions.flatten(2), right) <= found.sine).all())
    assert bool((found.sine <= 1e-3).all())
    assert found.promised.tolist() == [3, 3]


def test_it_unpacks_as_the_pair_without_a_tolerance():
    encode, inputs = Quick(WIDTH, WIDTH), inputs_of(2, 1, 50, 10)
    j = caelab.jacobian(encode, inputs)
    values, directions = j.tangents(2, tolerance=1e-4)
    exact = truth_of(encode, inputs, 2)
    torch.testing.assert_close(values, exact[0], rtol=1e-6, atol=0)  # rounding of float32 products
    assert directions.shape == (2, 2, 1, 50, 10)
    found = j.singular_values(2, tolerance=1e-4)
    assert isinstance(found, Leading)
    torch.testing.assert_close(found.values, values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("encode", [nn.Linear(20, 30), Quick(30, 20)], ids=["layer", "map"])
def test_small_maps_are_computed_whole_and_their_bounds_hold(encode):
    inputs = inputs_of(4, 20)
    j = caelab.jacobian(encode, inputs)
    found = j.tangents(5, tolerance=1e-3)
    values, right = truth_of(encode, inputs, 5)
    assert found.method == "matrix"
    assert "Krylov" not in j.method
    assert bool(((found.values - values).abs() <= found.value_error).all())
    assert bool((sine_between(found.directions, right) <= found.sine).all())
    assert bool((found.value_error <= 1e-5).all())
    exact = j.tangents(5)
    torch.testing.assert_close(found.values, exact[0], rtol=1e-12, atol=0)


def test_without_a_tolerance_a_cheap_matrix_is_taken_as_before():
    encode, inputs = Quick(40, 60), inputs_of(3, 60)
    j = caelab.jacobian(encode, inputs)
    values, directions = j.tangents(4)
    own = j.strategy.tangents(4, "exact", 2**30)
    assert torch.equal(values, own[0])
    assert torch.equal(directions, own[1])
    assert torch.equal(j.singular_values(4), j.strategy.singular_values(4, "gram", 2**30, False))


def test_what_exceeds_the_budget_is_searched_and_not_refused():
    encode, inputs = Quick(WIDTH, WIDTH), inputs_of(2, WIDTH)
    j = caelab.jacobian(encode, inputs, memory_budget=2**21)  # the matrix takes 3 MB with its copy
    values, directions = j.tangents(3)
    exact, right = truth_of(encode, inputs, 3)
    assert "block Krylov" in j.method
    torch.testing.assert_close(values, exact, rtol=1e-4, atol=0)
    assert bool((sine_between(directions, right) <= 1e-4).all())
    torch.testing.assert_close(j.singular_values(3), exact, rtol=1e-4, atol=0)


def test_a_flat_spectrum_is_given_up_for_the_matrix():
    encode = Quick(WIDTH, WIDTH)
    with torch.no_grad():
        encode.weight.copy_(
            nn.init.orthogonal_(encode.weight, generator=torch.Generator().manual_seed(0))
            * torch.linspace(1, 0.5, WIDTH)
        )
    inputs = inputs_of(1, WIDTH)
    found = caelab.jacobian(encode, inputs).tangents(5, tolerance=1e-4)
    values, _ = truth_of(encode, inputs, 5)
    assert found.method == "matrix"
    assert bool(((found.values - values).abs() <= found.value_error).all())
    assert int(found.products) > WIDTH  # those of the search that was given up are counted


def test_a_rank_below_k_falls_to_the_matrix_or_says_so(caplog):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return (inputs @ self.weight)[:, :3].sin() @ self.weight[:3]

    encode, inputs = Flat(), inputs_of(1, WIDTH)
    found = caelab.jacobian(encode, inputs).tangents(5, tolerance=1e-3)
    values, _ = truth_of(encode, inputs, 5)
    assert bool(((found.values - values).abs() <= found.value_error).all())
    with caplog.at_level(logging.WARNING, "caelab"):
        small = caelab.jacobian(encode, inputs, memory_budget=2**21).tangents(5, tolerance=1e-3)
    assert bool(((small.values - values).abs() <= small.value_error).all())


def test_the_values_of_a_search_have_their_gradient():
    encode, inputs = Quick(WIDTH, WIDTH), inputs_of(1, WIDTH)
    j = caelab.jacobian(encode, inputs, gradients=True)
    (own,) = torch.autograd.grad(j.singular_values(2, tolerance=1e-5).values.sum(), encode.weight)
    assert "block Krylov" in j.method
    dense = caelab.jacobian(encode, inputs).dense()
    (truth,) = torch.autograd.grad(torch.linalg.svdvals(dense.double())[:, :2].sum(), encode.weight)
    torch.testing.assert_close(own, truth, rtol=1e-3, atol=1e-5)  # directions to 1e-5, weights of up to 1


@pytest.mark.parametrize("tolerance", [0, -1e-3, float("nan"), float("inf"), 1, "small", True])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    j = caelab.jacobian(Quick(5, 6), inputs_of(2, 6))
    for ask in (j.tangents, j.singular_values):
        with pytest.raises(CaelabError, match="expected a tolerance above 0 and below 1, but"):
            ask(2, tolerance=tolerance)


def test_k_beyond_the_smaller_side_is_refused():
    with pytest.raises(CaelabError, match="expected between 1 and 5 singular values"):
        caelab.jacobian(Quick(5, 6), inputs_of(2, 6)).tangents(6, tolerance=1e-3)


def test_a_mode_beside_a_tolerance_is_refused():
    with pytest.raises(CaelabError, match="the mode has a tolerance of its own"):
        caelab.jacobian(nn.Linear(6, 5), inputs_of(2, 6)).tangents(2, "fast", tolerance=1e-3)


def test_a_budget_below_one_product_is_refused():
    j = caelab.jacobian(Quick(WIDTH, WIDTH), inputs_of(2, WIDTH), memory_budget=2000)
    with pytest.raises(CaelabError, match="a search in products with the Jacobian of one example"):
        j.tangents(2, tolerance=1e-3)


def test_inside_a_transform_a_tolerance_is_refused():
    encode = Quick(5, 6)

    def largest(inputs: torch.Tensor) -> torch.Tensor:
        return caelab.jacobian(encode, inputs).singular_values(1, tolerance=1e-3).values.sum()

    with pytest.raises(CaelabError, match="inside a transform"):
        torch.func.grad(largest)(inputs_of(2, 6))


class InFewerDigits(nn.Module):
    """Steps that autocast takes in bfloat16, whatever type comes and goes."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(x).to(x.dtype)


def deep(width, layers):
    torch.manual_seed(0)
    return nn.Sequential(
        *(step for _ in range(layers) for step in (nn.Linear(width, width), nn.LayerNorm(width), nn.GELU()))
    )


def chain(width, layers):
    torch.manual_seed(0)
    return nn.Sequential(*(step for _ in range(layers) for step in (nn.Linear(width, width), nn.Tanh())))


LOSSY = {
    "many layers": lambda: (deep(50, 30), 50),
    "many layers, searched": lambda: (deep(500, 12), 500),
    "known layers, searched": lambda: (chain(500, 12), 500),
    "autocast inside": lambda: (InFewerDigits(deep(50, 3)), 50),
}


@pytest.mark.parametrize("make", LOSSY.values(), ids=LOSSY)
@pytest.mark.parametrize("hidden", [False, True], ids=["a module", "a function"])
def test_bounds_hold_where_the_products_have_lost_digits(make, hidden):
    encode, width = make()
    inputs, twin = torch.randn(3, width), copy.deepcopy(encode).double()
    dense = torch.func.vmap(torch.func.jacrev(lambda x: twin(x[None])[0]))(inputs.double()).detach()
    found = caelab.jacobian((lambda x: encode(x)) if hidden else encode, inputs).tangents(5, tolerance=1e-3)
    assert ((found.values - torch.linalg.svdvals(dense)[:, :5]).abs() <= found.value_error).all()


def test_small_values_that_a_search_in_float32_does_not_resolve_come_from_the_matrix():
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 2)).Q for n in (600, 500))
    layer = nn.Linear(500, 600, bias=False)
    layer.weight.data = left * torch.tensor([3.0, 1.0]) @ right.T
    found = caelab.jacobian(nn.Sequential(layer, nn.Identity()).forward, torch.rand(2, 500)).tangents(3, tolerance=1e-3)
    assert (found.value_error <= 1e-3 * found.values[:, :1]).all()
    assert (found.values - torch.tensor([3.0, 1.0, 0.0]).double()).abs().max() < 1e-5


def test_the_rounding_of_known_layers_is_seen_beside_float64():
    inputs = torch.randn(3, 500)
    seen = relative_rounding(caelab.jacobian(chain(500, 12), inputs).strategy)
    assert 0 < seen < UNSEEN * torch.finfo(torch.float32).eps
    assert relative_rounding(caelab.jacobian(chain(500, 12).double(), inputs.double()).strategy) == 0
