"""Copies of a run's encoder, in float64 for spectra and tangents, or to be trained on; the run is not changed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from caelab.analysis.pieces import in_pieces
from caelab.jacobian.service import jacobian
from caelab.runs.run import Run

Encoder = Callable[[Tensor], Tensor]


def copied_encoder(run: Run) -> tuple[Encoder, nn.Module | None]:
    """A copy of the run's encoder, and the module whose weights it uses.

    The module is None for a plain function, which cannot be copied: it is the run's own.
    """
    encode: Encoder = deepcopy(run.model).encode
    owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
    return encode, owner if isinstance(owner, nn.Module) else None


def double_encoder(run: Run) -> Encoder:
    """The run's encoder with its weights in float64, in evaluation mode.

    A plain function has no weights that could be converted: it is called with float32 inputs.
    """
    encode, owner = copied_encoder(run)
    if owner is None:
        return lambda inputs: encode(inputs.float()).double()
    owner.double().eval()
    return encode


def leading_tangents(run: Run, inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The leading singular values and right singular vectors of J_f, in float64.

    Examples are walked in pieces, so that the memory does not grow with how many they are.

    Args:
        run: whose encoder is f.
        inputs: shape (batch, d), of any floating-point type.
        count: k; fewer come back if the code or the input has fewer dimensions.

    Returns:
        Values (batch, k), descending, and directions (batch, k, d), orthonormal.
    """
    encode, parts = double_encoder(run), []
    for piece in in_pieces(inputs):
        found = jacobian(encode, piece.double())
        parts.append(found.tangents(min(count, *found.shape)))
    values, directions = (torch.cat(part).detach() for part in zip(*parts, strict=True))
    return values, directions


def singular_values(run: Run, inputs: Tensor) -> Tensor:
    """All singular values of J_f in float64, descending, the examples walked in pieces.

    Args:
        run: whose encoder is f.
        inputs: shape (batch, d), of any floating-point type.

    Returns:
        Shape (batch, min(code, d)).
    """
    encode = double_encoder(run)
    pieces = in_pieces(inputs)
    return torch.cat([jacobian(encode, piece.double()).singular_values().detach() for piece in pieces])
