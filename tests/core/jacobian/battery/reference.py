"""The Jacobian by plain loops of backward passes, one example at a time, and by differences of values."""

from __future__ import annotations

from collections.abc import Callable

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
        code = encode(point.clone()).flatten()  # a leaf cannot be written to
        grads = [
            torch.autograd.grad(unit, point, create_graph=recorded, retain_graph=True, allow_unused=True)[0]
            for unit in code
        ]
    return torch.stack([torch.zeros_like(point).flatten() if grad is None else grad.flatten() for grad in grads])


def slope(
    encode: nn.Module, inputs: Tensor, direction: list[Tensor], of: Callable[[Tensor], Tensor]
) -> tuple[float, float]:
    """The derivative of a number made from J along a direction of the parameters, and how exact it is.

    By differentiating the plain loop; by central differences of it where torch has no second derivative.
    """
    number = of(rows(encode, inputs, recorded=True))
    if not number.requires_grad:
        return 0.0, 1e-7
    try:
        return along(number, encode, direction), 1e-7
    except RuntimeError:
        return difference(encode, direction, lambda: float(of(rows(encode, inputs)))), 1e-4


def along(number: Tensor, encode: nn.Module, direction: list[Tensor]) -> float:
    """The gradient of a number by the parameters, along a direction."""
    if not number.requires_grad:
        return 0.0
    grads = torch.autograd.grad(number, list(encode.parameters()), allow_unused=True)
    return float(sum((g * d).sum() for g, d in zip(grads, direction, strict=True) if g is not None))


def difference(encode: nn.Module, direction: list[Tensor], number: Callable[[], float]) -> float:
    """Derivative of a number along a direction of the parameters, by central differences."""
    found = []
    for step in (STEP, -2 * STEP, STEP):
        with torch.no_grad():
            for parameter, part in zip(encode.parameters(), direction, strict=True):
                parameter += step * part
        found.append(number())
    return (found[0] - found[1]) / (2 * STEP)
