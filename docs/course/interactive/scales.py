"""The axes of the page's charts: one scale for all settings, so that what is seen to change has changed."""

from __future__ import annotations

import torch
from packing import Layers
from torch import Tensor

RADII = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 11, 15, 20, 25, 30, 40, 50, 60)
FARTHEST = 6  # times the mean distance between examples


def radii(inputs: Tensor) -> list[float]:
    """0 and the radii of the contraction curve, as far as the data make sense of them."""
    distances = torch.cdist(inputs, inputs)
    farthest = FARTHEST * float(distances.sum() / (len(inputs) * (len(inputs) - 1)))
    return [0.0, *(each for each in RADII if each <= max(farthest, RADII[2]))]


def ratios(layers: Layers, inputs: Tensor, reached: list[float]) -> Tensor:
    """‖f(x + r u) - f(x)‖ / r for r > 0, means over examples: u toward the next example, and u random.

    Returns:
        Shape (models, 2, radii without 0), float64.
    """
    toward = inputs.roll(1, 0) - inputs
    random = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
    found = [[_curve(layers, at, inputs, u, reached[1:]) for u in (toward, random)] for at in range(len(layers.weight))]
    return torch.tensor(found, dtype=torch.float64)


def _curve(layers: Layers, at: int, inputs: Tensor, directions: Tensor, reached: list[float]) -> list[float]:
    along = torch.nn.functional.normalize(directions, dim=1) @ layers.weight[at].T
    start = inputs @ layers.weight[at].T + layers.bias[at]
    here = start.sigmoid()
    return [float(((start + r * along).sigmoid() - here).norm(dim=1).mean() / r) for r in reached]


def scales(layers: Layers, inputs: Tensor, reached: list[float]) -> dict[str, list[float]]:
    """Ends of the axes: of the spectrum, the curve, the curve over its start, and of a filter's grey levels."""
    curves = ratios(layers, inputs, reached)
    largest = max(float(_largest_value(layers, at, inputs)) for at in range(len(layers.weight)))
    relative = float((curves / curves[..., :1]).max())
    weight = float(torch.quantile(layers.weight.abs().flatten()[:: max(1, layers.weight.numel() // 10**6)], 0.995))
    return {
        "spectrum": [largest * 1e-3, largest * 1.6],
        "curve": [float(curves.min()) / 1.3, float(curves.max()) * 1.3],
        "relative": [0.0, 1.15 * relative],
        "filter": [-weight, weight],
    }


def _largest_value(layers: Layers, at: int, inputs: Tensor) -> Tensor:
    """The mean over examples of the Jacobian's largest singular value."""
    h = torch.sigmoid(inputs @ layers.weight[at].T + layers.bias[at])
    slope = h * (1 - h)
    gram = layers.weight[at] @ layers.weight[at].T
    squares = torch.linalg.eigvalsh(slope[:, :, None] * gram * slope[:, None, :])
    return squares[:, -1].clamp_min(0).sqrt().mean()
