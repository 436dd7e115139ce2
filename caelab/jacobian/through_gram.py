"""‖C W‖_F² for many C and one W: by the Gram matrix W Wᵀ the gradient by C comes for nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.symmetric import whole_gram


class SquaredNormThroughGram(torch.autograd.Function):
    """‖C_b W‖_F² = Σ (C_b G) ∘ C_b with G = W Wᵀ, per example, its gradient written out.

    For an incoming gradient g per example::

        ∂/∂C_b = 2 g_b C_b G        ∂/∂W = 2 (Σ_b g_b C_bᵀ C_b) W

    Autograd through C W takes three products of that size; here C G serves both ways, and the other one is symmetric.
    A gradient of this gradient is taken from the same formulas, computed afresh.
    """

    @staticmethod
    def forward(ctx: Any, products: Tensor, weight: Tensor) -> Tensor:
        """The squared norms, shape (batch,).

        Args:
            ctx: autograd's context.
            products: C, shape (batch, rows, width).
            weight: W, shape (width, input).
        """
        images = products @ whole_gram(weight.T)
        ctx.save_for_backward(products, weight, images)
        norms: Tensor = torch.linalg.vecdot(images.flatten(1), products.flatten(1))
        return norms

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients by C and W; differentiable themselves."""
        products, weight, images = ctx.saved_tensors
        if torch.is_grad_enabled():
            images = products @ (weight @ weight.T)
        doubled = 2 * g[:, None, None]
        if torch.is_grad_enabled() or bool((g < 0).any()):
            inner = products.flatten(0, 1).T @ (doubled * products).flatten(0, 1)
        else:
            inner = whole_gram((doubled.sqrt() * products).flatten(0, 1))
        return doubled * images, inner @ weight


def pays(rows: int, width: int, inputs: int) -> bool:
    """Whether this way is the shorter one: 3/2 w² (r + d) multiplications, against 3 r w d through the products.

    A Gram matrix takes half of what a product of its size does.
    """
    return width * (rows + inputs) < 2 * rows * inputs
