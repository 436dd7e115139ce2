"""A stack of auto-encoders, each of which was trained on the codes of the one below, as one auto-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder


def stacked(layers: Sequence[Any]) -> Autoencoder:
    """f = f_n∘…∘f_1 and g = g_1∘…∘g_n of auto-encoders whose widths fit; it shares their parameters.

    Raises:
        CaelabError: an encoder or a decoder is not a module, so that it cannot become a part of one.
    """
    for place, layer in enumerate(layers, start=1):
        if not (isinstance(layer.encode, nn.Module) and isinstance(layer.decode, nn.Module)):
            raise CaelabError(
                f"layer {place} of a stack, {type(layer).__name__}, has encode or decode as a function; make both of "
                "them modules, or train the model with pretraining: end-to-end"
            )
    encode = [step for layer in layers for step in _steps(layer.encode)]
    decode = [step for layer in reversed(layers) for step in _steps(layer.decode)]
    return Autoencoder(nn.Sequential(*encode), nn.Sequential(*decode))


def _steps(module: nn.Module) -> list[nn.Module]:
    return [*module] if type(module) is nn.Sequential else [module]
