"""J v whose gradient is that of its adjoint, where autograd's own record of J v is wrong or missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Pull = Callable[[Tensor, Tensor], Tensor]


class PulledGradient(torch.autograd.Function):
    """J v, its gradient taken through ⟨Jᵀ g, v⟩ for the incoming gradient g: two plain reverse passes.

    A forward-mode derivative that torch records may hold wrong second derivatives (of ``LayerNorm`` and
    ``torch.linalg.solve``, in torch 2.13), while those of reverse mode are right.
    """

    @staticmethod
    def forward(
        ctx: Any, products: Callable[[], Tensor], pull: Pull, inputs: Tensor, vectors: Tensor, *sources: Tensor
    ) -> Tensor:
        """J v, shape (count, batch, code).

        Args:
            ctx: autograd's context.
            products: computes J v.
            pull: Jᵀ g, recorded, shape (count, batch, input), from x and g.
            inputs: x, shape (batch, *input).
            vectors: v, shape ``(count, batch, *input)``.
            sources: all else that J depends on.
        """
        ctx.pull = pull
        ctx.save_for_backward(inputs, vectors, *sources)
        return products()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, v and all else; differentiable themselves."""
        inputs, vectors, *sources = ctx.saved_tensors
        recorded, wanted = torch.is_grad_enabled(), ctx.needs_input_grad[2:]
        with torch.enable_grad():
            pulled = ctx.pull(inputs, grads[0])
            value = (pulled * vectors.flatten(2)).sum()
        given = [tensor for tensor, needed in zip((inputs, vectors, *sources), wanted, strict=True) if needed]
        if not value.requires_grad:
            return (None, None, *(None for _ in wanted))
        found = iter(torch.autograd.grad(value, given, create_graph=recorded, retain_graph=True, allow_unused=True))
        return (None, None, *(next(found) if needed else None for needed in wanted))
