"""Fully connected auto-encoders of one or many layers, tied or not."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from caelab.models.layers import (
    ACTIVATIONS,
    Activation,
    TiedLinear,
    encoder_layers,
    glorot_linear,
    interleaved,
)
from caelab.options import Widths


class Autoencoder(nn.Module):
    """r = g∘f with f = ``encode`` and g = ``decode``, both modules, so that the Jacobian service can look into them.

    One layer (Rifai et al. 2011): f(x) = s(W x + b), g(h) = o(Wᵀ h + c).
    """

    def __init__(self, encode: nn.Sequential, decode: nn.Sequential) -> None:
        super().__init__()
        self.encode = encode
        self.decode = decode

    def logits(self, code: Tensor) -> Tensor:
        """The decoder before its output activation, shape (batch, input)."""
        return cast(Tensor, self.decode[:-1](code))

    def forward(self, inputs: Tensor) -> Tensor:
        """The reconstruction r(x), shape (batch, input)."""
        return cast(Tensor, self.decode(self.encode(inputs)))


def autoencoder(
    inputs: int,
    image_shape: tuple[int, ...] | None = None,
    *,
    hidden: Widths,
    activation: Activation = "sigmoid",
    tied: bool = True,
    output: Activation = "sigmoid",
) -> Autoencoder:
    """An auto-encoder with layers ``inputs → hidden[0] → … → hidden[-1]`` and back.

    Args:
        inputs: width of the input, d.
        image_shape: not used; the input is a flat vector.
        hidden: widths of the layers; the last one is the code.
        activation: of every layer but the output.
        tied: decoder weights are the encoder's, transposed.
        output: activation of the reconstruction; cross-entropy asks for ``sigmoid``.
    """
    layers = encoder_layers([inputs, *hidden])
    encode = interleaved([*layers], [ACTIVATIONS[activation]() for _ in layers])
    back: list[nn.Module] = [
        TiedLinear(layer) if tied else glorot_linear(layer.out_features, layer.in_features) for layer in layers[::-1]
    ]
    between = [ACTIVATIONS[activation]() for _ in layers[1:]]
    return Autoencoder(encode, interleaved(back, [*between, ACTIVATIONS[output]()]))
