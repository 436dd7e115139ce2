"""Singular values and leading tangents of J, per example, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian import closed_form
from caelab.jacobian.chains import Chain
from caelab.jacobian.krylov import Operator, leading_right_vectors

Mode = Literal["exact", "strict", "fast"]
MODES: Sequence[str] = ("exact", "strict", "fast")
BLOCK = 64  # examples at once
RANK_TOLERANCE = 1e-7  # below it, against the largest, a Gram matrix no longer holds a singular vector


def singular_values_of_layer(chain: Chain) -> Tensor:
    """All singular values of diag(s') W, shape (batch, min(code, input)), descending.

    Eigenvalues of the float64 Gram matrix on the smaller side: s' W Wᵀ s' needs no product per example, and
    Wᵀ diag(s'²) W needs one. A singular value s has the relative error ε (s_1 / s)² / 2, ε = 2.2e-16: 1e-6 where
    s is 1e-5 of the largest.
    """
    weight, slope = _layer_in_double(chain)
    code, width = weight.shape
    gram = weight @ weight.T if code <= width else None
    parts = []
    for piece in torch.split(slope, BLOCK):
        for one in piece:
            matrix = one[:, None] * gram * one if gram is not None else weight.T @ (one.square()[:, None] * weight)
            parts.append(_roots(torch.linalg.eigvalsh(matrix)))
    return torch.stack(parts)


def singular_values_of_matrix(dense: Tensor) -> Tensor:
    """The same for matrices (batch, code, input): the float64 Gram matrix on the smaller side."""
    dense = dense.double()
    gram = dense @ dense.mT if dense.shape[1] <= dense.shape[2] else dense.mT @ dense
    return _roots(torch.linalg.eigvalsh(gram))


def singular_values_by_svd(dense: Tensor) -> Tensor:
    """All singular values from the matrix itself, in float64: exact to rounding against the largest, and slower."""
    values: Tensor = torch.linalg.svdvals(dense.double())
    return values


def _roots(eigenvalues: Tensor) -> Tensor:
    return eigenvalues.clamp(min=0).sqrt().flip(-1)


def _layer_in_double(chain: Chain) -> tuple[Tensor, Tensor]:
    (layer,) = chain.layers
    slope = closed_form.slopes(layer, chain.inputs, chain.outputs)
    return layer.weight.detach().double(), slope.detach().double()


def tangents_of_matrix(dense: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` leading singular values (batch, count) and right singular vectors (batch, count, input), exact.

    From eigenvectors of the float64 Gram matrix on the smaller side; where a wanted singular value is too small
    for that, from the singular value decomposition of the matrix.
    """
    dense = dense.double()
    code, width = dense.shape[1:]
    eigenvalues, vectors = torch.linalg.eigh(dense @ dense.mT if code < width else dense.mT @ dense)
    values = _roots(eigenvalues)[:, :count]
    if bool((values[:, -1] <= RANK_TOLERANCE * values[:, 0]).any()):
        _, values, right = torch.linalg.svd(dense, full_matrices=False)
        return values[:, :count], right[:, :count]
    leading = vectors[:, :, -count:].flip(-1).mT  # (batch, count, smaller side)
    return values, leading if code >= width else leading @ dense / values[:, :, None]


def tangents_of_layer(chain: Chain, count: int, mode: str) -> tuple[Tensor, Tensor]:
    """As ``tangents_of_matrix`` for diag(s') W, without forming it in the modes fast and strict.

    ``fast``: a basis that the examples share, and one Krylov step; singular values to 1e-4, the sine of the angle
    between the subspaces ≤ 2e-2. ``strict``: block Krylov steps from there until the residual says ≤ 1e-3.
    """
    weight, slope = _layer_in_double(chain)
    if mode == "exact" or 4 * count >= min(weight.shape):
        parts = [tangents_of_matrix(one[None, :, None] * weight, count) for one in slope]
    else:
        operator = Operator.shared_by(weight, slope, count)
        parts = [leading_right_vectors(operator, piece, count, mode) for piece in torch.split(slope, BLOCK)]
    values, directions = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(directions)


def checked_count(count: int, code: int, width: int) -> int:
    """A number of singular values that there are.

    Raises:
        CaelabError: below 1, or more than the smaller side has.
    """
    if not 1 <= count <= min(code, width):
        raise CaelabError(
            f"expected between 1 and {min(code, width)} singular values (code {code}, input {width}), but {count} came"
        )
    return count


def checked_mode(mode: str) -> str:
    """A way of computing tangents that there is."""
    if mode not in MODES:
        raise CaelabError(f"expected the mode exact, strict or fast, but {mode!r} came")
    return mode
