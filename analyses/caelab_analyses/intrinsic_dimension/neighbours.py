"""Estimates of the intrinsic dimension of data from distances to nearest neighbours, without a model."""

from __future__ import annotations

import torch
from torch import Tensor

from caelab.errors import CaelabError

DISCARDED = 0.1  # of the ratios, the largest: Facco et al. (2017), section "Methods"


def neighbour_distances(points: Tensor, among: Tensor, count: int) -> Tensor:
    """Distances to the nearest ``count`` others, ascending, shape (batch, count); copies (distance 0) do not count.

    Raises:
        CaelabError: some point has fewer others than that.
    """
    apart = torch.cdist(points.double(), among.double(), compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart.where(apart > 0, torch.inf)
    if count > apart.shape[1] or bool(apart.isfinite().sum(dim=1).min() < count):
        raise CaelabError(
            f"an estimate from {count} neighbours needs as many distinct other examples, but {len(among)} came in all; "
            "lower neighbours, or train on more examples"
        )
    return apart.topk(count, largest=False, sorted=True).values


def two_nearest(distances: Tensor) -> float:
    """TwoNN: the ratio r_2 / r_1 of the two nearest distances is Pareto with exponent d, where the density is constant.

    The line through the origin that fits -log(1 - F) against log(r_2 / r_1), F the empirical distribution, without
    the largest tenth of the ratios; its slope is d. Facco, d'Errico, Rodriguez and Laio (2017), Scientific Reports 7.

    Args:
        distances: ascending, shape (n, 2 or more).
    """
    ratios = (distances[:, 1] / distances[:, 0]).log().sort().values
    count = len(ratios)
    kept = max(1, int(count * (1 - DISCARDED)))
    survival = -torch.log1p(-torch.arange(1, kept + 1, dtype=torch.float64) / count)
    x, y = ratios[:kept], survival
    if count == kept:  # the last has F = 1
        x, y = x[:-1], y[:-1]
    return float((x @ y) / (x @ x))


def _inverse_dimensions(distances: Tensor) -> Tensor:
    """1 / d at each point by maximum likelihood: the mean of log(r_k / r_j) over j < k, shape (n,).

    Levina and Bickel (2004), NIPS, equation 8. The inverse is unbiased where the density is constant, so averages are
    taken of it (MacKay and Ghahramani 2005).

    Args:
        distances: to the k nearest, ascending, shape (n, k).
    """
    return (distances[:, -1:] / distances[:, :-1]).log().mean(dim=1)


def maximum_likelihood(distances: Tensor) -> float:
    """d by Levina and Bickel (2004), one number for all points: the inverse of the mean of their inverses."""
    return float(1 / _inverse_dimensions(distances).mean())
