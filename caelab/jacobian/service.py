"""The one place that computes ∂code/∂input: what is penalised and what is analysed come from here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian import singular_values as spectra
from caelab.jacobian.activations import IDENTITY
from caelab.jacobian.autodiff import Autodiff
from caelab.jacobian.chain import Chain
from caelab.jacobian.context import Context, conditioned
from caelab.jacobian.estimates import projected_squared_norm
from caelab.jacobian.layers import find_layers
from caelab.jacobian.memory import budget_in_bytes
from caelab.jacobian.transformed import Transformed, is_inside
from caelab.jacobian.validation import findings, passes, refusals, trial
from caelab.jacobian.validation.compiled import uncompiled
from caelab.jacobian.validation.states import State, state_of
from caelab.jacobian.validation.surroundings import answered
from caelab.registry.arguments import tensor_of

Encode = Callable[..., Tensor]
Way = Chain | Autodiff | Transformed


class Jacobian:
    """J(x) = ∂f/∂x of a batch, lazily: nothing is computed, or even looked at, before something is asked.

    Attributes:
        standard_error: of the last estimate ``squared_norm(samples=k)``, shape (batch,); NaN where k is 1.
    """

    standard_error: Tensor | None = None

    def __init__(
        self,
        encode: Encode,
        inputs: Tensor,
        outputs: Tensor | None = None,
        *,
        memory_budget: int | None = None,
        gradients: bool = False,
        known_squared_norm: Tensor | None = None,
        context: Context | None = None,
    ) -> None:
        self.encode = encode
        self.context = context
        self.inputs = _recordable(inputs)
        self.outputs = None if outputs is None else tensor_of(outputs, "outputs")
        self._ways: dict[bool, Way] = {}
        self._state: State = ()
        self.memory_budget = memory_budget
        self.gradients = gradients
        known = known_squared_norm
        self.known_squared_norm = None if known is None else tensor_of(known, "known_squared_norm")

    def __repr__(self) -> str:
        return f"Jacobian of {refusals.name_of(self.encode)} at {tuple(self.inputs.shape)}"

    @property
    @answered
    def method(self) -> str:
        """How it is computed: closed form, layer by layer, autodiff; after an estimate, that."""
        return f"estimate ({self.way.method})" if self.standard_error is not None else self.way.method

    @property
    def way(self) -> Way:
        """The cheapest exact way, chosen by looking at the module, and by trying it out.

        Found once where autograd records and once where it does not: a weight that is computed from others, as a tied
        one, has a history only there.

        Raises:
            CaelabError: there is no Jacobian per example, or no parameter to take a gradient.
        """
        recorded = torch.is_grad_enabled()
        if recorded not in self._ways:
            self._ways[recorded] = self._found_way()
        return self._ways[recorded]

    @answered
    def _found_way(self) -> Way:
        refusals.refuse_inputs(self.inputs, self.encode)
        if self.gradients:
            refusals.refuse_untrainable(self.encode)
        encode = conditioned(uncompiled(self.encode), self.context, len(self.inputs))
        if is_inside():
            refusals.refuse_modules(self.encode)
            return Transformed(encode, self.inputs)
        self._state = state_of(self.encode)
        look = partial(find_layers, encode, self.inputs.shape[1:])
        finding = findings.examined(encode, self.inputs, self._state, look, self._budget)
        layers = look() if finding.is_chain else None
        if layers is not None:
            self._refuse_other_outputs(finding)
            chain = Chain(layers, self.inputs.flatten(1), self._known_outputs())
            if trial.agrees_once(finding.tried, self._pulled_by(chain), encode, self.inputs):
                return chain
        way = Autodiff(finding.applied(encode), self.inputs, finding.tried)
        if self.gradients and torch.is_grad_enabled() and not finding.trains:
            finding.trains = way.parameters_want_gradient()
            if not finding.trains:
                refusals.refuse_no_gradient(self.encode)
        return way

    def _refuse_other_outputs(self, finding: findings.Finding) -> None:
        """Refuse a code that is not the encoder's at these inputs; seen at its shape, and once at its values."""
        known = self._known_outputs()
        if known is None or (finding.outputs_agreed and len(known) == len(self.inputs)):
            return
        few = slice(0, 2)
        with torch.no_grad():
            code = self.encode(self.inputs[few].detach())
        if known.shape != (len(self.inputs), *code.shape[1:]) or not passes.same(known[few].detach(), code):
            raise CaelabError(
                f"the outputs that were given, of shape {tuple(known.shape)}, are not those of "
                f"{refusals.name_of(self.encode)} at the inputs {tuple(self.inputs.shape)}; leave them out"
            )
        finding.outputs_agreed = True

    def _renew(self) -> None:
        """Look again at an encoder that was switched since the last answer."""
        if self._ways and state_of(self.encode) != self._state:
            self._ways.clear()

    def _pulled_by(self, chain: Chain) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda inputs, covectors: chain.at(inputs.flatten(1), slice(None)).vjp(covectors)

    def _known_outputs(self) -> Tensor | None:
        """The code, if it is known in full precision, and with its history where autograd records."""
        if self.outputs is None or self.outputs.dtype != self.inputs.dtype:
            return None
        return None if torch.is_grad_enabled() and not self.outputs.requires_grad else self.outputs

    @property
    @answered
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J with its axes flattened."""
        way = self.way
        code = way.widths[-1] if isinstance(way, Chain) else way.code_width()
        return code, self.inputs[0].numel()

    @property
    def is_constant(self) -> bool:
        """Whether J is seen to be the same at every input: the map is a chain of affine steps alone."""
        if self.known_squared_norm is not None:  # no need to look
            return False
        way = self.way
        return isinstance(way, Chain) and all(layer.activation is IDENTITY for layer in way.layers)

    @answered
    def squared_norm(self, samples: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """‖J‖_F² = Σ_j Σ_i (∂f_j/∂x_i)², the sum over all code·input entries, one number per example.

        Differentiable with respect to the encoder's parameters, exact or estimated. Rifai et al. (2011), ICML.

        Args:
            samples: instead of the exact value, an unbiased estimate from so many random projections; its standard
                error is in ``standard_error``.
            generator: of the projections, on the inputs' device.

        Returns:
            Shape (batch,).

        Raises:
            CaelabError: there is no Jacobian per example, or one row of it exceeds the memory budget.
        """
        self._renew()
        if samples is None:
            self.standard_error = None
            if self.known_squared_norm is not None:
                return self.known_squared_norm
            return self.way.squared_norm(self._budget())
        count = refusals.whole_number(samples)
        if count is None or count < 1:
            raise CaelabError(f"expected a whole number of samples, at least 1, but {samples!r} came")
        code, budget = self.shape[0], self._budget()
        estimate, self.standard_error = projected_squared_norm(self.way, code, count, budget, generator)
        return estimate

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
        many = self._are_many(vectors, self.inputs.shape, "vectors")
        vectors = _recordable(vectors)
        if isinstance(self.way, Chain):
            vectors = vectors.flatten(2 if many else 1)
        return self.way.jvp(vectors)

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
        many = self._are_many(covectors, torch.Size([len(self.inputs), self.shape[0]]), "covectors")
        found = self.way.vjp(_recordable(covectors))
        return found.reshape(*found.shape[: 2 if many else 1], *self.inputs.shape[1:])

    def _are_many(self, given: Tensor, one: torch.Size, what: str) -> bool:
        if not isinstance(given, Tensor) or given.dtype != self.inputs.dtype:
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise CaelabError(
                f"expected {what} of type {self.inputs.dtype}, as the inputs, but {kind} came; convert them"
            )
        if given.shape == one:
            return False
        if given.ndim == len(one) + 1 and (given.shape[0], *given.shape[2:]) == tuple(one):
            return True
        raise CaelabError(
            f"expected {what} of shape {tuple(one)}, or with a further axis after the first, "
            f"but {tuple(given.shape)} came"
        )

    @answered
    def dense(self) -> Tensor:
        """J itself, its axes flattened, shape (batch, code, input).

        Differentiable with respect to the encoder's parameters.

        Raises:
            CaelabError: it does not fit into the memory budget; there is no Jacobian per example.
        """
        self._renew()
        return self.way.dense(self._budget())

    @answered
    def singular_values(self, count: int | None = None, method: Literal["gram", "svd"] = "gram") -> Tensor:
        """Singular values of J in float64, descending.

        Differentiable once with respect to the encoder's parameters where ``gradients=True`` was given, as a penalty
        has it, and autograd records: ds_k = u_kᵀ dJ v_k with the singular vectors u_k, v_k (of values that are equal,
        only the gradient of a function that treats them alike has a meaning). Where s_k is 0, up to rounding
        (ε max(code, input, 64) s_1, ε of the inputs' type), the derivative is taken as 0: a subgradient of the kink
        there, and right where J lacks rank for all weights. Otherwise without a gradient.

        Args:
            count: only the largest so many; all by default.
            method: ``gram``, eigenvalues of the float64 Gram matrix on the smaller side, whose relative error is
                ε (s_1 / s)² / 2; or ``svd`` of the matrix itself, whose error is ε s_1.

        Returns:
            Shape (batch, min(code, input)) or (batch, count), float64.

        Raises:
            CaelabError: as many singular values do not exist, or J is not finite or exceeds the memory budget.
        """
        self._renew()
        code, width = self.shape
        count = spectra.checked_count(min(code, width) if count is None else count, code, width)
        if method not in ("gram", "svd"):
            raise CaelabError(f"expected the method gram or svd, but {method!r} came")
        if isinstance(self.way, Transformed):
            return self.way.singular_values()[:, :count]
        if self.gradients and torch.is_grad_enabled():
            return self._recorded_singular_values(count, method)
        with torch.no_grad():
            return self._singular_values(count, method)

    def _singular_values(self, count: int, method: str) -> Tensor:
        if method == "gram" and isinstance(self.way, Chain) and len(self.way.layers) == 1:
            return spectra.singular_values_of_layer(self.way, self._budget())[:, :count]
        compute = spectra.singular_values_by_svd if method == "svd" else spectra.singular_values_of_matrix
        return torch.cat([compute(piece)[:, :count] for piece in self._dense_pieces()])

    def _recorded_singular_values(self, count: int, method: str) -> Tensor:
        with torch.no_grad():
            values = self._singular_values(count, method)
            directions = self._tangents(count, "exact")[1].to(self.inputs.dtype)
        return spectra.with_gradient(values, self.jvp(directions).norm(dim=2), max(self.shape))

    @answered
    def tangents(self, count: int, mode: spectra.Mode = "exact") -> tuple[Tensor, Tensor]:
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

        Returns:
            Values (batch, k), descending, and directions ``(batch, k, *input)``, orthonormal.

        Raises:
            CaelabError: as many do not exist, J is not finite or exceeds the memory budget, or a gradient is wanted.
        """
        self._renew()
        if self.gradients and torch.is_grad_enabled():
            raise CaelabError(
                "tangents() have no gradient, so a term made of them would train nothing; use singular_values(k), or "
                "take directions that stand still under torch.no_grad() and use jvp(directions)"
            )
        with nullcontext() if is_inside() else torch.no_grad():
            return self._tangents(count, mode)

    def _tangents(self, count: int, mode: str) -> tuple[Tensor, Tensor]:
        count = spectra.checked_count(count, *self.shape)
        spectra.checked_mode(mode)
        if isinstance(self.way, Transformed):
            values, directions = self.way.tangents(count)
        elif isinstance(self.way, Chain) and len(self.way.layers) == 1:
            values, directions = spectra.tangents_of_layer(self.way, count, mode, self._budget())
        else:
            parts = [spectra.tangents_of_matrix(piece, count) for piece in self._dense_pieces()]
            values, directions = (torch.cat(part) for part in zip(*parts, strict=True))
        return values, directions.reshape(*directions.shape[:2], *self.inputs.shape[1:])

    def _dense_pieces(self) -> Any:
        """J of a few examples at a time, so that matrices in float64 fit into the budget as well."""
        code, width = self.shape
        chain = self.way.in_double() if isinstance(self.way, Chain) else None
        widest = max(chain.widths) if chain else width
        at_once = max(1, self._budget() // (4 * 8 * code * widest))
        for first in range(0, len(self.inputs), at_once):
            part = slice(first, first + at_once)
            piece = (chain or self.way).at((chain or self.way).inputs[part], part)
            yield spectra.checked_finite(piece.dense(self._budget())).double()

    def _budget(self) -> int:
        return budget_in_bytes(self.memory_budget, self.inputs.device)


def _recordable(inputs: Any) -> Any:
    """The inputs, or a copy of them that autograd can record, where they were made in torch.inference_mode()."""
    made_without = isinstance(inputs, Tensor) and inputs.is_inference() and not torch.is_inference_mode_enabled()
    return inputs.clone() if made_without else inputs


def jacobian(
    encode: Encode,
    inputs: Tensor,
    outputs: Tensor | None = None,
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
        outputs: encode(x), where it is known: the closed form takes the slopes from it.
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
