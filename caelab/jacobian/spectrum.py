"""Numbers made of the singular values of J: the largest, their sum, and the logarithm of the volume they span."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.spectrum_gradient import NARROW
from caelab.jacobian.strategy import Method

GRAM_REACHES = 1e-5  # below it, against the largest, a root of the Gram matrix's eigenvalue is off by more than 1e-6


class LogVolume(NamedTuple):
    """Σ log s_k over the singular values above a tolerance, and how many these are.

    Attributes:
        value: shape (batch,), float64.
        rank: how many singular values were summed over, shape (batch,), int64.
    """

    value: Tensor
    rank: Tensor


def log_volume(values: Tensor, tolerance: float) -> LogVolume:
    """Σ log s over s > tolerance · s_1, from all singular values (batch, count); 0 with rank 0 where all are 0."""
    kept = values > tolerance * values[:, :1]
    logs = torch.where(kept, values, 1.0).log()
    return LogVolume(logs.sum(dim=1), kept.sum(dim=1))


def rank_tolerance_of(asked: float | None, dtype: torch.dtype, width: int) -> float:
    """What was asked for, or by default ε · max(width, 64) with the type's ε, as of a numerical rank.

    Raises:
        CaelabError: no number between 0 and 1.
    """
    if asked is None:
        return torch.finfo(dtype).eps * max(width, NARROW)
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 < asked < 1:
        raise CaelabError(
            f"expected a rank tolerance between 0 and 1, as a share of the largest singular value, but {asked!r} came; "
            "leave it out for the rounding of the inputs' type"
        )
    return float(asked)


def method_for(tolerance: float) -> Method:
    """How the singular values down to that share of the largest are computed accurately."""
    return "gram" if tolerance >= GRAM_REACHES else "svd"
