"""Products with J in passes of autograd: Jᵀ u by reverse mode, J v by forward mode or by two reverse passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from caelab.jacobian.context import innermost
from caelab.jacobian.precision import keeps_precision

Encode = Callable[[Tensor], Tensor]
Map = Callable[[Tensor], Tensor]


def code_at(encode: Encode, inputs: Tensor) -> Tensor:
    """The code, shape (batch, code), in the one way that can be differentiated twice and forward."""
    with differentiable_twice(encode, inputs.device):
        return encode(inputs).flatten(1)


@contextmanager
def differentiable_twice(encode: Encode, device: torch.device) -> Iterator[None]:
    """Within the block attention is not fused, and a recurrent network does not go through cuDNN."""
    recurrent = device.type == "cuda" and torch.backends.cudnn.enabled and _is_recurrent(innermost(encode))
    with sdpa_kernel(SDPBackend.MATH):
        if not recurrent:
            yield
            return
        torch.backends.cudnn.enabled = False  # ``cudnn.flags`` would set all its other settings too
        try:
            yield
        finally:
            torch.backends.cudnn.enabled = True


def _is_recurrent(owner: Any) -> bool:
    return isinstance(owner, nn.Module) and any(isinstance(module, nn.RNNBase) for module in owner.modules())


def pulled_back(encode: Encode, inputs: Tensor, cotangents: Any, recorded: bool, together: bool = True) -> Tensor:
    """The cotangents (rows, batch, code), or what makes them from the code, as gradients (rows, batch, input).

    Args:
        encode: the encoder.
        inputs: x, shape (batch, *input).
        cotangents: what is pulled back.
        recorded: whether the gradients are to be differentiated again.
        together: all rows in one pass by ``torch.func.vmap``, or one after the other.
    """
    with torch.enable_grad():
        point = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        code = code_at(encode, point)
        given = cotangents(code) if callable(cotangents) else cotangents.to(code.dtype)
        if not code.requires_grad:  # a constant, for these examples
            return point.new_zeros(len(given), len(point), point[0].numel())

        def pulled(one: Tensor) -> Tensor:
            return _gradient(code, point, one, recorded)

        return over(pulled, given, together).flatten(2)


def pushed_forward(encode: Encode, inputs: Tensor, vectors: Tensor, together: bool = True) -> Tensor:
    """J v by forward mode for vectors (batch, count, *input), shape (batch, count, code); differentiable."""
    one = partial(pushed_forward_one, encode, inputs)
    if together:
        return torch.func.vmap(one, in_dims=1, out_dims=1)(vectors)
    return torch.stack([one(each) for each in vectors.unbind(1)], dim=1)


def pushed_forward_one(encode: Encode, inputs: Tensor, vectors: Tensor) -> Tensor:
    """J v by forward mode for one vector per example, shape ``(batch, *input)`` to (batch, code)."""
    found = torch.func.jvp(lambda x: code_at(encode, x), (inputs,), (vectors,))
    return cast(Tensor, found[1])


def reversed_twice(encode: Encode, inputs: Tensor, vectors: Tensor, recorded: bool, together: bool = True) -> Tensor:
    """J v for vectors (count, batch, *input), shape (count, batch, code), where torch has no right forward mode.

    Jᵀ u is linear in u, and the gradient of ⟨Jᵀ u, v⟩ by u is J v.
    """
    with torch.enable_grad():
        point = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        code = code_at(encode, point)
        origin = torch.zeros_like(code, requires_grad=True)
        if not code.requires_grad:
            return code.new_zeros(len(vectors), *code.shape)
        pulled = _gradient(code, point, origin, True)
        return over(lambda each: _gradient(pulled, origin, each, recorded), vectors, together)


def over(function: Map, given: Tensor, together: bool) -> Tensor:
    """A function of one element for all along the first axis: at once by ``torch.func.vmap``, or one by one.

    ``torch.autograd.grad(is_grads_batched=True)`` would run a convolution once for each.
    """
    if together:
        return torch.func.vmap(function)(given)
    return torch.stack([function(each) for each in given])


def _gradient(value: Tensor, source: Tensor, weights: Tensor, recorded: bool) -> Tensor:
    return torch.autograd.grad(
        value, source, weights, create_graph=recorded, retain_graph=True, materialize_grads=True
    )[0]


Pull = Callable[[Tensor, Tensor], Tensor]


@keeps_precision
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
