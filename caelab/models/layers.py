"""Layers and activations that the built-in auto-encoders are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal[
    "sigmoid", "tanh", "relu", "softplus", "identity", "leaky-relu", "elu", "celu", "selu", "gelu", "silu", "mish",
    "relu6", "hardtanh", "hardsigmoid", "hardswish", "logsigmoid", "softsign", "softshrink", "tanhshrink",
]  # fmt: skip

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "relu6": nn.ReLU6,  # torch derives it from Hardtanh, so it comes before
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "logsigmoid": nn.LogSigmoid,
    "softsign": nn.Softsign,
    "softshrink": nn.Softshrink,
    "tanhshrink": nn.Tanhshrink,
}
"""Elementwise, each with the settings that torch gives it by default."""


class TiedLinear(nn.Module):
    """The affine map ``h ↦ h W + c`` whose weight is the transpose of an encoder layer's, W (code, input).

    It owns the bias alone: the weight stays one parameter of the encoder, so it is trained, saved and counted once.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple, so that torch does not register the encoder's weight twice
        self.bias = nn.Parameter(layer.weight.new_zeros(layer.in_features))

    @property
    def layer(self) -> nn.Linear:
        """The encoder's layer."""
        return self._layer[0]

    @property
    def weight(self) -> Tensor:
        """The transposed weight, shape (input, code)."""
        return self._layer[0].weight.T

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """The weight (input, code) and the bias (input,), for the Jacobian service."""
        return self.weight, self.bias

    def forward(self, code: Tensor) -> Tensor:
        """Map ``(batch, code)`` to ``(batch, input)``."""
        return F.linear(code, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The part of ``print(model)`` in brackets: the layer's shape."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}, tied=True"


def glorot_linear(inputs: int, outputs: int) -> nn.Linear:
    """An affine layer with Glorot-uniform weights and zero bias (Glorot and Bengio 2010, eq. 16)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def encoder_layers(widths: list[int]) -> list[nn.Linear]:
    """The affine layers of an encoder whose widths run from the input to the code."""
    return [glorot_linear(narrow, wide) for narrow, wide in pairwise(widths)]


def interleaved(affine: list[nn.Module], activations: list[nn.Module]) -> nn.Sequential:
    """Affine and elementwise steps in turn."""
    return nn.Sequential(*(step for pair in zip(affine, activations, strict=True) for step in pair))


def saturated_share(code: Tensor, activation: str) -> Tensor:
    """Share of units in the outer 5 % of the activation's range, per example, shape (batch,).

    Sigmoid: h < 0.05 or h > 0.95; tanh: |h| > 0.9. NaN for activations without two bounds.
    """
    bounds = {"sigmoid": (0.05, 0.95), "tanh": (-0.9, 0.9)}
    if activation not in bounds:
        return torch.full(code.shape[:1], float("nan"))
    low, high = bounds[activation]
    return ((code < low) | (code > high)).double().flatten(1).mean(dim=1)
