"""Anyone's encoder as a run, so that every analysis can measure it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from caelab.config import make_config, merged
from caelab.errors import CaelabError
from caelab.loading import allow_code, load_named
from caelab.recipes import BASE
from caelab.runs import Run, dataset_of, versions


class EncoderOnly(nn.Module):
    """A model that can encode and nothing else; analyses that reconstruct say so."""

    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encode = encode


def load_encoder(target: str) -> Callable[[Tensor], Tensor]:
    """The encoder at ``package.module:attribute`` or ``folder/file.py:attribute``, in evaluation mode.

    The attribute is an ``nn.Module``, a function of a batch, or something that makes one when called without
    arguments (a class, a factory). A module with an ``encode`` of its own stands for that encoder.

    Raises:
        CaelabError: nothing is there, it cannot be imported or made, or it is no encoder.
    """
    allow_code(target)  # it was asked for by this name
    found = load_named(target, "encoder")
    if not isinstance(found, nn.Module):
        found = _made(found, target)
    if not callable(found):
        raise CaelabError(f"{target} is {type(found).__name__}, but an encoder maps a batch of inputs to codes")
    if isinstance(found, nn.Module):
        found.eval()
    encode: Callable[[Tensor], Tensor] = getattr(found, "encode", found)
    return encode


def _made(found: Callable[..., Any], target: str) -> Any:
    """What a class or a factory makes; a function of a batch itself."""
    required = _required_arguments(found)
    if required and inspect.isclass(found):
        raise CaelabError(
            f"{target} is a class that needs {', '.join(required)}; give a module that is made already, or a function "
            "without arguments that makes one"
        )
    if required:
        return found
    try:
        return found()
    except Exception as error:  # a user's class may fail in any way
        raise CaelabError(
            f"the encoder {target} fails when it is made: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _required_arguments(thing: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except ValueError:  # built in, as torch.tanh: it takes a batch
        return ["a batch"]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def encoder_run(target: str, data: str, seed: int = 0) -> Run:
    """A run that was never trained here: this encoder on these data.

    Raises:
        CaelabError: the encoder or the data cannot be loaded, or the encoder does not take such inputs.
    """
    encode = load_encoder(target)
    label = target.rpartition(":")[2]
    raw = merged(deepcopy(BASE), {"label": label, "seed": seed, "dataset": {"kind": data, "splits": None}})
    config = make_config(merged(raw, {"training": {"reconstruction": "squared-error", "epochs": 0}}))
    dataset = dataset_of(config)
    _try_out(encode, dataset.inputs[:2], target)
    record = {"data_hash": dataset.content_hash, "versions": versions(), "encoder": target}
    return Run(config, EncoderOnly(encode).eval(), dataset, [], record)


def _try_out(encode: Callable[[Tensor], Tensor], inputs: Tensor, target: str) -> None:
    try:
        with torch.no_grad():
            code = encode(inputs)
    except Exception as error:
        raise CaelabError(
            f"the encoder {target} does not take inputs of shape {tuple(inputs.shape)}: "
            f"{' '.join(str(error).split())}; wrap it so that it maps (batch, input) to (batch, code)"
        ) from error
    if not (isinstance(code, Tensor) and code.is_floating_point() and code.shape[:1] == inputs.shape[:1]):
        came = f"{code.dtype} {tuple(code.shape)}" if isinstance(code, Tensor) else type(code).__name__
        raise CaelabError(
            f"the encoder {target} returns {came} for inputs {tuple(inputs.shape)}, but a code is a tensor "
            "(batch, code) of floating-point numbers; wrap the encoder in a function that returns one"
        )
