"""Leading right singular vectors of diag(s'_b) W for many examples b, without forming the matrices.

Every example has the same W, so its leading directions lie nearly in one space, that of the mean Gram matrix
W̄ = Wᵀ diag(mean s'²) W. Rayleigh-Ritz in a basis of that space costs little, and block Krylov steps mend the rest
(Musco and Musco 2015, "Randomized block Krylov methods"; here started warm instead of at random).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRICT_SINE = 2e-4  # of the estimated angle, so that the true one stays below 1e-3
MOST_STEPS = 30


@dataclass(frozen=True)
class Operator:
    """W and a basis of the space that the examples' leading directions share.

    Attributes:
        weight: W, shape (code, input), float64.
        basis: U, orthonormal rows, shape (size, input).
        image: U Wᵀ, shape (size, code).
    """

    weight: Tensor
    basis: Tensor
    image: Tensor

    @classmethod
    def shared_by(cls, weight: Tensor, slope: Tensor, count: int) -> Operator:
        """The leading eigenvectors of the mean Gram matrix, four times as many as are wanted and 20 more."""
        scaled = slope.square().mean(dim=0).sqrt()[:, None] * weight
        size = min(4 * count + 20, *weight.shape)
        if weight.shape[0] < weight.shape[1]:
            basis = torch.linalg.qr((torch.linalg.eigh(scaled @ scaled.T)[1][:, -size:].T @ scaled).T).Q.T
        else:
            basis = torch.linalg.eigh(scaled.T @ scaled)[1][:, -size:].T.contiguous()
        return cls(weight, basis, basis @ weight.T)

    def normal(self, squared_slope: Tensor, vectors: Tensor) -> Tensor:
        """JᵀJ v = Wᵀ (s'² ∘ W v), shape (batch, count, input) to the same."""
        return ((vectors @ self.weight.T) * squared_slope[:, None]) @ self.weight


def leading_right_vectors(operator: Operator, slope: Tensor, count: int, mode: str) -> tuple[Tensor, Tensor]:
    """Singular values (batch, count), descending, and right singular vectors (batch, count, input).

    Args:
        operator: W and the shared basis.
        slope: s', shape (batch, code).
        count: how many.
        mode: ``fast`` takes one Krylov step, ``strict`` as many as the residual asks for.
    """
    squared = slope.square()
    keep = count + max(4, count // 4)
    vectors, _ = _ritz_in_shared_basis(operator, slope, min(keep, len(operator.basis)))
    for _ in range(1 if mode == "fast" else MOST_STEPS):
        image = operator.normal(squared, vectors)
        vectors, values = _ritz(operator, slope, torch.cat([vectors, image], dim=1), vectors.shape[1])
        if mode == "strict" and bool((_sine(operator, squared, vectors, values, count) <= STRICT_SINE).all()):
            break
    return values[:, :count], vectors[:, :count]


def _ritz_in_shared_basis(operator: Operator, slope: Tensor, count: int) -> tuple[Tensor, Tensor]:
    image = operator.image * slope[:, None]  # (batch, size, code)
    eigenvalues, rotation = torch.linalg.eigh(image @ image.mT)
    return rotation[:, :, -count:].flip(-1).mT @ operator.basis, eigenvalues[:, -count:].flip(-1)


def _ritz(operator: Operator, slope: Tensor, spanning: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rayleigh-Ritz in the span of the rows of ``spanning``: vectors and singular values, leading first."""
    basis = torch.linalg.qr(spanning.mT).Q.mT
    image = (basis @ operator.weight.T) * slope[:, None]
    eigenvalues, rotation = torch.linalg.eigh(image @ image.mT)
    leading = rotation[:, :, -count:].flip(-1).mT
    return leading @ basis, eigenvalues[:, -count:].flip(-1).clamp(min=0).sqrt()


def _sine(operator: Operator, squared: Tensor, vectors: Tensor, values: Tensor, count: int) -> Tensor:
    """An estimate of the sine of the angle to the true subspace: residual over spectral gap (Davis and Kahan 1970).

    The gap is that between the last wanted and the first unwanted Ritz value.
    """
    wanted = vectors[:, :count]
    residual = operator.normal(squared, wanted) - values[:, :count, None].square() * wanted
    gap = values[:, count - 1].square() - values[:, count].square()
    sine: Tensor = torch.linalg.matrix_norm(residual, ord=2) / gap.clamp(min=1e-300)
    return sine
