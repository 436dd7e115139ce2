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
from caelab.loading import load_named
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
        CaelabError: nothing is there, it cannot be imported, or it is no encoder.
    """
    found = load_named(target, "encoder")
    if not isinstance(found, nn.Module) and callable(found) and not _needs_arguments(found):
        found = found()
    if not callable(found):
        raise CaelabError(f"{target} is {type(found).__name__}, but an encoder maps a batch of inputs to codes")
    if isinstance(found, nn.Module):
        found.eval()
    encode: Callable[[Tensor], Tensor] = getattr(found, "encode", found)
    return encode


def _needs_arguments(thing: Any) -> bool:
    required = (p for p in inspect.signature(thing).parameters.values() if p.default is p.empty)
    return any(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in required)


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
            encode(inputs)
    except Exception as error:
        raise CaelabError(
            f"the encoder {target} does not take inputs of shape {tuple(inputs.shape)}: "
            f"{' '.join(str(error).split())}; wrap it so that it maps (batch, input) to (batch, code)"
        ) from error
