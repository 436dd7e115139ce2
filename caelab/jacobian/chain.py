"""Chains of layers h_l = s_l(W_l h_{l-1} + b_l): J = D_L W_L ... D_1 W_1, with D_l = diag(s_l'(z_l)) per example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from caelab.jacobian import chain_kernels
from caelab.jacobian.activations import RELU
from caelab.jacobian.chain_kernels import SquaredNormThroughGram, pays, recorded_inputs, squared_norm_of_active
from caelab.jacobian.context import Part
from caelab.jacobian.layers import Affine, Layer
from caelab.jacobian.memory import pieces, refuse_beyond


@dataclass(frozen=True)
class Chain:
    """The Jacobian of a chain of layers at a batch of vectors.

    Attributes:
        layers: from the input to the code.
        inputs: x, shape (batch, input).
        outputs: the code at x, where it is known.
    """

    layers: Sequence[Layer]
    inputs: Tensor
    outputs: Tensor | None = None

    @property
    def method(self) -> str:
        """How it is computed."""
        names = ", ".join(dict.fromkeys(layer.activation.name for layer in self.layers))
        return f"closed form ({names})" if len(self.layers) == 1 else f"layer by layer ({names})"

    @property
    def widths(self) -> list[int]:
        """From the input to the code."""
        return [self.layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in self.layers)]

    def at(self, inputs: Tensor, part: Part) -> Chain:
        """The Jacobian of the same map elsewhere; it is the same for every part of the batch."""
        return Chain(self.layers, inputs)

    def in_double(self) -> Chain:
        """The same map in float64, so that the slopes of saturated units are as exact as its weights allow."""
        affine = [(layer.weight.detach().double(), layer.affine.bias) for layer in self.layers]
        maps = [Affine(weight, None if bias is None else bias.detach().double()) for weight, bias in affine]
        layers = [Layer(one, layer.activation) for one, layer in zip(maps, self.layers, strict=True)]
        return Chain(layers, self.inputs.detach().double())

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        kept = 8 * sum(self.widths) if torch.is_grad_enabled() else 4 * max(self.widths)
        return kept * self.inputs.element_size()

    def slopes(self) -> list[Tensor]:
        """The diagonals of D_1 ... D_L, shape (batch, width) each."""
        known = recorded_inputs(self.layers, self.inputs, self.outputs) if len(self.layers) > 1 else None
        if known is not None:
            outputs = [*known[1:], self.outputs]
            return [chain_kernels.slopes(*each) for each in zip(self.layers, known, outputs, strict=True)]
        found, h = [], self.inputs
        for layer in self.layers[:-1]:
            z = layer.affine(h)
            h = layer.activation.function(z)
            by_output = layer.activation.of_output
            found.append(by_output[0](h) if by_output else layer.activation.derivative(z))
        last = self.layers[-1]
        code = self.outputs
        if code is None and last.activation.of_output:
            code = last(h)
        return [*found, chain_kernels.slopes(last, h, code)]

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,); exact, in pieces of the batch that fit into the budget.

        Where autograd records and one piece would not do, each piece is computed again in the backward pass instead
        of being kept.
        """
        if len(self.layers) == 1:
            return chain_kernels.squared_norm(self.layers[0], self.inputs, self.outputs)
        if not torch.is_grad_enabled() and all(layer.activation is RELU for layer in self.layers):
            return squared_norm_of_active([layer.weight for layer in self.layers], self.slopes())
        split = cheapest_split(self.widths)
        count = len(self.inputs)
        at_once = pieces("the Jacobian of one example", count, self._bytes_each(split), budget)
        if at_once >= count:
            return squared_norm_split_at(split, self.layers, self.slopes())
        part = partial(_squared_norm_of_part, self.layers, split)
        run: Callable[[Tensor], Tensor] = partial(checkpoint, part, use_reentrant=False)
        parts = torch.split(self.inputs, at_once)
        return torch.cat([(run if torch.is_grad_enabled() else part)(piece) for piece in parts])

    def _bytes_each(self, split: int) -> int:
        """Bytes per example: the products, with what autograd keeps of them and their gradients."""
        kept = 5 * len(self.layers) if torch.is_grad_enabled() else 3
        return kept * self.widths[split] * max(self.widths) * self.inputs.element_size()

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        entries = self.inputs.shape[0] * self.widths[-1] * max(self.widths)
        refuse_beyond("the dense Jacobian", 2 * entries * self.inputs.element_size(), budget)
        slopes = self.slopes()
        if len(self.layers) == 1 or self.widths[0] < self.widths[-1]:
            return _from_input(self.layers, slopes)
        return _from_output(self.layers, slopes) @ self.layers[0].weight

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v for one or many vectors per example, shape (batch, [count,] input) to (batch, [count,] code)."""
        for layer, slope in zip(self.layers, self.slopes(), strict=True):
            slope = slope if vectors.ndim == 2 else slope[:, None]
            vectors = (vectors @ layer.weight.T) * slope
        return vectors

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u for one or many covectors per example, shape (batch, [count,] code) to (batch, [count,] input)."""
        for layer, slope in zip(reversed(self.layers), reversed(self.slopes()), strict=True):
            slope = slope if covectors.ndim == 2 else slope[:, None]
            covectors = (covectors * slope) @ layer.weight
        return covectors


