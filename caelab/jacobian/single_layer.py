"""The strategy for one layer h = s(W x + b): J = diag(s'(z)) W, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caelab.jacobian import layer_spectra
from caelab.jacobian.chain_kernels import squared_norm_of_layer
from caelab.jacobian.context import Part
from caelab.jacobian.engines import OwnProducts
from caelab.jacobian.layers import Layer
from caelab.jacobian.memory import refuse_beyond
from caelab.jacobian.singular_values import (
    checked_finite,
    differentiated_on_demand,
    singular_values_by_rows,
)
from caelab.jacobian.strategy import Method, Mode

ROWS = 1024  # examples at once in their slopes


@dataclass(frozen=True)
class SingleLayer:
    """The Jacobian of one layer at a batch of inputs.

    Attributes:
        layer: W, b and s.
        inputs: x, shape ``(batch, *input)``.
        outputs: the code at x, where it is known.
    """

    layer: Layer
    inputs: Tensor
    outputs: Tensor | None = None

    @property
    def method(self) -> str:
        """How it is computed."""
        return f"closed form ({self.layer.activation.name})"

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of W."""
        code, width = self.layer.weight.shape
        return code, width

    @property
    def layers(self) -> Sequence[Layer]:
        """The one that it is."""
        return (self.layer,)

    def at(self, inputs: Tensor, part: Part) -> SingleLayer:
        """The Jacobian of the same map elsewhere; it is the same for every part of the batch."""
        return SingleLayer(self.layer, inputs)

    def kept(self) -> OwnProducts:
        """Many products without gradients."""
        return OwnProducts(self)

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        kept = 8 * sum(self.shape) if torch.is_grad_enabled() else 4 * max(self.shape)
        return kept * self.inputs.element_size()

    def slopes(self) -> list[Tensor]:
        """The diagonal of D, shape (batch, code)."""
        return [self.layer.slopes(self.inputs.flatten(1), self.outputs)]

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,)."""
        return squared_norm_of_layer(self.layer, self.inputs.flatten(1), self.outputs)

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        entries = len(self.inputs) * self.shape[0] * max(self.shape)
        refuse_beyond("the dense Jacobian", 2 * entries * self.inputs.element_size(), budget)
        return self.slopes()[0][:, :, None] * self.layer.weight

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v, shape ``(batch, [count,] *input)`` to (batch, [count,] code)."""
        many, (slope,) = vectors.ndim > self.inputs.ndim, self.slopes()
        return (vectors.flatten(2 if many else 1) @ self.layer.weight.T) * (slope[:, None] if many else slope)

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, shape (batch, [count,] code) to (batch, [count,] input)."""
        (slope,) = self.slopes()
        return (covectors * (slope if covectors.ndim == 2 else slope[:, None])) @ self.layer.weight

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The largest singular values, shape (batch, count), float64."""

        def values() -> Tensor:
            if method == "svd":
                double = SingleLayer(self.layer.in_double(), self.inputs.detach().double())
                return singular_values_by_rows(double, count, method, max(self.shape), budget)
            return layer_spectra.singular_values(*self._in_double(budget))[:, :count]

        return differentiated_on_demand(self, values, count, budget, gradient)

    @torch.no_grad()
    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values and right singular vectors; in the modes fast and strict without forming J."""
        return layer_spectra.tangents(*self._in_double(budget), count, mode, budget)

    def _in_double(self, budget: int) -> tuple[Tensor, Tensor]:
        """W and the slopes, computed in float64: 1 - h of a saturated unit keeps few digits in float32."""
        entries = self.shape[0] * self.shape[1]
        refuse_beyond("the spectrum of one example", 8 * (2 * entries + 3 * min(self.shape) ** 2), budget)
        layer = self.layer.in_double()
        parts = torch.split(self.inputs.flatten(1), ROWS)
        return layer.weight, checked_finite(torch.cat([layer.slopes(part.double()).detach() for part in parts]))
