"""Corruptions of the input for denoising auto-encoders; the clean batch stays as it is, and nothing is clipped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caelab import hookimpl
from caelab.options import Positive, Probability
from caelab.streams import Streams


def _add_gaussian_noise(clean: Tensor, sigma: float, stream: torch.Generator) -> Tensor:
    """x~ = x + σ ε, ε ~ N(0, I): independent for every input of every example; not clipped.

    Mean x, covariance σ² I. Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), JMLR 11.

    Args:
        clean: shape (batch, *input).
        sigma: σ, the standard deviation.
        stream: generator on the device of ``clean``.

    Returns:
        A new tensor, shape (batch, *input).
    """
    noise = torch.randn(clean.shape, generator=stream, dtype=clean.dtype, device=clean.device)
    return clean + sigma * noise


def mask(clean: Tensor, p: float, stream: torch.Generator) -> Tensor:
    """x~_i = 0 with probability p, otherwise x_i: independent for every input of every example; no rescaling.

    Mean (1 - p) x, covariance p (1 - p) diag(x²). Vincent et al. (2010), JMLR 11.

    Args:
        clean: shape (batch, *input).
        p: the probability of being zeroed.
        stream: generator on the device of ``clean``.

    Returns:
        A new tensor, shape (batch, *input).
    """
    return clean.masked_fill(_uniform_like(clean, stream) < p, 0.0)


def _salt_and_pepper(clean: Tensor, p: float, stream: torch.Generator) -> Tensor:
    """x~_i = 0 or 1 with probability p/2 each, otherwise x_i: independent for every input of every example.

    Mean (1 - p) x + p/2, variance (1 - p) x² + p/2 - mean². Vincent et al. (2010), JMLR 11.

    Args:
        clean: shape (batch, *input), with 0 and 1 as the ends of its range.
        p: the probability of being replaced.
        stream: generator on the device of ``clean``.

    Returns:
        A new tensor, shape (batch, *input).
    """
    draw = _uniform_like(clean, stream)
    return torch.where(draw < p, (draw < p / 2).to(clean.dtype), clean)


def _uniform_like(clean: Tensor, stream: torch.Generator) -> Tensor:
    return torch.rand(clean.shape, generator=stream, dtype=clean.dtype, device=clean.device)


@dataclass(eq=False)
class Gaussian:
    """Adds Gaussian noise to the input: x~ = x + σ ε (Vincent et al. 2010, JMLR 11).

    Attributes:
        sigma: σ, the standard deviation of the noise.
    """

    sigma: Positive

    @hookimpl
    def corrupt_input(self, clean: Tensor, epoch: int, streams: Streams) -> Tensor:
        """A corrupted copy; see ``_add_gaussian_noise``."""
        return _add_gaussian_noise(clean, self.sigma, streams["gaussian corruption"])

    def mean(self, clean: Tensor) -> Tensor:
        """E[x~ | x] = x, shape (batch, *input)."""
        return clean

    def covariance_diagonal(self, clean: Tensor) -> Tensor:
        """Var[x~_i | x] = σ², shape (batch, *input); inputs are independent."""
        return torch.full_like(clean, self.sigma**2)


@dataclass(eq=False)
class Masking:
    """Sets each input to zero with probability p (Vincent et al. 2010, JMLR 11).

    Attributes:
        p: the probability of being zeroed.
    """

    p: Probability

    @hookimpl
    def corrupt_input(self, clean: Tensor, epoch: int, streams: Streams) -> Tensor:
        """A corrupted copy; see ``mask``."""
        return mask(clean, self.p, streams["masking corruption"])

    def mean(self, clean: Tensor) -> Tensor:
        """E[x~ | x] = (1 - p) x, shape (batch, *input)."""
        return (1 - self.p) * clean

    def covariance_diagonal(self, clean: Tensor) -> Tensor:
        """Var[x~_i | x] = p (1 - p) x_i², shape (batch, *input); inputs are independent."""
        return self.p * (1 - self.p) * clean.square()


@dataclass(eq=False)
class SaltAndPepper:
    """Replaces each input by 0 or 1, equally likely, with probability p (Vincent et al. 2010, JMLR 11).

    Attributes:
        p: the probability of being replaced.
    """

    p: Probability

    @hookimpl
    def corrupt_input(self, clean: Tensor, epoch: int, streams: Streams) -> Tensor:
        """A corrupted copy; see ``_salt_and_pepper``."""
        return _salt_and_pepper(clean, self.p, streams["salt-and-pepper corruption"])

    def mean(self, clean: Tensor) -> Tensor:
        """E[x~ | x] = (1 - p) x + p/2, shape (batch, *input)."""
        return (1 - self.p) * clean + self.p / 2

    def covariance_diagonal(self, clean: Tensor) -> Tensor:
        """Var[x~_i | x] = p (1 - p) (x_i - ½)² + p/4, shape (batch, *input); inputs are independent.

        The law of total variance over "replaced or not": the noise's own variance is ¼, its mean ½.
        """
        return self.p * (1 - self.p) * (clean - 0.5).square() + self.p / 4
