"""Spectra and tangents are computed in float64, whatever a run was trained in."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from caelab.runs import Run
from torch import Tensor, nn


def double_encoder(run: Run) -> Callable[[Tensor], Tensor]:
    """The run's encoder with its weights in float64; the run's own model stays as it is.

    A plain function has no weights that could be converted: it is called with float32 inputs.
    """
    encode: Callable[[Tensor], Tensor] = deepcopy(run.model).double().eval().encode
    owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
    if isinstance(owner, nn.Module):
        owner.double().eval()
        return encode
    return lambda inputs: encode(inputs.float()).double()
