"""The gradient of singular values: ds_k = u_kᵀ dJ v_k with the singular vectors u_k and v_k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.blockwise import reached
from caelab.jacobian.memory import handful
from caelab.jacobian.precision import keeps_precision
from caelab.jacobian.strategy import Strategy

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
        _refuse_twice()
        (zero,) = ctx.saved_tensors
        return None, grads[0].masked_fill(zero, 0.0).to(ctx.kind), None


def with_gradient(values: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Singular values s_k with the gradient of ‖J v_k‖ along the right singular vectors, and 0 where s_k is 0."""
    found: Tensor = _OfFixedVectors.apply(values, lengths, width)  # type: ignore[no-untyped-call]
    return found


def _vanishing(lengths: Tensor, largest: Tensor, width: int) -> Tensor:
    """Which lengths ‖J v_k‖ are rounding alone, whose direction is noise: up to ε · width · s_1, as of a rank."""
    return lengths <= torch.finfo(lengths.dtype).eps * max(width, NARROW) * largest


def _refuse_twice() -> None:
    if torch.is_grad_enabled():
        raise CaelabError(
            "singular_values() can be differentiated once; for a gradient of their gradient use "
            "torch.linalg.svdvals(dense())"
        )


@keeps_precision
class _Deferred(torch.autograd.Function):
    """Values that were computed without a record; where a gradient is asked for, they are computed again with one."""

    @staticmethod
    def forward(ctx: Any, again: Callable[[], Tensor], values: Tensor, *sources: Tensor) -> Tensor:
        """The values, as they are.

        Args:
            ctx: autograd's context.
            again: computes them with their gradient.
            values: of any shape.
            sources: what they depend on.
        """
        ctx.again = again
        ctx.save_for_backward(*sources)  # torch refuses the way back where they were changed meanwhile
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient by every source.

        Raises:
            CaelabError: it is to be differentiated again.
        """
        _refuse_twice()
        sources = ctx.saved_tensors
        with torch.enable_grad():
            again = ctx.again()
        if not again.requires_grad:
            return None, None, *(None for _ in sources)
        return None, None, *torch.autograd.grad(again, sources, grads[0], retain_graph=True, allow_unused=True)


def with_deferred_gradient(values: Tensor, strategy: Strategy, compute: Callable[[Strategy], Tensor]) -> Tensor:
    """Values of a spectrum that cost nothing more unless a gradient by what they depend on is asked for.

    A penalty made of them trains, and where nothing is trained nobody pays for singular vectors.

    Args:
        values: computed without a record.
        strategy: of which these are values.
        compute: gives them with their gradient.
    """
    sources = _sources_of(strategy)
    if not sources:
        return values
    fresh = strategy.at(strategy.inputs, slice(None))  # without a record of the user's, which may be gone by then
    found: Tensor = _Deferred.apply(lambda: compute(fresh), values, *sources)  # type: ignore[no-untyped-call]
    return found


def _sources_of(strategy: Strategy) -> list[Tensor]:
    """What J can be differentiated by: the inputs, if asked for, and the leaves of the map."""
    inputs, count = strategy.inputs, handful(strategy.inputs)
    found: dict[Tensor, None] = {inputs: None} if inputs.requires_grad else {}
    with torch.enable_grad():
        for first in range(0, count if strategy.layers else len(inputs), count):
            part = slice(first, first + count)
            point = inputs[part].detach()
            pulled = strategy.at(point, part).vjp(point.new_zeros(len(point), strategy.shape[0]))
            found |= dict.fromkeys(n.variable for n in reached(pulled.grad_fn) if hasattr(n, "variable"))
    return list(found)
