"""Singular values and leading tangents of J, per example, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian import chain_kernels
from caelab.jacobian.chain import Chain
from caelab.jacobian.davidson import MOST_STEPS, Operator, leading_right_vectors
from caelab.jacobian.linalg import eigenvalues, gram, leading_eigenpairs
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.validation.refusals import whole_number

Mode = Literal["exact", "strict", "fast"]
MODES: Sequence[str] = ("exact", "strict", "fast")
ROWS = 1024  # examples at once in their slopes
BLOCK = 16  # examples at once, so that their matrices stay in the processor's cache
SINES = {"fast": 5e-3, "strict": 3e-4}  # well below what is promised, for an estimate may be low
SPARSE = 0.1  # share of weights that are exactly 0 from which on the search for tangents is not trusted
NARROW = 64  # width below which rounding against the largest singular value does not fall any more
RANK_TOLERANCE = 1e-7  # below it, against the largest, a Gram matrix no longer holds a singular vector


def singular_values_of_layer(chain: Chain, budget: int) -> Tensor:
    """All singular values of diag(s') W, shape (batch, min(code, input)), descending.

    Eigenvalues of the float64 Gram matrix on the smaller side: s' W Wᵀ s' needs no product per example, and
    Wᵀ diag(s'²) W needs one. A singular value s has the relative error ε (s_1 / s)² / 2, ε = 2.2e-16: 1e-6 where
    s is 1e-5 of the largest.
    """
    weight, slope = _layer_in_double(chain, budget)
    if weight.shape[0] > weight.shape[1]:
        return torch.stack([_roots(eigenvalues(gram(one[:, None] * weight))) for one in slope])
    shared = gram(weight.T)
    return torch.stack([_roots(eigenvalues(one[:, None] * shared * one)) for one in slope])


def singular_values_of_matrix(dense: Tensor) -> Tensor:
    """The same for matrices (batch, code, input): the float64 Gram matrix on the smaller side."""
    return torch.stack([_roots(eigenvalues(gram(_tall(matrix)))) for matrix in dense.double()])


def singular_values_by_svd(dense: Tensor) -> Tensor:
    """All singular values from the matrix itself, in float64: exact to rounding against the largest, and slower."""
    values: Tensor = torch.linalg.svdvals(dense.double())
    return values


class OfFixedVectors(torch.autograd.Function):
    """Singular values, with the gradient of ‖J v_k‖ for fixed v_k, which is u_kᵀ dJ v_k as well, and 0 where s_k is 0.

    A singular value has a kink at 0, and 0 is one of its subgradients there: the one of smallest norm, and the
    derivative itself where J lacks rank whatever the weights are, as behind a softmax or a bottleneck.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, lengths: Tensor, width: int) -> Tensor:
        """The singular values, as they are.

        Args:
            ctx: autograd's context.
            values: s, shape (batch, count), float64.
            lengths: ‖J v_k‖, the same numbers with their history.
            width: the larger side of J.
        """
        ctx.kind = lengths.dtype
        ctx.save_for_backward(_vanishing(lengths, values[:, :1], width))
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        """The gradient of the lengths that are not 0.

        Raises:
            CaelabError: it is to be differentiated, but the vectors move then.
        """
        if torch.is_grad_enabled():
            raise CaelabError(
                "singular_values() can be differentiated once; for a gradient of their gradient use "
                "torch.linalg.svdvals(dense())"
            )
        (zero,) = ctx.saved_tensors
        return None, grads[0].masked_fill(zero, 0.0).to(ctx.kind), None


def with_gradient(values: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Singular values s_k with the gradient of ‖J v_k‖ along the right singular vectors, and 0 where s_k is 0."""
    found: Tensor = OfFixedVectors.apply(values, lengths, width)  # type: ignore[no-untyped-call]
    return found


def _vanishing(lengths: Tensor, largest: Tensor, width: int) -> Tensor:
    """Which lengths ‖J v_k‖ are rounding alone, whose direction is noise: up to ε · width · s_1, as of a rank."""
    return lengths <= torch.finfo(lengths.dtype).eps * max(width, NARROW) * largest


def _roots(squares: Tensor) -> Tensor:
    return squares.clamp(min=0).sqrt()


def _tall(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, whichever has no more columns than rows."""
    return matrix.mT if matrix.shape[0] < matrix.shape[1] else matrix


def _layer_in_double(chain: Chain, budget: int) -> tuple[Tensor, Tensor]:
    """W and the slopes, computed in float64: 1 - h of a saturated unit keeps few digits in float32."""
    entries = chain.widths[0] * chain.widths[1]
    refuse_beyond("the spectrum of one example", 8 * (2 * entries + 3 * min(chain.widths) ** 2), budget)
    (layer,) = chain.in_double().layers
    slopes = [chain_kernels.slopes(layer, part.double()).detach() for part in torch.split(chain.inputs, ROWS)]
    return layer.weight, checked_finite(torch.cat(slopes))


def checked_finite(numbers: Tensor) -> Tensor:
    """The same numbers.

    Raises:
        CaelabError: one is infinite or not a number, of which nothing has a spectrum.
    """
    if not bool(numbers.isfinite().all()):
        raise CaelabError("the Jacobian is not finite, so it has no singular values; check the weights and the inputs")
    return numbers


def tangents_of_matrix(dense: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` leading singular values (batch, count) and right singular vectors (batch, count, input), exact."""
    values, directions = zip(*(_tangents_of_one(matrix, count) for matrix in dense.double()), strict=True)
    return torch.stack(values), torch.stack(directions)


def _tangents_of_one(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of one, from eigenvectors of the float64 Gram matrix on the smaller side.

    Where a wanted singular value is too small for that, from the singular value decomposition of the matrix.
    """
    squares, vectors = leading_eigenpairs(gram(_tall(matrix)), count)
    values = _roots(squares)
    if bool(values[-1] <= RANK_TOLERANCE * values[0]):
        _, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return values[:count], right[:count]
    wide = matrix.shape[0] < matrix.shape[1]
    return values, (vectors @ matrix) / values[:, None] if wide else vectors


def tangents_of_layer(chain: Chain, count: int, mode: str, budget: int) -> tuple[Tensor, Tensor]:
    """As ``tangents_of_matrix`` for diag(s') W, without forming it in the modes fast and strict.

    ``fast``: singular values to 1e-4, the sine of the angle between the subspaces ≤ 2e-2; ``strict``: to 1e-6, and
    ≤ 1e-3. Examples in which no such angle is reached, for want of a gap behind the last one, are computed exactly,
    and so are layers with many weights that are 0.
    """
    weight, slope = _layer_in_double(chain, budget)
    if mode == "exact" or 4 * count >= min(weight.shape) or share_of_zeros(weight) > SPARSE:
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


def share_of_zeros(weight: Tensor) -> float:
    """Where units look at inputs of their own, as in local receptive fields, directions may not be coupled at all."""
    return float((weight == 0).double().mean())


def _exactly(weight: Tensor, slope: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, directions = zip(*(_tangents_of_one(one[:, None] * weight, count) for one in slope), strict=True)
    return torch.stack(values), torch.stack(directions)


def checked_count(count: int, code: int, width: int) -> int:
    """A number of singular values that there are.

    Raises:
        CaelabError: below 1, or more than the smaller side has.
    """
    whole = whole_number(count)
    if whole is None or not 1 <= whole <= min(code, width):
        raise CaelabError(
            f"expected between 1 and {min(code, width)} singular values (code {code}, input {width}), "
            f"but {count!r} came"
        )
    return whole


def checked_mode(mode: str) -> str:
    """A way of computing tangents that there is."""
    if mode not in MODES:
        raise CaelabError(f"expected the mode exact, strict or fast, but {mode!r} came")
    return mode
