"""Validation of a user's own autograd.Functions: whether their derivative can be differentiated again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.blockwise import reached
from caelab.jacobian.validation.explanations import ALONE

Map = Callable[[Tensor], Tensor]
TOLERANCE = 0.05  # of a difference quotient


def custom_functions(code: Tensor) -> list[str]:
    """The names of the autograd.Functions, written in Python, that a code was computed by."""
    nodes = (node for node in reached(code.grad_fn) if isinstance(node, torch.autograd.function.BackwardCFunction))
    classes = dict.fromkeys(type(node)._forward_cls for node in nodes)  # type: ignore[attr-defined]
    return [each.__name__ for each in classes if not each.__module__.startswith("caelab.")]


def refuse_marked(row: Tensor, functions: list[str]) -> None:
    """Refuse to differentiate a row whose record ends at a function that is marked as differentiable once.

    Torch tells it only where the covector that was pulled back requires a gradient.

    Raises:
        CaelabError: there is one.
    """
    if any(node.name() == "torch::autograd::Error" for node in reached(row.grad_fn)):
        raise CaelabError(
            f"torch has not the derivative of the derivative of {' or '.join(functions) or 'an autograd.Function'}, "
            f"which is marked with once_differentiable; leave out the mark if its backward is made of torch's "
            f"operators, or {ALONE}"
        )


def refuse_unrecorded(values: Map, slopes: Map, inputs: Tensor, value: Tensor, functions: list[str]) -> None:
    """Refuse to differentiate slopes whose record lacks a part, as where a backward reads what ctx holds as a constant.

    The gradient of the slopes is compared with differences of them, if the slopes are those of the values at all: a
    function may pass gradients straight through on purpose.

    Args:
        values: ⟨u, f(x)⟩ of every example, shape (few,).
        slopes: ⟨Jᵀ u, v⟩ of every example, shape (few,).
        inputs: x, shape ``(few, *input)``, with a gradient.
        value: the sum of the slopes, recorded.
        functions: names of the user's functions.

    Raises:
        CaelabError: most of the differences differ from the gradient.
    """
    if inputs.dtype not in (torch.float32, torch.float64):
        return
    (curvature,) = torch.autograd.grad(value, inputs, retain_graph=True, materialize_grads=True)
    with torch.enable_grad():
        point = inputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(values(point).sum(), point)
    if _is_gradient(values, inputs, slope) and not _is_gradient(slopes, inputs, curvature):
        raise CaelabError(
            f"the derivative of the derivative of {' or '.join(functions)} lacks a part, because its backward uses "
            f"what autograd does not record; compute it from ctx.saved_tensors by torch's operators, or {ALONE}"
        )


def _is_gradient(function: Map, inputs: Tensor, gradient: Tensor) -> bool:
    """Whether most central differences of a function, one number for each example, agree with its gradient."""
    draws, precision = torch.Generator().manual_seed(1), torch.finfo(inputs.dtype).eps
    step = precision ** (1 / 3)
    agreeing: list[Any] = []
    for _ in range(3):
        along = torch.randn(inputs.shape, generator=draws, dtype=torch.float64).to(inputs)
        above, below = (function(inputs.detach() + sign * step * along).detach() for sign in (1, -1))
        found, expected = (above - below) / (2 * step), (gradient * along).flatten(1).sum(dim=1)
        noise = 10 * precision / step * (above.abs() + below.abs())
        agreeing.append((found - expected).abs() <= TOLERANCE * torch.maximum(found.abs(), expected.abs()) + noise)
    return float(torch.stack(agreeing).double().mean()) >= 0.5
