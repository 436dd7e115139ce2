"""Questions about a Jacobian that are answered by one number per example, made of its spectrum or its diagonal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from caelab.jacobian import leading
from caelab.jacobian.estimates import Estimate
from caelab.jacobian.examined_map import ExaminedMap
from caelab.jacobian.memory import BudgetError, with_an_estimate_instead
from caelab.jacobian.spectrum import (
    LogVolume,
    log_volume,
    method_for,
    rank_tolerance_of,
)
from caelab.jacobian.spectrum_gradient import with_deferred_gradient
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.trace import (
    TraceMethod,
    checked_trace_method,
    estimated_trace,
    exact_trace,
    refuse_unless_square,
)
from caelab.jacobian.transformed import is_inside
from caelab.jacobian.validation.surroundings import answered


class Quantities(ExaminedMap):
    """The map at a batch of inputs, asked for norms, volumes and traces of its Jacobian J, (batch, code, input)."""

    _last_estimate: Estimate | None = None
    _last_search: str | None = None

    @answered
    def spectral_norm(self) -> Tensor:
        """‖J‖_2 = s_1, the largest singular value: how far a small change of the input can move the code.

        Differentiable once, ds_1 = u_1ᵀ dJ v_1 with the singular vectors u_1, v_1; where s_1 = s_2, one of the
        subgradients, and 0 where J is 0. Trefethen and Bau (1997), Numerical Linear Algebra, lecture 5; the gradient:
        Magnus (1985), Econometric Theory 1. Exact, unless the matrix exceeds the memory budget or takes four times the
        products of a search: then to 1e-4, and ``method`` says so.

        Returns:
            Shape (batch,), float64.

        Raises:
            CaelabError: there is no Jacobian per example, J is not finite, or one product exceeds the memory budget.
        """
        self._renew()
        strategy, budget = self.strategy, self._budget()
        if is_inside():
            return strategy.singular_values(1, "gram", budget, self.gradients)[:, 0]
        with torch.no_grad():
            values, directions, search = leading.tangents(strategy, 1, "exact", budget)
        self._noted(search)
        return self._along(values, directions)[:, 0]

    @answered
    def nuclear_norm(self) -> Tensor:
        """‖J‖_* = Σ_k s_k, the sum of the singular values, which a penalty takes for the rank.

        Differentiable once, Σ_k u_kᵀ dJ v_k; a singular value that is 0, up to rounding, adds 0, which is the
        subgradient of smallest norm. Equal singular values do no harm. Fazel, Hindi and Boyd (2001), ACC.

        Returns:
            Shape (batch,), float64.

        Raises:
            CaelabError: there is no Jacobian per example, J is not finite, or it exceeds the memory budget.
        """
        self._renew()
        count = min(self.shape)
        found = self._of_spectrum(
            lambda strategy, wanted: strategy.singular_values(count, "gram", self._budget(), wanted)
        )
        return found.sum(dim=1)

    @answered
    def log_volume(self, rank_tolerance: float | None = None) -> LogVolume:
        """Σ_k log s_k over the singular values above a tolerance, and how many these are.

        The logarithm of the volume to which J takes a unit cube of the directions it does not annul; for a J of full
        rank ½ log det(J Jᵀ), or ½ log det(Jᵀ J). A final LayerNorm makes one singular value exactly 0, of which a
        computer sees the rounding, so compare values of equal rank. Where J is 0 the value is 0, the empty sum, and
        the rank 0.

        The value is differentiable once, Σ_k u_kᵀ dJ v_k / s_k, where the rank stands still; below the rounding of
        the inputs' type singular values add no gradient. Ben-Israel (1999), SIAM Journal on Matrix Analysis 21(1).

        Args:
            rank_tolerance: the share of s_1 up to which a singular value counts as 0; ε max(code, input, 64) by
                default, with ε of the inputs' type.

        Returns:
            ``value``, float64, and ``rank``, shape (batch,) each.

        Raises:
            CaelabError: a tolerance that is not between 0 and 1; there is no Jacobian per example, J is not finite,
                or it exceeds the memory budget.
        """
        self._renew()
        tolerance = rank_tolerance_of(rank_tolerance, self.inputs.dtype, max(self.shape))
        count, method = min(self.shape), method_for(tolerance)
        values = self._of_spectrum(
            lambda strategy, wanted: strategy.singular_values(count, method, self._budget(), wanted)
        )
        return log_volume(values, tolerance)

    @answered
    def trace(
        self,
        samples: int | None = None,
        method: TraceMethod = "hutchinson",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """tr J = Σ_j ∂f_j/∂x_j of a map whose code is as wide as its input, the divergence of f.

        Differentiable with respect to the encoder's parameters, exact or estimated. The exact trace takes as many
        products as the input has entries, in blocks within the memory budget; of one or two layers, none.

        Args:
            samples: instead of the exact value, the unbiased estimate of ``estimated_trace`` from so many products;
                its standard error is in ``standard_error`` afterwards.
            method: of the estimate, ``hutchinson`` or ``hutch++``.
            generator: of the random signs, on the inputs' device.

        Returns:
            Shape (batch,).

        Raises:
            CaelabError: J is not square, another method, too few samples, or one product exceeds the memory budget.
        """
        self._last_estimate = self._last_search = None
        checked_trace_method(method)
        if samples is not None:
            self._last_estimate = self.estimated_trace(samples, method, generator)
            return self._last_estimate.value
        self._renew()
        refuse_unless_square(*self.shape)
        try:
            return exact_trace(self.strategy, self._budget())
        except BudgetError as error:
            raise with_an_estimate_instead(error) from None

    @answered
    def estimated_trace(
        self, samples: int, method: TraceMethod = "hutchinson", generator: torch.Generator | None = None
    ) -> Estimate:
        """An unbiased estimate of tr J from products with random signs u, with its standard error.

        ``hutchinson`` is the mean of uᵀ J u, of variance Σ_{i<j} (J_ij + J_ji)²; Hutchinson (1989). ``hutch++`` spends
        a third of the products on finding the directions that matter and a third on their exact trace, and estimates
        the rest; it pays where few singular values are large. Meyer, Musco, Musco and Woodruff (2021). Both are
        differentiable with respect to the encoder's parameters.

        Args:
            samples: how many products with J; at least 3 for ``hutch++``.
            method: ``hutchinson`` or ``hutch++``.
            generator: of the random signs, on the inputs' device.

        Returns:
            ``value``, ``standard_error``, shape (batch,) each, and ``freedom``; ``interval()`` gives the ends.

        Raises:
            CaelabError: J is not square, another method, too few samples, or one product exceeds the memory budget.
        """
        self._renew()
        refuse_unless_square(*self.shape)
        return estimated_trace(self.strategy, samples, method, self._budget(), generator)

    @property
    def standard_error(self) -> Tensor | None:
        """That of the last ``squared_norm`` or ``trace``: None of an exact one, (batch,) of an estimate."""
        return None if self._last_estimate is None else self._last_estimate.standard_error

    def _noted(self, search: leading.Leading | None) -> None:
        """Note down how the last leading singular values were found."""
        self._last_search = None if search is None or search.method == "matrix" else search.method

    def _along(self, values: Tensor, directions: Tensor) -> Tensor:
        """Singular values with the gradient of ‖J v‖ along the right singular vectors that were found."""

        def compute(strategy: Strategy, wanted: bool) -> Tensor:
            return leading.differentiable(strategy, values, directions) if wanted else values

        return self._of_spectrum(compute)

    def _of_spectrum(self, compute: Callable[[Strategy, bool], Tensor]) -> Tensor:
        """What is made of singular values: its gradient is ready where one was asked for, and else computed on demand.

        Args:
            compute: gives it, from a strategy and whether its gradient is wanted.
        """
        strategy, recorded = self.strategy, torch.is_grad_enabled()
        if self.gradients or not recorded or is_inside():
            return compute(strategy, recorded)
        with torch.no_grad():
            values = compute(strategy, False)
        return with_deferred_gradient(values, strategy, lambda fresh: compute(fresh, True))
