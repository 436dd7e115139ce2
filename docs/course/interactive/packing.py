"""Trained weights as eight-bit numbers, and what that changes in the numbers that the page shows."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import caelab
from caelab import Run

LEVELS = 127  # on either side of zero
DAMPING = 0.03  # added to the mean square of every input: pixels that are always 0 are rounded to the nearest


@dataclass(frozen=True)
class Layers:
    """All models: h = s(W x + b), y = s(Wᵀ h + c)."""

    weight: Tensor  # (models, code, input)
    bias: Tensor  # (models, code)
    visible_bias: Tensor  # (models, input)


@dataclass(frozen=True)
class Packed:
    """All models as the page has them: W = scale · level, row by row."""

    levels: Tensor  # (models, code, input), int8
    scale: Tensor  # (models, code), float32
    bias: Tensor
    visible_bias: Tensor

    def layers(self) -> Layers:
        """The models that the page computes with, in float64."""
        weight = self.levels.double() * self.scale.double()[..., None]
        return Layers(weight, self.bias.double(), self.visible_bias.double())


def layers_of(runs: Sequence[Run]) -> Layers:
    """The parameters of models with one tied sigmoid layer, in float64."""
    parts = [
        (each.model.encode[0].weight, each.model.encode[0].bias, each.model.decode[0].bias)
        for each in runs
    ]  # fmt: skip
    weight, bias, visible = (
        torch.stack([each.detach().double() for each in part]) for part in zip(*parts, strict=True)
    )
    return Layers(weight, bias, visible)


def packed(layers: Layers, inputs: Tensor) -> Packed:
    """Weights rounded to 255 levels a row, such that W x changes little for the inputs given.

    Rounded from the first pixel to the last; what one rounding adds to W x is taken out of the pixels that follow, as
    far as the second moments of the inputs allow (Frantar et al. 2023, "GPTQ", ICLR). What is left of its mean goes
    into the bias.

    Args:
        layers: the trained models.
        inputs: training examples, shape (examples, input).
    """
    inputs = inputs.double()
    scale = (layers.weight.abs().amax(dim=2).clamp_min(1e-30) / LEVELS).float()
    step = scale.double()[..., None]
    moments = inputs.T @ inputs / len(inputs) + DAMPING * torch.eye(inputs.shape[1], dtype=torch.float64)
    passed = torch.linalg.cholesky(torch.linalg.inv(moments), upper=True)
    rest, levels = layers.weight.clone(), torch.zeros_like(layers.weight)
    for pixel in range(inputs.shape[1]):
        levels[..., pixel] = (rest[..., pixel] / step[..., 0]).round().clamp(-LEVELS, LEVELS)
        error = (rest[..., pixel] - levels[..., pixel] * step[..., 0]) / passed[pixel, pixel]
        rest[..., pixel:] -= error[..., None] * passed[pixel, pixel:]
    moved = (layers.weight - levels * step) @ inputs.mean(dim=0)
    return Packed(levels.to(torch.int8), scale, (layers.bias + moved).float(), layers.visible_bias.float())


def in_text(arrays: Sequence[Tensor]) -> str:
    """Arrays one after the other, gzipped, in base64; no date, so that equal arrays give equal texts."""
    parts = [np.ascontiguousarray(each.numpy()) for each in arrays]
    content = b"".join(each.astype(each.dtype.newbyteorder("<")).tobytes() for each in parts)
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def rounding_errors(exact: Layers, stored: Layers, inputs: Tensor) -> dict[str, float]:
    """How far the page's numbers are from those of the trained models, the largest over all models.

    Returns:
        Relative errors of the mean Jacobian norm (``norm``), of any single example's (``one``), of the mean of every
        singular value above 1 % of the largest (``value``), of the reconstruction error (``error``), and the root mean
        square by which an entry of the code moves (``code``).
    """
    found = [
        _errors(*(_quantities(each, at, inputs.double()) for each in (exact, stored)))
        for at in range(len(exact.weight))
    ]
    return {name: max(each[name] for each in found) for name in found[0]}


def _quantities(layers: Layers, at: int, inputs: Tensor) -> dict[str, Tensor]:
    """Singular values, norm, code and reconstruction error of one model, float64."""
    encode = torch.nn.Sequential(torch.nn.Linear(*layers.weight[at].T.shape, dtype=torch.float64), torch.nn.Sigmoid())
    encode.load_state_dict({"0.weight": layers.weight[at], "0.bias": layers.bias[at]})
    with torch.no_grad():
        values = caelab.jacobian(encode, inputs).singular_values()
        code = encode(inputs)
    logits = code @ layers.weight[at] + layers.visible_bias[at]
    error = torch.nn.functional.softplus(logits) - inputs * logits
    return {"values": values.mean(dim=0), "norm": values.norm(dim=1), "code": code, "error": error.sum(dim=1).mean()}


def _errors(exact: dict[str, Tensor], stored: dict[str, Tensor]) -> dict[str, float]:
    leading = exact["values"] > 0.01 * exact["values"][0]
    ratio = stored["values"] / exact["values"]
    found = {
        "norm": stored["norm"].mean() / exact["norm"].mean() - 1,
        "one": (stored["norm"] / exact["norm"] - 1).abs().max(),
        "value": (ratio[leading] - 1).abs().max(),
        "error": stored["error"] / exact["error"] - 1,
        "code": (stored["code"] - exact["code"]).square().mean().sqrt(),
    }
    return {name: abs(float(value)) for name, value in found.items()}
