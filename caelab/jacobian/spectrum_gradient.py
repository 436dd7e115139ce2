"""The gradient of singular values: ds_k = u_kᵀ dJ v_k with the singular vectors u_k and v_k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError

NARROW = 64  # width below which rounding against the largest singular value does not fall any more


class _OfFixedVectors(torch.autograd.Function):
    """Singular values, with the gradient of ‖J v_k‖ for fixed v_k, which is u_kᵀ dJ v_k as well, and 0 where s_k is 0.

    A singular value has a kink at 0, and 0 is one of its subgradients there: the one of smallest norm, and the
    derivative itself where J lacks rank whatever the weights are, as behind a softmax or a bottleneck.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, lengths: Tensor, width: int) -> Tensor:
        """The singular values, as they are.

        Args:
            ctx: autograd's context.
            values: s, shape (batch, count), float64.
            lengths: ‖J v_k‖, the same numbers with their history.
            width: the larger side of J.
        """
        ctx.kind = lengths.dtype
        ctx.save_for_backward(_vanishing(lengths, values[:, :1], width))
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        """The gradient of the lengths that are not 0.

        Raises:
            CaelabError: it is to be differentiated, but the vectors move then.
        """
        if torch.is_grad_enabled():
            raise CaelabError(
                "singular_values() can be differentiated once; for a gradient of their gradient use "
                "torch.linalg.svdvals(dense())"
            )
        (zero,) = ctx.saved_tensors
        return None, grads[0].masked_fill(zero, 0.0).to(ctx.kind), None


def with_gradient(values: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Singular values s_k with the gradient of ‖J v_k‖ along the right singular vectors, and 0 where s_k is 0."""
    found: Tensor = _OfFixedVectors.apply(values, lengths, width)  # type: ignore[no-untyped-call]
    return found


def _vanishing(lengths: Tensor, largest: Tensor, width: int) -> Tensor:
    """Which lengths ‖J v_k‖ are rounding alone, whose direction is noise: up to ε · width · s_1, as of a rank."""
    return lengths <= torch.finfo(lengths.dtype).eps * max(width, NARROW) * largest
