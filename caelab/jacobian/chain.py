"""The strategy for chains of layers h_l = s_l(W_l h_{l-1} + b_l): J = D_L W_L ... D_1 W_1, D_l = diag(s_l'(z_l))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from caelab.jacobian.activations import RELU
from caelab.jacobian.chain_costs import Route, active_sets_pay, cheapest_route, largest_matrix
from caelab.jacobian.chain_kernels import squared_norm_of_active
from caelab.jacobian.chain_products import from_input, from_output, squared_norm_by
from caelab.jacobian.context import Part
from caelab.jacobian.engines import OwnProducts
from caelab.jacobian.layers import Layer
from caelab.jacobian.memory import MEBIBYTE, pieces, refuse_beyond
from caelab.jacobian.singular_values import differentiated_on_demand, singular_values_by_rows, tangents_by_rows
from caelab.jacobian.strategy import Method, Mode

CACHED = 48 * MEBIBYTE  # of temporaries at once without a record; beyond, every matrix is fresh memory


@dataclass(frozen=True)
class Chain:
    """The Jacobian of a chain of two layers or more at a batch of inputs.

    Attributes:
        layers: from the input to the code.
        inputs: x, shape ``(batch, *input)``.
        outputs: the code at x, where it is known.
        layer_inputs: what each layer takes in at x, (batch, width) each, where that is known, too.
    """

    layers: Sequence[Layer]
    inputs: Tensor
    outputs: Tensor | None = None
    layer_inputs: Sequence[Tensor] | None = None

    @property
    def method(self) -> str:
        """How it is computed."""
        return f"layer by layer ({', '.join(dict.fromkeys(layer.activation.name for layer in self.layers))})"

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J."""
        return self.widths[-1], self.widths[0]

    @property
    def widths(self) -> list[int]:
        """From the input to the code."""
        return [self.layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in self.layers)]

    def at(self, inputs: Tensor, part: Part) -> Chain:
        """The Jacobian of the same map elsewhere; it is the same for every part of the batch."""
        return Chain(self.layers, inputs)

    def _in_double(self) -> Chain:
        """The same map in float64, so that the slopes of saturated units are as exact as its weights allow."""
        return Chain([layer.in_double() for layer in self.layers], self.inputs.detach().double())

    def kept(self) -> OwnProducts:
        """Many products without gradients."""
        return OwnProducts(self)

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        kept = 8 * sum(self.widths) if torch.is_grad_enabled() else 4 * max(self.widths)
        return kept * self.inputs.element_size()

    def slopes(self) -> list[Tensor]:
        """The diagonals of D_1 ... D_L, shape (batch, width) each."""
        if self.layer_inputs is not None:
            outputs = [*self.layer_inputs[1:], self.outputs]
            known = zip(self.layers, self.layer_inputs, outputs, strict=True)
            return [layer.slopes(before, after) for layer, before, after in known]
        found, h = [], self.inputs.flatten(1)
        for layer in self.layers[:-1]:
            z = layer.affine(h)
            h = layer.activation.function(z)
            by_output = layer.activation.of_output
            found.append(by_output[0](h) if by_output else layer.activation.derivative(z))
        last = self.layers[-1]
        code = self.outputs
        if code is None and last.activation.of_output:
            code = last(h)
        return [*found, last.slopes(h, code)]

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,); exact, in pieces of the batch that fit into the budget.

        Where autograd records and one piece would not do, each piece is computed again in the backward pass instead
        of being kept.
        """
        recorded, slopes = torch.is_grad_enabled(), None
        if not recorded:
            slopes = self.slopes()
            if all(layer.activation is RELU for layer in self.layers) and self._active_sets_pay(slopes):
                return squared_norm_of_active([layer.weight for layer in self.layers], slopes)
        route = self.route(len(self.inputs), recorded)
        each = self._bytes_each(route)
        at_once = pieces("the Jacobian of one example", len(self.inputs), each, budget)
        if slopes is not None:
            if self.inputs.device.type == "cpu":
                at_once = min(at_once, max(1, CACHED // each))
            parts = zip(*(torch.split(slope, at_once) for slope in slopes), strict=True)
            return torch.cat([squared_norm_by(route, self.layers, part) for part in parts])
        if at_once >= len(self.inputs):
            return squared_norm_by(route, self.layers, self.slopes())
        part = partial(checkpoint, partial(_squared_norm_of_part, self.layers, route), use_reentrant=False)
        return torch.cat([part(piece) for piece in torch.split(self.inputs, at_once)])

    def route(self, batch: int, recorded: bool) -> Route:
        """The cheapest way to the squared norms of so many examples."""
        return cheapest_route(self.widths, batch, recorded, self.layers[-1].is_affine)

    def _active_sets_pay(self, slopes: Sequence[Tensor]) -> bool:
        if self.inputs.device.type != "cpu":  # many small steps, which a GPU takes one by one
            return False
        active = [float(torch.count_nonzero(slope)) / len(slope) for slope in slopes]
        return active_sets_pay(self.widths, len(self.inputs), active)

    def _bytes_each(self, route: Route) -> int:
        """Bytes per example: the products, with what autograd keeps of them and their gradients."""
        kept = 5 * len(self.layers) if torch.is_grad_enabled() else 3
        return kept * largest_matrix(route, self.widths) * self.inputs.element_size()

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        entries = self.inputs.shape[0] * self.widths[-1] * max(self.widths)
        refuse_beyond("the dense Jacobian", 2 * entries * self.inputs.element_size(), budget)
        slopes = self.slopes()
        if self.widths[0] < self.widths[-1]:
            return from_input(self.layers, slopes)
        return from_output(self.layers, slopes) @ self.layers[0].weight

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v for one or many vectors per example, shape ``(batch, [count,] *input)`` to (batch, [count,] code)."""
        many = vectors.ndim > self.inputs.ndim
        vectors = vectors.flatten(2 if many else 1)
        for layer, slope in zip(self.layers, self.slopes(), strict=True):
            vectors = (vectors @ layer.weight.T) * (slope[:, None] if many else slope)
        return vectors

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u for one or many covectors per example, shape (batch, [count,] code) to (batch, [count,] input)."""
        for layer, slope in zip(reversed(self.layers), reversed(self.slopes()), strict=True):
            slope = slope if covectors.ndim == 2 else slope[:, None]
            covectors = (covectors * slope) @ layer.weight
        return covectors

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The largest singular values, shape (batch, count), float64."""

        def values() -> Tensor:
            return singular_values_by_rows(self._in_double(), count, method, max(self.widths), budget)

        return differentiated_on_demand(self, values, count, budget, gradient)

    @torch.no_grad()
    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values (batch, count) and right singular vectors (batch, count, input), exact."""
        return tangents_by_rows(self._in_double(), count, max(self.widths), budget)


def _squared_norm_of_part(layers: Sequence[Layer], route: Route, inputs: Tensor) -> Tensor:
    return squared_norm_by(route, layers, Chain(layers, inputs).slopes())
