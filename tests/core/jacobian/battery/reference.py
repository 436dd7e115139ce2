"""The Jacobian by plain loops of backward passes, one example at a time, and by differences of values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

STEP = 1e-6


def rows(encode: nn.Module, inputs: Tensor, recorded: bool = False) -> Tensor:
    """J, shape (batch, code, input): one backward pass for each entry of each example's code."""
    return torch.stack([rows_of_one(encode, example[None], recorded) for example in inputs])


def rows_of_one(encode: nn.Module, example: Tensor, recorded: bool) -> Tensor:
    """J of one example, shape (code, input)."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the others cannot be differentiated twice
        point = example.detach().clone().requires_grad_()
        code = encode(point).flatten()
        grads = [
            torch.autograd.grad(unit, point, create_graph=recorded, retain_graph=True, allow_unused=True)[0]
            for unit in code
        ]
    return torch.stack([torch.zeros_like(point).flatten() if grad is None else grad.flatten() for grad in grads])


def slope(encode: nn.Module, inputs: Tensor, direction: list[Tensor]) -> float:
    """Derivative of the mean of ‖J‖_F² along a direction of the parameters, by central differences."""
    parameters = list(encode.parameters())

    def moved(step: float) -> float:
        with torch.no_grad():
            for parameter, part in zip(parameters, direction, strict=True):
                parameter += step * part
        norm = float(rows(encode, inputs).square().sum(dim=(1, 2)).mean())
        with torch.no_grad():
            for parameter, part in zip(parameters, direction, strict=True):
                parameter -= step * part
        return norm

    return (moved(STEP) - moved(-STEP)) / (2 * STEP)


def recorded_slope(encode: nn.Module, inputs: Tensor, direction: list[Tensor]) -> float:
    """The same by differentiating the plain loop itself; raises where torch cannot."""
    norm = rows(encode, inputs, recorded=True).square().sum(dim=(1, 2)).mean()
    if not norm.requires_grad:
        return 0.0
    grads = torch.autograd.grad(norm, list(encode.parameters()), allow_unused=True)
    return float(sum((g * d).sum() for g, d in zip(grads, direction, strict=True) if g is not None))
