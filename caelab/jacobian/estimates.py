"""Unbiased estimates from random projections, with their errors and intervals; ‖J‖_F² is one of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import special
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.memory import refuse_beyond
from caelab.jacobian.projections import Projections, signs_of, squared_pull, squared_push
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.validation.refusals import whole_number
from caelab.streams import for_examples


class Estimate(NamedTuple):
    """An unbiased estimate with its error.

    Attributes:
        value: shape (batch,).
        standard_error: of each value, from the spread among its samples, shape (batch,); NaN for one sample.
        freedom: degrees of freedom of that error, the independent samples less one.
    """

    value: Tensor
    standard_error: Tensor
    freedom: int

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """value ± t · standard_error, with t of Student's distribution: the interval that holds the truth so often.

        Exact where the samples are normal, as projections of a J of many comparable singular values nearly are.
        ±1.96 standard errors hold it 70 % of the time at two samples. Without a gradient. Student (1908), Biometrika 6.

        >>> estimate = Estimate(torch.tensor([10.0]), torch.tensor([1.0]), freedom=1)
        >>> [round(float(end), 2) for end in estimate.interval(0.95)]
        [-2.71, 22.71]

        Args:
            level: the share of intervals that hold the truth, between 0 and 1.

        Returns:
            Lower and upper ends, shape (batch,) each; NaN for one sample.

        Raises:
            CaelabError: a level that is not between 0 and 1.
        """
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
            raise CaelabError(f"expected the level of an interval between 0 and 1, as 0.95, but {level!r} came")
        times = float(special.stdtrit(self.freedom, (1 + level) / 2)) if self.freedom > 0 else torch.nan
        value, half = self.value.detach(), times * self.standard_error
        return value - half, value + half


def mean_of(samples: Tensor) -> Estimate:
    """The mean over independent samples (batch, samples), with its standard error; the value is differentiable."""
    count = samples.shape[1]
    known = samples.detach()
    error = known.std(dim=1) / count**0.5 if count > 1 else torch.full_like(known[:, 0], torch.nan)
    return Estimate(samples.mean(dim=1), error, count - 1)


def checked_samples(samples: int, least: int = 1) -> int:
    """A number of samples that an estimate can be made of.

    Raises:
        CaelabError: no whole number, or fewer than there have to be.
    """
    count = whole_number(samples)
    if count is None or count < least:
        raise CaelabError(f"expected a whole number of samples, at least {least}, but {samples!r} came")
    return count


def random_coins(inputs: Tensor, samples: int, side: int, budget: int, generator: torch.Generator | None) -> Tensor:
    """Fair zeros and ones, a byte each, shape (batch, samples, side), drawn at once.

    Raises:
        CaelabError: they exceed the budget.
    """
    refuse_beyond("a set of random signs", 2 * len(inputs) * samples * side, budget)

    def drawn(count: int) -> Tensor:
        size = (count, samples, side)
        return torch.randint(0, 2, size, generator=generator, device=inputs.device, dtype=torch.int8)

    return for_examples(drawn, len(inputs), generator)


def projected_squared_norm(
    jacobian: Strategy, samples: int, budget: int, generator: torch.Generator | None = None
) -> Estimate:
    """Mean of ‖Jᵀ u‖² over random signs u, or of ‖J v‖² where the input is the narrower side; and its standard error.

    E‖Jᵀ u‖² = tr(J Jᵀ) = ‖J‖_F² for entries ±1, whose variance 2 Σ_{i≠j} (J Jᵀ)_ij² is the least among
    independent entries. Differentiable; for chains of layers without double backward.
    Hutchinson (1989), Communications in Statistics 18(3).

    Args:
        jacobian: J at a batch of inputs.
        samples: how many projections of every example.
        budget: bytes. The signs are drawn at once, so that they do not depend on it; the products are taken in pieces.
        generator: on the inputs' device.

    Returns:
        One estimate for each example.

    Raises:
        CaelabError: the signs alone, or one product, exceed the budget.
    """
    inputs, (code, width) = jacobian.inputs, jacobian.shape
    coins = random_coins(inputs, samples, min(code, width), budget, generator)
    number = squared_pull if code <= width else squared_push
    projections = Projections(jacobian, signs_of(coins, inputs.dtype), samples, number)
    return mean_of(projections.in_pieces(budget - coins.numel()))
