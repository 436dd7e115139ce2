"""Block Krylov: its bounds are never violated, whatever the spectrum, and its triplets are those of scipy."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from caelab.jacobian import krylov
from caelab.jacobian.krylov import Plan, Triplets, leading_triplets
from caelab.jacobian.krylov_space import Space

SPECTRA = ("uniform", "decaying", "twelvefold", "low rank", "zero", "clustered", "harmonic")
TRIALS = 30  # of each kind and type


@dataclass
class Matrices:
    """Products with given matrices (batch, code, input), which count themselves."""

    matrices: Tensor
    asked: list[int] = field(default_factory=list)

    def push(self, vectors: Tensor) -> Tensor:
        self.asked.append(len(vectors))
        return vectors @ self.matrices.mT

    def pull(self, covectors: Tensor) -> Tensor:
        return covectors @ self.matrices

    def of(self, part: Tensor) -> Matrices:
        return Matrices(self.matrices[part], self.asked)


def values_of(kind: str, count: int, draws: torch.Generator) -> Tensor:
    drawn = torch.rand(count, generator=draws, dtype=torch.float64).sort(descending=True).values
    places = torch.arange(count, dtype=torch.float64)
    return {
        "uniform": drawn,
        "decaying": 10 ** (-6 * places / count),
        "twelvefold": torch.where(places < 12, 1.0, 0.5).double(),
        "low rank": torch.where(places < count // 4, drawn, 0.0),
        "zero": 0 * drawn,
        "clustered": 1 - 1e-4 * drawn.flip(0),
        "harmonic": 1 / (1 + places),
    }[kind]


def matrix_with(values: Tensor, longer: int, draws: torch.Generator) -> Tensor:
    left, right = (
        torch.linalg.qr(torch.randn(size, len(values), generator=draws, dtype=torch.float64)).Q
        for size in (len(values), longer)
    )
    return (left * values) @ right.T


def searched(matrices: Tensor, count: int, tolerance: float, block: int = 2, capacity: int = 10**6) -> Triplets:
    products, shape = Matrices(matrices), (matrices.shape[1], matrices.shape[2])
    plan = Plan(count, tolerance, block, 2000, capacity)
    return leading_triplets(products, products.of, matrices, shape, plan)


def violations(found: Triplets, matrices: Tensor) -> list[str]:
    """What the whole spectrum in float64 says against the bounds."""
    count, narrow = found.values.shape[1], min(matrices.shape[1:])
    _, values, right = torch.linalg.svd(matrices.double(), full_matrices=True)
    bad = [] if bool(((found.values - values[:, :count]).abs() <= found.value_error).all()) else ["value"]
    for one, own, promised, sine in zip(right, found.directions, found.promised, found.sine, strict=True):
        truth = one[: int(promised)]
        outside = torch.linalg.matrix_norm(own - own @ truth.T @ truth, 2)
        bad += ["sine"] if int(promised) < narrow and outside > sine + 1e-14 else []  # rounding of the reference
        bad += [] if torch.allclose(own @ own.T, torch.eye(count).double(), atol=1e-10) else ["not orthonormal"]
    return bad


def trial(kind: str, dtype: torch.dtype, number: int) -> tuple[Triplets, Tensor]:
    draws = torch.Generator().manual_seed(number)

    def between(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=draws))

    narrow = between(6, 70)
    longer = narrow + between(0, 40)
    matrices = torch.stack([matrix_with(values_of(kind, narrow, draws), longer, draws) for _ in range(2)]).to(dtype)
    matrices = matrices.mT.contiguous() if number % 3 == 0 else matrices
    capacity = 10**6 if number % 5 else 0  # with restarts, as often as can be
    found = searched(matrices, between(1, min(6, narrow)), 10.0 ** -between(2, 6), between(2, 4), capacity)
    return found, matrices


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", SPECTRA)
def test_no_bound_is_violated(kind, dtype):
    # 420 trials, of which float32 ones have products that are off by rounding
    for number in range(TRIALS):
        assert violations(*trial(kind, dtype, number)) == [], f"trial {number}"


def test_the_bounds_are_told_from_wrong_ones():
    found, matrices = trial("uniform", torch.float64, 1)
    assert violations(
        krylov._each(found, lambda tensor: tensor * 0 if tensor is found.value_error else tensor), matrices
    )
    turned = krylov._each(found, lambda tensor: tensor.flip(2) if tensor is found.directions else tensor)
    assert "sine" in violations(turned, matrices)


def test_a_multiple_value_is_found_as_often_as_it_is_there():
    draws = torch.Generator().manual_seed(0)
    matrix = matrix_with(values_of("twelvefold", 60, draws), 60, draws)[None]
    found = searched(matrix, 10, 1e-6, block=2)
    torch.testing.assert_close(found.values, torch.ones(1, 10).double(), rtol=1e-12, atol=0)
    assert found.promised.tolist() == [12]
    assert found.settled.all()


def test_without_fresh_vectors_it_would_be_missed(monkeypatch):
    monkeypatch.setattr(krylov, "_GUARD_STEPS", 0)
    draws = torch.Generator().manual_seed(0)
    matrix = matrix_with(values_of("twelvefold", 60, draws), 60, draws)[None]
    assert searched(matrix, 10, 1e-6, block=2).promised.tolist() != [12]


def test_a_cluster_at_the_end_is_said_and_a_gap_beyond_it_is_promised():
    draws = torch.Generator().manual_seed(0)
    values = torch.cat([torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0]), torch.linspace(0.5, 0, 45)]).double()
    matrix = matrix_with(values, 80, draws)[None]
    assert [int(searched(matrix, count, 1e-4).promised) for count in (1, 2, 3, 4, 5)] == [1, 4, 4, 4, 5]


def test_examples_that_are_settled_are_frozen():
    draws = torch.Generator().manual_seed(0)
    easy = matrix_with(10.0 ** -torch.arange(120).double().clamp(max=9), 120, draws)
    hard = matrix_with(torch.linspace(1, 0.9, 120).double(), 120, draws)
    matrices = torch.stack([easy, hard, easy])
    found = searched(matrices, 3, 1e-3)
    assert found.products[0] == found.products[2] < found.products[1]
    assert violations(found, matrices) == []


def test_all_examples_together_are_each_alone():
    draws = torch.Generator().manual_seed(3)
    matrices = torch.stack([matrix_with(values_of("harmonic", 90, draws), 100, draws) for _ in range(3)])
    together = searched(matrices, 4, 1e-8).values
    alone = torch.cat([searched(one[None], 4, 1e-8).values for one in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-7, atol=0)


@pytest.mark.parametrize("shape", [(150, 260), (260, 150)], ids=str)
def test_scipy_finds_the_same(shape):
    draws = torch.Generator().manual_seed(1)
    matrix = torch.randn(*shape, generator=draws, dtype=torch.float64)
    found = searched(matrix[None], 5, 1e-9)
    numbers = matrix.numpy()
    operator = LinearOperator(shape, matvec=lambda v: numbers @ v, rmatvec=lambda u: numbers.T @ u, dtype=float)
    _, values, right = (part.copy() for part in svds(operator, k=5, rng=0))
    truth = torch.from_numpy(right)[values.argsort()[::-1].copy()]
    torch.testing.assert_close(
        found.values[0], torch.from_numpy(values).sort(descending=True).values, rtol=1e-12, atol=0
    )
    cosines = (found.directions[0] * truth).sum(dim=1).abs()
    torch.testing.assert_close(cosines, torch.ones(5).double(), rtol=1e-12, atol=0)


def test_it_stops_after_what_it_may_take_and_the_bounds_say_how_far_it_came():
    draws = torch.Generator().manual_seed(1)
    matrix = matrix_with(torch.linspace(1, 0.5, 200).double(), 200, draws)[None]
    products = Matrices(matrix)
    found = leading_triplets(products, products.of, matrix, (200, 200), Plan(3, 1e-6, 2, 20, 10**6))
    assert found.products.tolist() == [20]
    assert len(products.asked) == 10
    assert not found.settled.any()
    assert violations(found, matrix) == []


def test_no_direction_is_left_in_an_exhausted_space():
    draws = torch.Generator().manual_seed(1)
    matrix = matrix_with(values_of("low rank", 30, draws), 30, draws)[None]
    products = Matrices(matrix)
    space = Space(products.push, products.pull, matrix, (30, 30), keeps=False)
    block = space.fresh(4)
    while block.shape[1]:
        block = space.extended(block)
    basis = space.basis.combined(torch.eye(30).double()[None])
    torch.testing.assert_close(basis @ basis.mT, torch.eye(30).double()[None], rtol=0, atol=1e-13)
