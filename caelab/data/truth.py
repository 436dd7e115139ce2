"""Known truth of synthetic data: tangent spaces, or the score of a density."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tangents:
    """The manifold's tangent space at the noiseless point of every example.

    Args:
        basis: shape (n, k, d), float64, k orthonormal rows for each example.
        points: shape (n, d), float64, the examples before noise.
    """

    basis: Tensor
    points: Tensor

    @property
    def dimension(self) -> int:
        """The dimension k of the manifold."""
        return self.basis.shape[1]


@dataclass(frozen=True, eq=False)
class SubspaceGaussian(Tangents):
    """A Gaussian on a linear subspace, x = scale Q u + noise e with u and e standard normal, and its density.

    Args:
        scale: the standard deviation along the subspace.
        noise: the standard deviation in each of all dimensions; 0 leaves the examples on the subspace.
    """

    scale: float
    noise: float

    def log_density(self, points: Tensor) -> Tensor:
        """log p(x), with a² = scale² + noise² along the k rows of the basis and noise² across the other d - k.

        -½ (‖Qᵀx‖² / a² + k log 2πa² + ‖x - QQᵀx‖² / noise² + (d - k) log 2π noise²); without noise the density with
        respect to the area on the subspace, of the projection of x: the first two terms.

        Args:
            points: shape (n, d).

        Returns:
            Shape (n,), float64, differentiable with respect to the points.
        """
        basis, x = self.basis[0], points.double()
        inside = x @ basis.T
        along = _log_normal(inside, math.hypot(self.scale, self.noise))
        if self.noise == 0:
            return along
        across = _log_normal(x - inside @ basis, self.noise)
        counted_twice = self.dimension * math.log(self.noise * math.sqrt(2 * math.pi))
        return along + across + counted_twice  # x - QQᵀx has only d - k dimensions


def _log_normal(points: Tensor, sigma: float) -> Tensor:
    """The log density of N(0, sigma² I) at points of shape (n, d), shape (n,)."""
    return points.square().sum(dim=1) / (-2 * sigma**2) - points.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


@dataclass(frozen=True, eq=False)
class Score:
    """A mixture of K equally likely Gaussians, N(centre, sigma^2 I), and its score.

    Args:
        centres: shape (K, d), float64.
        sigma: the standard deviation, one for all.
    """

    centres: Tensor
    sigma: float

    def log_density(self, points: Tensor) -> Tensor:
        """log p(x) = log sum_k exp(-||x - c_k||^2 / (2 sigma^2)) - log K - (d / 2) log(2 pi sigma^2).

        Args:
            points: shape (n, d).

        Returns:
            Shape (n,), float64, differentiable with respect to the points.
        """
        count, width = self.centres.shape
        norm = math.log(count) + width / 2 * math.log(2 * math.pi * self.sigma**2)
        return self._exponents(points).logsumexp(dim=1) - norm

    def score(self, points: Tensor) -> Tensor:
        """The gradient of log p: sum_k w_k(x) (c_k - x) / sigma^2, w_k(x) the posterior share of component k.

        Args:
            points: shape (n, d).

        Returns:
            Shape (n, d), float64.
        """
        shares = self._exponents(points).softmax(dim=1)
        return (shares @ self.centres - points.double()) / self.sigma**2

    def _exponents(self, points: Tensor) -> Tensor:
        """(n, K): minus the squared distances over 2 sigma^2, without cancellation."""
        apart = points.double()[:, None] - self.centres
        return apart.square().sum(dim=2) / (-2 * self.sigma**2)
