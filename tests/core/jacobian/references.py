"""Slow and obvious: one row of the Jacobian after the other, or differences of values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from caelab.testing.penalty.references import parameter_differences


def dense_jacobian(encode: Callable[[Tensor], Tensor], inputs: Tensor, recorded: bool = False) -> Tensor:
    """J, shape (batch, code, input): one backward pass for each entry of each example's code."""
    return torch.stack([rows_of_one(encode, example[None], recorded) for example in inputs])


def rows_of_one(encode: Callable[[Tensor], Tensor], example: Tensor, recorded: bool) -> Tensor:
    """J of one example, shape (code, input)."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the others cannot be differentiated twice
        point = example.detach().clone().requires_grad_()
        code = encode(point.clone()).flatten()  # a leaf cannot be written to
        grads = [
            torch.autograd.grad(unit, point, create_graph=recorded, retain_graph=True, allow_unused=True)[0]
            for unit in code
        ]
    return torch.stack([torch.zeros_like(point).flatten() if grad is None else grad.flatten() for grad in grads])


def by_differences(encode, inputs, step=1e-4):
    """The same from values of the map alone: central differences of fourth order."""
    columns = []
    for i in range(inputs[0].numel()):
        nudge = torch.zeros(inputs[0].numel(), dtype=inputs.dtype)
        nudge[i] = step
        nudge = nudge.reshape(inputs.shape[1:])
        near = (encode(inputs + nudge) - encode(inputs - nudge)).flatten(1) / (2 * step)
        far = (encode(inputs + 2 * nudge) - encode(inputs - 2 * nudge)).flatten(1) / (4 * step)
        columns.append((4 * near - far) / 3)
    return torch.stack(columns, dim=2).detach()


def parameter_gradients(value, parameters):
    """Central differences of ``value()`` with respect to every entry of every parameter."""
    return [parameter_differences(value, parameter) for parameter in parameters]
