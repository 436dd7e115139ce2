"""Products of two matrices of low rank, one pair per example, without multiplying them out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Product:
    """G F for every example: J_r = J_g J_f is inputs × inputs, but passes through the code.

    Args:
        outer: G, shape (batch, d, m).
        inner: F, shape (batch, m, d).
    """

    outer: Tensor
    inner: Tensor

    def singular(self) -> tuple[Tensor, Tensor]:
        """Singular values and right singular vectors.

        With G = Q R and Fᵀ = P S (QR), G F = Q (R Sᵀ) Pᵀ: those of the small R Sᵀ, its vectors turned by P.

        Returns:
            Values (batch, k), descending, and orthonormal rows (batch, k, d), k = min(d, m).
        """
        r = torch.linalg.qr(self.outer).R
        p, s = torch.linalg.qr(self.inner.mT)
        _, values, right = torch.linalg.svd(r @ s.mT, full_matrices=False)
        return values, right @ p.mT

    def inner_product(self, other: Product) -> float:
        """Σ over examples and entries of (G F) ∘ (G' F') = Σ (Gᵀ G') ∘ (F F'ᵀ)."""
        return ((self.outer.mT @ other.outer) * (self.inner @ other.inner.mT)).sum().item()

    def relative_distance(self, other: Product) -> float:
        """‖G F - G' F'‖_F / ‖G' F'‖_F over all examples; below about 1e-7 it is rounding."""
        own, across, reference = self.inner_product(self), self.inner_product(other), other.inner_product(other)
        return math.sqrt(max(0.0, own - 2 * across + reference) / reference)
