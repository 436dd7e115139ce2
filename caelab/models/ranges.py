"""What values a model's output can take, from the module or the operation that it ends in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from caelab.streams import seeded

SHAPING = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
FAR = 1e4  # where an activation that does not stay bounded is far away
RESHAPING = (
    "View",
    "Unsafe",
    "Reshape",
    "Alias",
    "Clone",
    "Permute",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "TBackward",
    "Movedim",
)
OF_OPERATIONS = {
    "SigmoidBackward": (0.0, 1.0),
    "HardsigmoidBackward": (0.0, 1.0),
    "SoftmaxBackward": (0.0, 1.0),
    "TanhBackward": (-1.0, 1.0),
    "ReluBackward": (0.0, math.inf),
    "SoftplusBackward": (0.0, math.inf),
    "LogSigmoidBackward": (-math.inf, 0.0),
}
Range = tuple[float, float]
ANY = (-math.inf, math.inf)


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

    Args:
        model: with ``encode`` and ``decode``.
        inputs: a few, shape (batch, d).
    """
    step = last_step(getattr(model, "decode", None))
    if step is not None:
        return _of_module(step), type(step).__name__
    with torch.enable_grad(), seeded(0, "the range of the output"):
        try:
            node = model.decode(model.encode(inputs)).grad_fn
        except Exception:  # who trains the model is told why
            return ANY, ""
    while node is not None and node.name().startswith(RESHAPING) and node.next_functions:
        node = node.next_functions[0][0]
    name = "" if node is None else node.name().rstrip("0123456789")
    return OF_OPERATIONS.get(name, ANY), name.removesuffix("Backward").lower()


def _of_module(step: nn.Module) -> Range:
    """Of an activation, from its values over a long range; anything with parameters may take any value."""
    if [*step.parameters()]:
        return ANY
    grid = torch.cat([torch.linspace(-FAR, FAR, 2001), torch.linspace(-10, 10, 2001)])
    try:
        with torch.no_grad():
            values = step(grid)
        low, high = float(values.min()), float(values.max())
    except Exception:  # not elementwise
        return ANY
    return (-math.inf if low < -FAR / 100 else low), (math.inf if high > FAR / 100 else high)
