"""Unbiased estimates of ‖J‖_F² from random projections."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Products(Protocol):
    """Anything that multiplies by a Jacobian from either side."""

    @property
    def inputs(self) -> Tensor:
        """Where the Jacobian is taken, (batch, *input)."""
        ...

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v."""
        ...

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u."""
        ...


def projected_squared_norm(
    jacobian: Products, code: int, samples: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Mean of ‖Jᵀ u‖² over random signs u, or of ‖J v‖² where the input is the narrower side; and its standard error.

    E‖Jᵀ u‖² = tr(J Jᵀ) = ‖J‖_F² for entries ±1, whose variance 2 Σ_{i≠j} (J Jᵀ)_ij² is the least among
    independent entries. Differentiable; for chains of layers without double backward.
    Hutchinson (1989), Communications in Statistics 18(3).

    Args:
        jacobian: of ``code`` outputs at a batch of inputs.
        code: how many units the code has.
        samples: how many projections of every example.
        generator: on the inputs' device.

    Returns:
        The estimates and their standard errors (NaN for one sample), shape (batch,) each.
    """
    inputs = jacobian.inputs
    width = inputs[0].numel()
    shape = (len(inputs), samples, min(code, width))
    signs = torch.randint(0, 2, shape, generator=generator, device=inputs.device).to(inputs.dtype).mul_(2).sub_(1)
    if code <= width:
        products = jacobian.vjp(signs)
    else:
        products = jacobian.jvp(signs.reshape(len(inputs), samples, *inputs.shape[1:]))
    squares = products.square().sum(dim=2)  # (batch, samples)
    error = squares.detach().std(dim=1) / samples**0.5 if samples > 1 else torch.full_like(squares[:, 0], torch.nan)
    return squares.mean(dim=1), error.detach()
