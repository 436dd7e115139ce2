"""A penalty function from anyone's script, as a plugin: its arguments are found by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.hookspecs import hookimpl
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map

NAMES = {
    "model": ("model", "net", "network", "autoencoder"),
    "encode": ("encode", "encoder", "f"),
    "decode": ("decode", "decoder", "g"),
    "inputs": ("inputs", "input", "x", "X", "clean", "batch", "data"),
    "corrupted": ("corrupted", "noisy", "x_tilde"),
    "code": ("code", "h", "hidden", "z", "latent"),
    "reconstruct": ("reconstruct",),
    "reconstruction": ("reconstruction", "recon", "recon_x", "recons_x", "x_hat", "y"),
    "weight": ("W", "weights", "weight_matrix"),
    "initial_weight": ("initial_weight", "W0"),
    "streams": ("streams",),
}
"""What a function may ask for, and the names that mean it."""

MEANING = {name: meaning for meaning, names in NAMES.items() for name in names}


@dataclass(eq=False)
class FunctionPenalty:
    """Adds what a function returns, with its arguments handed over by name.

    Attributes:
        function: ``penalty(encode, inputs)``, ``penalty(W, h)``, ...; returns a scalar.
        options: values of its further parameters.
        of_reconstruction: hand r = g∘f over as ``encode``.
        at_corrupted: hand the corrupted batch over as ``inputs``.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    of_reconstruction: bool = False
    at_corrupted: bool = False

    def __post_init__(self) -> None:
        self.asked = asked_names(self.function, self.options)
        self.options = {**defaults_of(self.function), **self.options}
        self.initial: Tensor | None = None

    @hookimpl
    def before_training(self, model: Any) -> None:
        """Keep the first weights, for functions that ask for them."""
        if "initial_weight" in self.asked.values():
            self.initial = only_weight(model.encode).detach().clone()

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, corrupted: Tensor, streams: Streams) -> dict[str, Tensor]:
        """What the function returns."""
        inputs = corrupted if self.at_corrupted else clean
        if {"inputs", "code"} <= {*self.asked.values()}:
            inputs = inputs.detach().requires_grad_()  # so that the function can differentiate the code
        encode = reconstruction_map(model) if self.of_reconstruction else model.encode
        given: dict[str, Callable[[], Any]] = {
            "model": lambda: model,
            "encode": lambda: encode,
            "decode": lambda: model.decode,
            "reconstruct": lambda: reconstruction_map(model),
            "inputs": lambda: inputs,
            "corrupted": lambda: corrupted,
            "code": lambda: encode(inputs),
            "reconstruction": lambda: model.decode(model.encode(inputs)),
            "weight": lambda: only_weight(encode),
            "initial_weight": lambda: self.initial,
            "streams": lambda: streams,
        }
        handed = {name: given[meaning]() for name, meaning in self.asked.items()}
        found = self.function(**handed, **self.options)
        return {"penalty": found if isinstance(found, Tensor) else torch.tensor(found, dtype=clean.dtype)}


def asked_names(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a function that are handed over, each with its meaning.

    Raises:
        CaelabError: a parameter without default whose name says nothing.
    """
    asked = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in MEANING and parameter.name not in options:
            asked[parameter.name] = MEANING[parameter.name]
        elif parameter.default is parameter.empty and parameter.name not in options:
            raise CaelabError(
                f"expected parameters that are named {', '.join(sorted(MEANING))}, but {parameter.name!r} came; rename "
                f"it, or give its value with options={{{parameter.name!r}: ...}}"
            )
    return asked


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a function that are options with a default."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in MEANING}


def only_weight(encode: Any) -> Tensor:
    """The weight (code, input) of an encoder with one affine layer.

    Raises:
        CaelabError: it has another number of layers.
    """
    layers = [module for module in encode.modules() if isinstance(module, nn.Linear)]
    if len(layers) != 1:
        raise CaelabError(f"the penalty asks for the weight of one layer, but the encoder has {len(layers)}")
    return layers[0].weight
