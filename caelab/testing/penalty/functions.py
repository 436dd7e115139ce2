"""A penalty function from a script as a plugin: its arguments are found by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError, unknown_name
from caelab.hookspecs import hookimpl
from caelab.process.exits import how
from caelab.streams import Streams
from caelab.testing.penalty.subjects import WrongTerm
from caelab.training.objective import reconstruction_map
from caelab.training.watch import ChangedArgument

NAMES = {
    "model": ("model", "net", "network", "autoencoder", "ae"),
    "encode": ("encode", "encoder", "f"),
    "decode": ("decode", "decoder", "g"),
    "inputs": ("x", "inputs", "input", "X", "clean", "batch", "data", "img", "imgs", "images"),
    "corrupted": ("corrupted", "noisy", "x_tilde"),
    "code": ("h", "code", "hidden", "z", "latent", "encoded", "features", "hidden_representation", "outputs_e"),
    "reconstruct": ("reconstruct",),
    "reconstruction": ("reconstruction", "recon", "recon_x", "recons_x", "x_hat", "y", "outputs", "output"),
    "weight": ("W", "weights", "weight_matrix"),
    "initial_weight": ("W0", "initial_weight"),
    "streams": ("streams",),
    "epoch": ("epoch",),
    "encoder_jacobian": ("encoder_jacobian",),
    "reconstruction_jacobian": ("reconstruction_jacobian",),
}
"""What a function may ask for, and the names that mean it."""

MEANING = {name: meaning for meaning, names in NAMES.items() for name in names}

FACTORS = ("weight", "lam", "lamda", "lambd", "lambda_", "lmbda", "lmbd", "beta", "gamma", "coefficient", "coeff")
"""Options that stand in front of the quantity."""

NUMBER = "a number, which has no gradient, as .item() or float() makes it"
ONE_SCALAR = "its shape is (1,): taken as a scalar"

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(eq=False)
class FunctionPenalty:
    """Adds what a function returns, with its arguments handed over by name; whatever is not asked for noisy is clean.

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
        self.asked = _asked_names(self.function, self.options)
        self.options = {**_defaults_of(self.function), **self.options}
        self.initial: Tensor | None = None
        self.note = ""

    @property
    def weight(self) -> float:
        """The factor that an option puts in front of the quantity."""
        factors = [self.options[name] for name in FACTORS if isinstance(self.options.get(name), (int, float))]
        return float(factors[0]) if factors else 1.0

    @property
    def sees_corrupted(self) -> bool:
        """Whether the code in its value is that of the corrupted batch."""
        asked = {*self.asked.values()}
        return self.at_corrupted or ("corrupted" in asked and not {"inputs", "code"} & asked)

    @hookimpl
    def before_training(self, model: Any) -> None:
        """Keep the first weights, for functions that ask for them."""
        if "initial_weight" in self.asked.values():
            self.initial = only_weight(model.encode).detach().clone()

    @hookimpl
    def penalty_terms(
        self,
        model: Any,
        clean: Tensor,
        corrupted: Tensor,
        encoder_jacobian: Any,
        reconstruction_jacobian: Any,
        epoch: int,
        streams: Streams,
    ) -> dict[str, Tensor]:
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
            "epoch": lambda: epoch,
            "encoder_jacobian": lambda: encoder_jacobian,
            "reconstruction_jacobian": lambda: reconstruction_jacobian,
        }
        handed = {name: given[meaning]() for name, meaning in self.asked.items()}
        with left_alone(handed):
            found = called(self.function, {**self.options, **handed})
        return {"penalty": self._scalar(found, clean)}

    def _scalar(self, found: Any, clean: Tensor) -> Tensor:
        if isinstance(found, (int, float)):
            self.note = NUMBER
            return torch.tensor(found, dtype=clean.dtype)
        if not isinstance(found, Tensor):
            came = "None" if found is None else f"a {type(found).__name__}"
            raise WrongTerm(f"expected a scalar tensor from {title(self.function)}, but it returns {came}")
        if found.shape == (1,):
            self.note = ONE_SCALAR
            return found.reshape(())
        return found


@contextmanager
def left_alone(handed: Mapping[str, Any]) -> Iterator[None]:
    """Refuse a change in place of a tensor that a function is handed; a copy of the batch is not watched elsewhere.

    Raises:
        ChangedArgument: with the name of the function's argument.
    """
    tensors = {name: value for name, value in handed.items() if isinstance(value, Tensor)}
    versions = {name: tensor._version for name, tensor in tensors.items()}
    try:
        yield
    except RuntimeError as error:
        leaves = [name for name, tensor in tensors.items() if tensor.is_leaf and tensor.requires_grad]
        if "leaf Variable that requires grad" not in str(error) or not leaves:
            raise
        raise ChangedArgument([" or ".join(leaves)]) from error
    if changed := [name for name, tensor in tensors.items() if tensor._version != versions[name]]:
        raise ChangedArgument(changed)


def called(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """What a function returns for values by name.

    Raises:
        CaelabError: it ends the program.
    """
    parameters = inspect.signature(function).parameters.values()
    by_place = [values[p.name] for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in values]
    by_name = {p.name: values[p.name] for p in parameters if p.kind not in (p.POSITIONAL_ONLY, *_VARIADIC)}
    further = {name: value for name, value in values.items() if name not in {p.name for p in parameters}}
    try:
        return function(*by_place, **by_name, **further)
    except SystemExit as error:
        raise WrongTerm(f"{title(function)} ends the program, with {how(error)}; let it return") from error


def title(function: Callable[..., Any]) -> str:
    """The name of a function as reports show it."""
    return getattr(function, "__name__", type(function).__name__)


def _asked_names(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a function that are handed over, each with its meaning.

    Raises:
        CaelabError: a parameter without default whose name says nothing, or an option that is no parameter.
    """
    parameters = inspect.signature(function).parameters.values()
    _refuse_unknown_options(function, options)
    asked = {}
    for parameter in (p for p in parameters if p.kind not in _VARIADIC):
        if parameter.name in MEANING and parameter.name not in options:
            asked[parameter.name] = MEANING[parameter.name]
        elif parameter.default is parameter.empty and parameter.name not in options:
            raise CaelabError(
                f"expected parameters that are named {_known_names()}, but {parameter.name!r} came; rename it, or give "
                f"it a constant: --set {parameter.name}=VALUE on the command line, "
                f"options={{{parameter.name!r}: VALUE}} in Python"
            )
    return asked


def _known_names() -> str:
    """The names that mean something, a few for each meaning."""
    return ", ".join("/".join(names[:2]) for names in NAMES.values())


def _refuse_unknown_options(function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that are no parameters of the function.

    Raises:
        CaelabError: one is not; the nearest is offered.
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in options:
        if name not in parameters:
            raise unknown_name("option", name, parameters)


def _defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a function that are options with a default."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in MEANING}


def only_weight(encode: Any) -> Tensor:
    """The weight (code, input) of an encoder that is one affine layer and its activation.

    Raises:
        CaelabError: it has another number of layers, or something between them.
    """
    layers = [module for module in encode.modules() if isinstance(module, nn.Linear)]
    if len(layers) != 1:
        raise CaelabError(f"the penalty asks for the weight of one layer, but the encoder has {len(layers)}")
    between = [type(m).__name__ for m in encode.modules() if isinstance(m, (nn.BatchNorm1d, nn.Dropout))]
    if between:
        raise CaelabError(f"the penalty asks for the weight of one layer, but the encoder has {between[0]} after it")
    return layers[0].weight
