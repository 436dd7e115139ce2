"""Comparing subspaces: principal angles, captured shares, and the tangent space that the data alone suggest.

A subspace is given by directions as rows, shape (batch, k, d), orthonormal within each example.
"""

from __future__ import annotations

import torch
from torch import Tensor


def principal_angles(first: Tensor, second: Tensor) -> Tensor:
    """The angles between two subspaces in degrees, ascending: arccos of the singular values of V Uᵀ.

    Björck and Golub (1973). From the cosines alone, so exact to about 1e-6 degrees in float64.

    Args:
        first: V, orthonormal rows, shape (batch, k, d).
        second: U, orthonormal rows, shape (batch, l, d).

    Returns:
        Shape (batch, min(k, l)).
    """
    cosines: Tensor = torch.linalg.svdvals(first @ second.mT)
    return torch.rad2deg(cosines.clamp(max=1).arccos())


def captured_share(directions: Tensor, tangents: Tensor) -> Tensor:
    """‖V t‖² / ‖t‖², the share of each tangent that lies in the subspace; k / d for a subspace drawn at random.

    Args:
        directions: V, orthonormal rows, shape (batch, k, d).
        tangents: t, shape (batch, tangents, d).

    Returns:
        Shape (batch, tangents); NaN where a tangent is zero to rounding (1e-6), as a blank image's are.
    """
    squares = tangents.square().sum(dim=2)
    share = (tangents @ directions.mT).square().sum(dim=2) / squares
    return share.where(squares > 1e-12, torch.nan)


def orthonormal(directions: Tensor) -> Tensor:
    """An orthonormal basis of what the rows span, shape (batch, k, d)."""
    basis: Tensor = torch.linalg.qr(directions.mT).Q
    return basis.mT


def local_pca(points: Tensor, among: Tensor, neighbours: int, rank: int) -> Tensor:
    """The leading principal directions of each point's nearest neighbours, about the neighbours' mean.

    The tangent space that the data alone suggest, without a model.

    Args:
        points: shape (batch, d).
        among: where the neighbours are looked for, shape (n, d).
        neighbours: how many, by Euclidean distance; at most n.
        rank: k, less than ``neighbours``.

    Returns:
        Orthonormal rows, shape (batch, k, d).
    """
    nearest = torch.cdist(points, among).topk(neighbours, largest=False).indices
    cloud = among[nearest]  # (batch, neighbours, d)
    centred = cloud - cloud.mean(dim=1, keepdim=True)
    principal: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh
    return principal[:, :rank]
