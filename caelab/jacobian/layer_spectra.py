"""Singular values and leading tangents of diag(s') W for many examples, which share W, in float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from caelab.jacobian.davidson import MOST_STEPS, Operator, leading_right_vectors
from caelab.jacobian.linalg import eigenvalues, gram
from caelab.jacobian.memory import pieces
from caelab.jacobian.singular_values import RANK_TOLERANCE, roots, tangents_of_one
from caelab.jacobian.strategy import Mode

BLOCK = 16  # examples at once, so that their matrices stay in the processor's cache
SINES: Mapping[str, float] = {"fast": 5e-3, "strict": 3e-4}  # well below what is promised: an estimate may be low
_SPARSE = 0.1  # share of weights that are exactly 0 from which on the search for tangents is not trusted


def singular_values(weight: Tensor, slope: Tensor) -> Tensor:
    """All singular values of diag(s') W, shape (batch, min(code, input)), descending.

    Eigenvalues of the float64 Gram matrix on the smaller side: s' W Wᵀ s' needs no product per example, and
    Wᵀ diag(s'²) W needs one. A singular value s has the relative error ε (s_1 / s)² / 2, ε = 2.2e-16: 1e-6 where
    s is 1e-5 of the largest.

    Args:
        weight: W, shape (code, input), float64.
        slope: s', shape (batch, code), float64.
    """
    if weight.shape[0] > weight.shape[1]:
        return torch.stack([roots(eigenvalues(gram(one[:, None] * weight))) for one in slope])
    shared = gram(weight.T)
    return torch.stack([roots(eigenvalues(one[:, None] * shared * one)) for one in slope])


def tangents(weight: Tensor, slope: Tensor, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
    """The leading singular values (batch, count) and right singular vectors (batch, count, input) of diag(s') W.

    ``exact``; or without forming the matrices ``fast``: singular values to 1e-4, the sine of the angle between the
    subspaces ≤ 2e-2; ``strict``: to 1e-6, and ≤ 1e-3. Examples in which no such angle is reached, for want of a gap
    behind the last one, are computed exactly, and so are layers with many weights that are 0.

    Args:
        weight: W, shape (code, input), float64.
        slope: s', shape (batch, code), float64.
        count: how many.
        mode: exact, strict or fast.
        budget: bytes.
    """
    if mode == "exact" or 4 * count >= min(weight.shape) or _share_of_zeros(weight) > _SPARSE:
        return _exactly(weight, slope, count)
    operator = Operator.shared_by(weight, slope, count)
    each = 8 * 4 * (2 * count + 20 + MOST_STEPS * (count + 4)) * max(weight.shape)
    at_once = pieces("the tangents of one example", BLOCK, each, budget)
    parts = [leading_right_vectors(operator, piece, count, SINES[mode]) for piece in torch.split(slope, at_once)]
    values, directions, settled = (torch.cat(part) for part in zip(*parts, strict=True))
    hard = ~settled | (values[:, -1] <= RANK_TOLERANCE * values[:, 0])
    if bool(hard.any()):
        values[hard], directions[hard] = _exactly(weight, slope[hard], count)
    return values, directions


def _share_of_zeros(weight: Tensor) -> float:
    """Where units look at inputs of their own, as in local receptive fields, directions may not be coupled at all."""
    return float((weight == 0).double().mean())


def _exactly(weight: Tensor, slope: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, directions = zip(*(tangents_of_one(one[:, None] * weight, count) for one in slope), strict=True)
    return torch.stack(values), torch.stack(directions)
