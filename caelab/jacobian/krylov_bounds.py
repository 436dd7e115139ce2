"""How far Ritz values and Ritz vectors of G = J Jᵀ are from the truth, from their residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caelab.jacobian.krylov_space import Ritz

_ROUNDING = 5  # residuals below so many ε θ_1 are rounding


@dataclass(frozen=True)
class Bounds:
    """What is known of the leading k of the Ritz pairs, each (batch, ...).

    Attributes:
        value: for each singular value, (batch, k).
        sine: between each of the k vectors and the space that is promised, (batch,).
        promised: the dimension of that space, (batch,): k, or where a cluster of values reaches beyond k, up to the
            end of the cluster.
        settled: whether that is as good as was asked for, or as rounding allows, (batch,).
        rounding: of a residual, (batch,).
    """

    value: Tensor
    sine: Tensor
    promised: Tensor
    settled: Tensor
    rounding: Tensor


def bounds(ritz: Ritz, count: int, tolerance: float, width: int, rounding: Tensor) -> Bounds:
    """A posteriori bounds.

    With R_j the residuals of the first j pairs, the values are off by at most min(‖R_j‖, ‖R_j‖² / gap_j) (Kahan 1967;
    Mathias 1998) and the space by the sine ‖R_j‖ / gap_j (Davis & Kahan 1970), where gap_j = θ_j - (θ_{j+1} + its
    residual): the next eigenvalue is taken to be known that well, of which ``krylov`` assures itself with fresh random
    vectors. Frobenius norms, and to each residual the rounding is added.

    Args:
        ritz: at least k + 1 pairs, or all that there are.
        count: k.
        tolerance: of the values against the largest, and of the sine.
        width: n, that of G.
        rounding: of a residual, shape (batch,).
    """
    values, floor = ritz.values.clamp(min=0), rounding[:, None]
    norms = ritz.residuals.norm(dim=2)
    together = norms.square().cumsum(dim=1).sqrt() + floor
    gaps = _gaps(values, norms + floor, width)
    sines = torch.where(gaps > together, together / gaps, torch.ones_like(gaps))
    separate = torch.minimum(together, together.square() / gaps).where(gaps > 0, torch.inf)
    # a value's bound is that of any leading space that holds its vector and is separate from the rest
    squares = torch.cat([separate[:, :-1], torch.minimum(separate[:, -1:], together[:, -1:])], dim=1)
    squares = squares.flip(1).cummin(dim=1).values.flip(1)[:, :count] + floor
    error = of_roots(values[:, :count].sqrt(), squares)
    sine, promised, as_asked = _promise(values, norms, sines, count, tolerance, floor, width)
    largest = values[:, :1].sqrt()
    close = (error <= tolerance * largest) | (squares <= 4 * floor)
    return Bounds(error, sine, promised, as_asked & close.all(dim=1), rounding)


def rounding_of(largest: Tensor, asymmetry: Tensor, dtype: torch.dtype, width: int) -> Tensor:
    """What rounding adds to a residual, (batch,): 5 ε θ_1, or more where the products are seen to be less exact.

    The eigenvalues' own rounding in float64 comes with it.
    """
    own = 3 * max(20, width) * torch.finfo(torch.float64).eps
    return torch.maximum((_ROUNDING * torch.finfo(dtype).eps + own) * largest.clamp(min=0), asymmetry)


def _gaps(values: Tensor, norms: Tensor, width: int) -> Tensor:
    """θ_j - (θ_{j+1} + its residual) behind each pair; unknown, so 0, behind the last, unless nothing comes behind."""
    last = torch.inf if values.shape[1] == width else 0.0
    behind = values[:, :-1] - values[:, 1:] - norms[:, 1:]
    return torch.cat([behind, torch.full_like(values[:, :1], last)], dim=1)


def of_roots(roots: Tensor, squares: Tensor) -> Tensor:
    """The error of √θ, given √θ and the error of θ."""
    values = roots.square()
    below, above = roots - (values - squares).clamp(min=0).sqrt(), (values + squares).sqrt() - roots
    return torch.maximum(below, above)


def _promise(
    values: Tensor, norms: Tensor, sines: Tensor, count: int, tolerance: float, floor: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The sine of the space that can be promised, its dimension, and whether that is as good as it gets.

    The gap behind k may be below what rounding resolves: then the first space behind k that is good enough.
    """
    spread = values[:, :-1] - values[:, 1:] + norms[:, :-1] + norms[:, 1:]
    at_rest = torch.maximum(norms[:, :-1], norms[:, 1:]).cummax(dim=1).values <= floor  # no step betters them
    unresolved = (spread <= 4 * floor / tolerance) | at_rest
    sines_behind, unresolved = sines[:, count - 1 :], unresolved[:, count - 1 :]
    good = sines_behind <= tolerance
    first = torch.where(good.any(dim=1), good.double().argmax(dim=1), sines_behind.argmin(dim=1))
    # all gaps before the space that is promised must be beyond resolution
    before = torch.nn.functional.pad(unresolved.double(), (1, 0), value=1.0).cumprod(dim=1).bool()
    reached = before.gather(1, first[:, None])[:, 0]
    nothing = ~good.any(dim=1)
    settled = torch.where(nothing, before.all(dim=1), reached)
    sine = sines_behind.gather(1, first[:, None])[:, 0]
    promised = first + count
    empty = nothing & (sine >= 1)  # the whole space holds them
    return torch.where(empty, 0.0, sine), torch.where(empty, width, promised), settled
