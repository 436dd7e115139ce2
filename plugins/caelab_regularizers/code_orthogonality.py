"""Orthogonal code directions: every unit responds to a direction of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caelab import Jacobian, hookimpl
from caelab.jacobian.layers import Layer
from caelab.options import Weight

SHORTEST = 1e-12
"""A row of the Jacobian that is not longer has no direction."""


def mean_squared_cosines(jacobian: Jacobian) -> Tensor:
    """Mean over the examples x of Σ_j Σ_{k≠j} cos²(∇f_j(x), ∇f_k(x)), ∇f_j(x) the row j of the Jacobian J(x).

    Sum over ordered pairs, so each pair of units counts twice: where every row has a direction it is ‖R Rᵀ - I‖_F²
    with the rows R_j = J_j / ‖J_j‖. A row not longer than 1e-12 has none and is orthogonal to all.

    For one layer h = s(W x + b) the rows are s'(z_j) W_j, so it is Σ_j Σ_{k≠j} cos²(W_j, W_k) over the units whose
    slope is not 0. Any other encoder goes through dense Jacobians of shape (batch, code, input).

    Bansal, Chen and Wang (2018), NeurIPS 31 (soft orthogonality, there of weights that are not normalised); Le,
    Karpenko, Ngiam and Ng (2011), NIPS 24.

    Args:
        jacobian: of a map from ``(batch, *input)`` to ``(batch, *code)``, at the batch.

    Returns:
        Scalar, shape (); differentiable with respect to the map's parameters.
    """
    layer = jacobian.single_layer
    if layer is not None:
        return _from_one_layer(jacobian, layer)
    penalty: Tensor = _squared_cosines(jacobian.dense()).sum(dim=(1, 2)).mean()
    return penalty


def _from_one_layer(jacobian: Jacobian, layer: Layer) -> Tensor:
    with torch.no_grad():
        lengths = jacobian.slopes()[0].abs() * torch.linalg.vector_norm(layer.weight, dim=1)
        present = (lengths > SHORTEST).to(layer.weight.dtype)  # (batch, code)
        together = present.T @ present / len(present)  # in what share of the examples both units have a direction
    penalty: Tensor = (_squared_cosines(layer.weight) * together).sum()
    return penalty


def _squared_cosines(rows: Tensor) -> Tensor:
    """cos² between any two rows; 0 on the diagonal, and where a row has no direction.

    Args:
        rows: shape (..., code, input).

    Returns:
        Shape (..., code, code).
    """
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    directions = torch.where(lengths > SHORTEST, rows / lengths.clamp(min=SHORTEST), 0.0)
    squares: Tensor = (directions @ directions.mT).square()
    return squares - torch.diag_embed(squares.diagonal(dim1=-2, dim2=-1))


@dataclass(eq=False)
class CodeOrthogonality:
    """Adds λ · mean over examples of Σ_j Σ_{k≠j} cos²(∇f_j(x), ∇f_k(x)), x clean (after Bansal et al. 2018, NeurIPS).

    For one layer the angles are those between the rows of its weight.

    Attributes:
        weight: λ.
    """

    weight: Weight

    @hookimpl
    def penalty_terms(self, encoder_jacobian: Jacobian) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_squared_cosines``."""
        return {"code-orthogonality": self.weight * mean_squared_cosines(encoder_jacobian)}
