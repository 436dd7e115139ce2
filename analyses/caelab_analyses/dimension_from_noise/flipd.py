"""FLIPD: local intrinsic dimension from the Fokker-Planck equation, for the additive noise of a denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from caelab.jacobian.service import jacobian

Map = Callable[[Tensor], Tensor]


def trace(reconstruct: Map, points: Tensor) -> Tensor:
    """tr J_r(x), shape (batch,), from the dense Jacobian; not differentiable.

    Args:
        reconstruct: r, maps (batch, d) to (batch, d).
        points: x, shape (batch, d).
    """
    dense = jacobian(reconstruct, points).dense().detach()  # (batch, d, d)
    return dense.diagonal(dim1=1, dim2=2).sum(dim=1)


def flipd(reconstruct: Map, points: Tensor, sigma: float) -> Tensor:
    """d + ∂ log p_σ(x) / ∂ log σ = tr J_r(x) + ‖r(x) - x‖² / σ², shape (batch,); not differentiable.

    By the heat equation ∂ log p_σ / ∂ log σ = σ² (tr ∇s + ‖s‖²) for the score s of the data blurred by N(0, σ² I), and
    by Tweedie's formula s(x) = (r(x) - x) / σ² for the best denoiser r. Near a manifold of k dimensions p_σ(x) falls as
    σ^(k - d), so the sum is k. Right at clean x only: its mean over noisy x is d, whatever the data.

    Kamkari et al. (2024), arXiv 2406.03537, who state it for diffusions that preserve the variance.

    Args:
        reconstruct: r, maps (batch, d) to (batch, d).
        points: clean x, shape (batch, d).
        sigma: σ, the noise that r removes.
    """
    with torch.no_grad():
        residual = (reconstruct(points) - points).square().sum(dim=1)
    return trace(reconstruct, points) + residual / sigma**2
