"""Contraction curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests.benchmarks.case import Bench, Case, at_least
from tests.benchmarks.measure import Spread
from tests.benchmarks.models import fresh, quietly, random_inputs

EXAMPLES, DIRECTIONS = 32, 32
RADII = torch.logspace(-1, 2, 20)


def cases() -> list[Case]:
    """The rows, in the table's order."""
    what = "contraction curve, 20 radii,"
    return [
        Case(f"{what} shared directions, 784 inputs", at_least(10), partial(_curve, 784, False)),
        Case(f"{what} shared directions, 3072 inputs", at_least(25), partial(_curve, 3072, False)),
        Case(f"{what} own directions, 784 inputs", at_least(5), partial(_curve, 784, True)),
    ]


def point_by_point(encode: Callable[[Tensor], Tensor], inputs: Tensor, directions: Tensor, radii: Tensor) -> Tensor:
    """‖f(x + r u) - f(x)‖ / r as one writes it down, a radius at a time; directions (batch or 1, count, input)."""
    here = encode(inputs)[:, None]
    found = []
    for radius in radii.tolist():
        moved = inputs[:, None] + radius * directions
        there = encode(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])
        found.append((there - here).norm(dim=2) / radius)
    return torch.stack(found)


def _curve(inputs: int, own: bool, bench: Bench) -> Spread:
    encode, x = fresh(inputs, 1000, bench.device), random_inputs(EXAMPLES, inputs, device=bench.device)
    shape = (EXAMPLES, DIRECTIONS, inputs) if own else (DIRECTIONS, inputs)
    directions = F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(2)), dim=-1).to(bench.device)
    wide = directions if own else directions[None]
    slow = quietly(lambda: point_by_point(encode, x, wide, RADII))
    return bench.ratio(slow, lambda: contraction_ratios(encode, x, directions, RADII))
