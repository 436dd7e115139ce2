"""Tangent distance: how far apart the tangent planes of two inputs are (Simard, LeCun and Denker 1993, NIPS 5)."""

from __future__ import annotations

import torch
from torch import Tensor

SPRING = 1e-6  # added to what may be singular, where two planes share a direction; of directions of length 1


def one_sided(difference: Tensor, directions: Tensor) -> Tensor:
    """min over b of ‖δ - Vᵀ b‖² = ‖δ‖² - ‖V δ‖², the squared distance of a point to a plane.

    Args:
        difference: δ = x - y, y on the plane, shape (..., d).
        directions: V, orthonormal rows, shape (..., k, d).

    Returns:
        Shape (...).
    """
    along = (directions @ difference[..., None]).squeeze(-1)
    return (difference.square().sum(dim=-1) - along.square().sum(dim=-1)).clamp(min=0)


def two_sided(difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """min over a and b of ‖δ + Uᵀ a - Vᵀ b‖², the squared distance of two planes.

    What U reaches is taken out of δ and of V first: with C = U Vᵀ, what is left is ‖δ‖² - ‖U δ‖² - rᵀ M⁻¹ r, where
    r = V δ - Cᵀ U δ and M = 1 - Cᵀ C. Where the planes share a direction M is singular, and r is zero along it: a
    spring of 1e-6 settles that.

    Args:
        difference: δ = x - y, shape (..., d).
        first: U, orthonormal rows, of the plane of x, shape (..., k, d); broadcast against the others.
        second: V, orthonormal rows, of the plane of y, shape (..., k, d).

    Returns:
        Shape (...), in the type of the arguments; the small systems are solved in float64.
    """
    along_first = (first @ difference[..., None]).squeeze(-1).double()
    along_second = (second @ difference[..., None]).squeeze(-1).double()
    overlap = (first @ second.mT).double()  # C
    left = along_second - (overlap.mT @ along_first[..., None]).squeeze(-1)
    shared = (1 + SPRING) * torch.eye(second.shape[-2], dtype=torch.float64) - overlap.mT @ overlap
    solved = torch.linalg.solve(shared, left[..., None]).squeeze(-1)
    squares = difference.double().square().sum(dim=-1) - along_first.square().sum(dim=-1) - (left * solved).sum(dim=-1)
    found: Tensor = squares.clamp(min=0).to(difference.dtype)
    return found