def _squared_norm_of_part(layers: Sequence[Layer], split: int, inputs: Tensor) -> Tensor:
    return squared_norm_split_at(split, layers, Chain(layers, inputs).slopes())


def cheapest_split(widths: Sequence[int]) -> int:
    """Where to split J = A B with A (code, w_p) and B (w_p, input), so that ‖A B‖² costs the fewest multiplications.

    Splitting at the code means pushing rows from the output side, splitting at the input pushing columns from there;
    in between, ‖A B‖² = ⟨AᵀA, B Bᵀ⟩ with the two Gram matrices as wide as the bottleneck.

    >>> cheapest_split([784, 1000, 500, 30])
    3
    >>> cheapest_split([2, 100, 100, 90])
    0
    >>> cheapest_split([784, 300, 784])
    1
    """
    return min(range(len(widths) - 1, -1, -1), key=lambda p: _cost(widths, p))


def _cost(w: Sequence[int], p: int) -> int:
    last = len(w) - 1
    above = sum(w[p] * w[n - 1] * w[n] for n in range(p + 2, last + 1)) + (w[last] * w[p] ** 2 if 0 < p < last else 0)
    below = sum(w[p] * w[n] * w[n - 1] for n in range(1, p)) if p > 1 else 0
    gram = w[p] ** 2 * w[0] if 1 < p < last else 0
    return above + below + gram


def squared_norm_split_at(split: int, layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """‖J‖_F², shape (batch,), with the chain split behind that many layers; every split gives the same number."""
    if split == len(layers):
        products, weight = _from_output(layers, slopes), layers[0].weight
        if torch.is_grad_enabled() and pays(products.shape[0] * products.shape[1], *weight.shape):
            norms: Tensor = SquaredNormThroughGram.apply(products, weight)  # type: ignore[no-untyped-call]
            return norms
        return (products @ weight).square().flatten(1).sum(dim=1)
    if split == 0:
        return _from_input(layers, slopes).square().flatten(1).sum(dim=1)
    above = _from_input(layers[split:], slopes[split:])  # (batch, code, bottleneck)
    return (above.mT @ above * _row_gram(layers[:split], slopes[:split])).flatten(1).sum(dim=1)


def _row_gram(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """B Bᵀ of the lower part, shape (batch, bottleneck, bottleneck); one layer shares W Wᵀ among the examples."""
    weight = layers[0].weight
    if len(layers) == 1:
        return slopes[0][:, :, None] * (weight @ weight.T) * slopes[0][:, None]
    below = _from_output(layers, slopes) @ weight
    return below @ below.mT


def _from_output(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """D_L W_L ... W_2 D_1, pushed row by row from the output, shape (batch, code, first width).

    W_1 is left to do; there are two layers at least.
    """
    product = slopes[-1][:, :, None] * layers[-1].weight
    for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:-1]), strict=True):
        product = (product * slope[:, None]) @ layer.weight
    return product * slopes[0][:, None]


def _from_input(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """J, pushed column by column from the input, shape (batch, code, input)."""
    product = slopes[0][:, :, None] * layers[0].weight
    for layer, slope in zip(layers[1:], slopes[1:], strict=True):
        product = slope[:, :, None] * (layer.weight @ product)
    return product
