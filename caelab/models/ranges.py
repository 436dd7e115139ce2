"""The range of a model's output, from the module or operation that it ends in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from caelab.models.intervals import ANY, Intervals, Range
from caelab.streams import seeded

SHAPING = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
FAR = 1e4  # where an activation that does not stay bounded is far away
FARTHER = 1e8  # what still grows between these two is not bounded
SAME = 1e-2  # of a bound


def last_step(decode: Any) -> nn.Module | None:
    """The module that a decoder ends in, behind what only changes shapes; none where it is no chain of modules.

    >>> last_step(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh(), nn.Flatten())))
    Tanh()
    """
    if not isinstance(decode, nn.Sequential):
        return None
    steps = [step for step in decode if not isinstance(step, SHAPING)]
    if not steps:
        return None
    return last_step(steps[-1]) if isinstance(steps[-1], nn.Sequential) else steps[-1]


def range_of(model: Any, inputs: Tensor) -> tuple[Range, str]:
    """Between what bounds a reconstruction lies, and the name of what bounds it; infinite where nothing is known.

    They hold for all weights and inputs, in evaluation mode; what cannot be followed may take any value.

    Args:
        model: with ``encode`` and ``decode``.
        inputs: a few, shape (batch, d).
    """
    step = last_step(getattr(model, "decode", None))
    found = ANY if step is None else _of_module(step)
    if found != ANY:
        return found, type(step).__name__
    try:
        with evaluating(model), torch.no_grad(), seeded(0, "the range of the output"), Intervals() as intervals:
            outputs = model.decode(model.encode(inputs))
        (low, high), by = intervals.of(outputs)
        least, most = float(outputs.min()), float(outputs.max())
    except Exception:  # who trains the model is told why
        return ANY, ""
    slack = 1e-4 * (1 + abs(least) + abs(most))
    return ((low, high), by) if low <= least + slack and most - slack <= high else (ANY, "")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode, so that nothing it keeps changes; then as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _of_module(step: nn.Module) -> Range:
    """Of an activation, from its values over a long range; anything with parameters may take any value."""
    if [*step.parameters()]:
        return ANY
    grid = torch.cat([torch.linspace(-FAR, FAR, 2001), torch.linspace(-10, 10, 2001)])
    try:
        with torch.no_grad():
            values = step(grid)
            ends = step(torch.tensor([-FAR, FAR, -FARTHER, FARTHER])).tolist()
        low, high = float(values.min()), float(values.max())
    except Exception:  # not elementwise
        return ANY
    fall, rise = (abs(far - near) > SAME * max(abs(near), 1e-6) for near, far in zip(ends[:2], ends[2:], strict=True))
    sinks = low < -FAR / 100 or (fall and ends[2] < low) or (rise and ends[3] < low)
    grows = high > FAR / 100 or (fall and ends[2] > high) or (rise and ends[3] > high)
    return (-math.inf if sinks else low), (math.inf if grows else high)
