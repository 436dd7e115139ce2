"""The Jacobian service: the one place that computes ∂code/∂input, for penalties and for analyses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import overload

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian import leading as spectra_leading
from caelab.jacobian import singular_values as spectra
from caelab.jacobian.context import Context
from caelab.jacobian.estimates import Estimate, checked_samples, projected_squared_norm
from caelab.jacobian.leading import Leading
from caelab.jacobian.memory import BudgetError, with_an_estimate_instead
from caelab.jacobian.pairs import checked_places, entries_between
from caelab.jacobian.quantities import Quantities
from caelab.jacobian.recording import Recording
from caelab.jacobian.strategy import Method, Mode, Strategy
from caelab.jacobian.validation.surroundings import answered
from caelab.jacobian.validation.vectors import are_many, recordable

Encode = Callable[..., Tensor]


class Jacobian(Quantities):
    """J(x) = ∂f/∂x of a batch, lazily: nothing is computed, or even looked at, before something is asked."""

    @property
    @answered
    def method(self) -> str:
        """How it is computed: closed form, layer by layer, autodiff; after an answer from samples, estimate;
        after a search for leading singular values, block Krylov with the number of products.
        """
        method = self.strategy.method
        if self._last_search is not None:
            return f"{self._last_search} ({method})"
        return method if self._last_estimate is None else f"estimate ({method})"

    @answered
    def squared_norm(self, samples: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """‖J‖_F² = Σ_j Σ_i (∂f_j/∂x_i)², the sum over all code·input entries, one number per example.

        Differentiable with respect to the encoder's parameters, exact or estimated. Rifai et al. (2011), ICML.

        Args:
            samples: instead of the exact value, the unbiased estimate of ``estimated_squared_norm``; its standard
                error is in ``standard_error`` afterwards.
            generator: of the projections, on the inputs' device.

        Returns:
            Shape (batch,).

        Raises:
            CaelabError: there is no Jacobian per example, or one row of it exceeds the memory budget.
        """
        self._last_estimate = self._last_search = None
        if samples is not None:
            self._last_estimate = self.estimated_squared_norm(samples, generator)
            return self._last_estimate.value
        self._renew()
        if self.known_squared_norm is not None:
            return self.known_squared_norm
        try:
            return self.strategy.squared_norm(self._budget())
        except BudgetError as error:
            raise with_an_estimate_instead(error) from None

    @answered
    def estimated_squared_norm(self, samples: int, generator: torch.Generator | None = None) -> Estimate:
        """An unbiased estimate of ‖J‖_F² from random projections, with its standard error.

        The mean of ‖Jᵀ u‖² over random signs u, or of ‖J v‖² where the input is narrower than the code. The value is
        differentiable with respect to the encoder's parameters. Hutchinson (1989).

        Args:
            samples: how many projections of every example.
            generator: of the projections, on the inputs' device.

        Returns:
            ``value`` and ``standard_error``, shape (batch,) each, the error NaN for one sample, and ``freedom``;
            ``interval(0.95)`` gives the ends of an interval by Student's t.

        Raises:
            CaelabError: there is no Jacobian per example, or one product with it exceeds the memory budget.
        """
        self._renew()
        count = checked_samples(samples)
        return projected_squared_norm(self.strategy, count, self._budget(), generator)

    @answered
    def jvp(self, vectors: Tensor) -> Tensor:
        """J v, for one vector per example, shape ``(batch, *input)``, or many, ``(batch, count, *input)``.

        Differentiable with respect to the encoder's parameters and the vectors.

        Returns:
            Shape (batch, code), or (batch, count, code).

        Raises:
            CaelabError: vectors of another shape or type; there is no Jacobian per example.
        """
        self._renew()
        are_many(vectors, self.inputs.shape, self.inputs.dtype, "vectors")
        return self.strategy.jvp(recordable(vectors))

    @answered
    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, for one covector per example, shape (batch, code), or many, (batch, count, code).

        Differentiable with respect to the encoder's parameters and the covectors.

        Returns:
            Shape ``(batch, *input)``, or ``(batch, count, *input)``.

        Raises:
            CaelabError: covectors of another shape or type; there is no Jacobian per example.
        """
        self._renew()
        one = (len(self.inputs), self.shape[0])
        many = are_many(covectors, one, self.inputs.dtype, "covectors")
        found = self.strategy.vjp(recordable(covectors))
        return found.reshape(*found.shape[: 2 if many else 1], *self.inputs.shape[1:])

    @answered
    def dense(self) -> Tensor:
        """J itself, its axes flattened, shape (batch, code, input).

        Differentiable with respect to the encoder's parameters.

        Raises:
            CaelabError: it does not fit into the memory budget; there is no Jacobian per example.
        """
        self._renew()
        return self.strategy.dense(self._budget())

    @answered
    def between(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The entries ∂f_i/∂x_j for units i and inputs j chosen for each example, without the whole matrix.

        With the active units of two sparse codes around a block, as rows and columns, and f the map from one code to
        the other, it is the block's Jacobian in terms of them; the sum of its absolute values is what Farnik et al.
        (2025, ICML) make small. Through the layers of a chain the first and last matrix are cut to what was chosen, so
        the widths of the two codes cost nothing; for other maps it takes as many products as there are rows, or as
        there are columns.

        >>> f = torch.nn.Sequential(torch.nn.Linear(50, 4), torch.nn.Tanh(), torch.nn.Linear(4, 60))
        >>> j = jacobian(f, torch.rand(2, 50))
        >>> rows, columns = torch.tensor([[3, 59], [0, 1]]), torch.tensor([[1, 4, 9], [0, 49, 7]])
        >>> j.between(rows, columns).shape, bool((j.between(rows, columns)[1, 0, 1] - j.dense()[1, 0, 49]).abs() < 1e-6)
        (torch.Size([2, 2, 3]), True)

        Differentiable with respect to the encoder's parameters.

        Args:
            rows: units of the code, whole numbers (batch, i).
            columns: entries of the flattened input, whole numbers (batch, j). An example with fewer of either takes
                any place instead; its entries are there to be masked.

        Returns:
            Shape (batch, i, j).

        Raises:
            CaelabError: places that there are not; there is no Jacobian per example, or the entries of one example
                exceed the memory budget.
        """
        self._renew()
        code, width = self.shape
        chosen = checked_places(rows, "rows", len(self.inputs), code)
        among = checked_places(columns, "columns", len(self.inputs), width)
        recording = self._question.recording
        known = recording.columns if recording is not None and recording.places is columns else None
        return entries_between(self.strategy, chosen, among, self._budget(), known)

    @overload
    def singular_values(
        self, count: int | None = None, method: Method = "gram", *, tolerance: None = None
    ) -> Tensor: ...

    @overload
    def singular_values(self, count: int | None = None, method: Method = "gram", *, tolerance: float) -> Leading: ...

    @answered
    def singular_values(
        self, count: int | None = None, method: Method = "gram", *, tolerance: float | None = None
    ) -> Tensor | Leading:
        """Singular values of J in float64, descending.

        Differentiable once with respect to the encoder's parameters where autograd records: ds_k = u_kᵀ dJ v_k with
        the singular vectors u_k, v_k (of values that are equal, only the gradient of a function that treats them alike
        has a meaning). Where s_k is 0, up to rounding (ε max(code, input, 64) s_1, ε of the inputs' type), the
        derivative is taken as 0: a subgradient of the kink there, and right where J lacks rank for all weights. The
        vectors are computed with the values where ``gradients=True`` was given, as a penalty has it, and else on the
        way back, so that values alone cost no more; for numpy, ``detach()`` them or ask under ``torch.no_grad()``.

        Args:
            count: only the largest so many; all by default.
            method: ``gram``, eigenvalues of the float64 Gram matrix on the smaller side, whose relative error is
                ε (s_1 / s)² / 2; or ``svd`` of the matrix itself, whose error is ε s_1.
            tolerance: instead of exact values, bounds: of each value's error at most this share of the largest value,
                and of the sine of the angle between the directions and the space that is promised. The cheaper route
                is taken, block Krylov or the matrix. Where not even rounding allows it, the bounds are larger.

        Returns:
            Shape (batch, min(code, input)) or (batch, count), float64; with a tolerance
            :class:`~caelab.jacobian.leading.Leading`, which holds them with their bounds. Where the matrix exceeds
            the memory budget, or takes four times the products of a search, the largest come from a search to 1e-4.

        Raises:
            CaelabError: as many singular values do not exist, J is not finite or exceeds the memory budget, or the
                tolerance is not above 0 and below 1.
        """
        self._renew()
        code, width = self.shape
        count = spectra.checked_count(min(code, width) if count is None else count, code, width)
        spectra.checked_method(method)
        if spectra_leading.checked_tolerance(tolerance) is not None:
            found = self._leading(count, tolerance)
            return replace(found, values=self._along(found.values, found.directions))
        search: Leading | None = None

        def compute(strategy: Strategy, wanted: bool) -> Tensor:
            nonlocal search
            values, search = spectra_leading.singular_values(strategy, count, method, self._budget(), wanted)
            return values

        values = self._of_spectrum(compute)
        self._noted(search)
        return values

    def _leading(self, count: int, tolerance: float | None) -> Leading:
        """The leading triplets to a tolerance, without a gradient."""
        found = spectra_leading.leading(self.strategy, count, tolerance, self._budget())
        self._noted(found)
        directions = found.directions.reshape(*found.values.shape, *self.inputs.shape[1:])
        return replace(found, directions=directions)

    @overload
    def tangents(self, count: int, mode: Mode = "exact", *, tolerance: None = None) -> tuple[Tensor, Tensor]: ...

    @overload
    def tangents(self, count: int, mode: Mode = "exact", *, tolerance: float) -> Leading: ...

    @answered
    def tangents(
        self, count: int, mode: Mode = "exact", *, tolerance: float | None = None
    ) -> tuple[Tensor, Tensor] | Leading:
        """The leading singular values and right singular vectors of J, in float64.

        The right singular vectors v_1, v_2, ... are the directions in input space to which the code responds most.
        Their signs are arbitrary. Rifai et al. (2011), NIPS.

        Not differentiable: where a gradient was asked for, by ``gradients=True`` as in a penalty, they are refused
        unless under ``torch.no_grad()``. (Inside a transform of ``torch.func`` they are.) ``singular_values`` and
        ``jvp`` along directions that stand still are.

        Args:
            count: how many, k.
            mode: ``exact``; for one layer also ``strict`` (subspace to a sine of 1e-3) and ``fast`` (singular values
                to 1e-4, subspace to a sine of 2e-2), which do not form J. Other encoders are computed exactly.
            tolerance: instead of exact values, bounds: of each value's error at most this share of the largest value,
                and of the sine of the angle between the directions and the space that is promised. The cheaper route
                is taken, block Krylov or the matrix. Where not even rounding allows it, the bounds are larger.

        Returns:
            Values (batch, k), descending, and directions ``(batch, k, *input)``, orthonormal; with a tolerance
            :class:`~caelab.jacobian.leading.Leading`, which unpacks as this pair and holds the bounds. Where the
            matrix exceeds the memory budget, or takes four times the products of a search, they come from a search
            to 1e-4, and ``method`` says so.

        Raises:
            CaelabError: as many do not exist, J is not finite or exceeds the memory budget, a gradient is wanted, or
                the tolerance is not above 0 and below 1.
        """
        self._renew()
        if self._wants_gradient():
            raise CaelabError(
                "tangents() have no gradient, so a term made of them would train nothing; use singular_values(k), or "
                "take directions that stand still under torch.no_grad() and use jvp(directions)"
            )
        count = spectra.checked_count(count, *self.shape)
        spectra.checked_mode(mode)
        if spectra_leading.checked_tolerance(tolerance, mode) is not None:
            return self._leading(count, tolerance)
        values, directions, search = spectra_leading.tangents(self.strategy, count, mode, self._budget())
        self._noted(search)
        return values, directions.reshape(*directions.shape[:2], *self.inputs.shape[1:])

    def _wants_gradient(self) -> bool:
        return self.gradients and torch.is_grad_enabled()


def jacobian(
    encode: Encode,
    inputs: Tensor,
    outputs: Tensor | Recording | None = None,
    *,
    memory_budget: int | None = None,
    gradients: bool = False,
    known_squared_norm: Tensor | None = None,
    context: Context | None = None,
) -> Jacobian:
    """The Jacobian of a map at a batch of inputs: one lazy object that answers every question about it.

    >>> import torch
    >>> j = jacobian(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sigmoid()), torch.rand(5, 3))
    >>> j.method, j.squared_norm().shape, j.singular_values().shape
    ('closed form (sigmoid)', torch.Size([5]), torch.Size([5, 2]))

    Args:
        encode: an ``nn.Module`` or function from ``(batch, *input)`` to ``(batch, *code)``, example by example.
        inputs: x, shape ``(batch, *input)``, floating-point.
        outputs: encode(x), where it is known: the closed form takes the slopes from it. Or the pass that led to it, as
            ``caelab.jacobian.recording.recorded(encode, x)`` gives it: a chain of layers takes all its slopes from it.
        memory_budget: bytes that a computation may take; a quarter of the free memory by default.
        gradients: refuse an encoder without a trainable parameter, because a gradient will be asked for.
        known_squared_norm: ‖J‖_F² where someone has it already.
        context: what else belongs to each example, as a noise level, a class or a mask: a tensor (batch, ...) or a
            tuple of them, handed to ``encode`` by position behind its inputs, or a dictionary of them, handed over by
            name. It is cut wherever the batch is cut. No derivative with respect to it is taken here, but a penalty's
            gradient flows on through it where it requires one.

    Raises:
        CaelabError: when something is asked, where no such Jacobian exists or an argument does not fit.
    """
    return Jacobian(
        encode,
        inputs,
        outputs,
        memory_budget=memory_budget,
        gradients=gradients,
        known_squared_norm=known_squared_norm,
        context=context,
    )
