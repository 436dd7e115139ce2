"""The Jacobian by plain loops of backward passes, one example at a time, and by differences of values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.core.jacobian.references import dense_jacobian

STEP = 1e-6


def slope(
    encode: nn.Module, inputs: Tensor, direction: list[Tensor], of: Callable[[Tensor], Tensor]
) -> tuple[float, float]:
    """The derivative of a number made from J along a direction of the parameters, and how exact it is.

    By differentiating the plain loop; by central differences of it where torch has no second derivative.
    """
    number = of(dense_jacobian(encode, inputs, recorded=True))
    if not number.requires_grad:
        return 0.0, 1e-7
    try:
        return along(number, encode, direction), 1e-7
    except RuntimeError:
        return difference(encode, direction, lambda: float(of(dense_jacobian(encode, inputs)))), 1e-4


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
