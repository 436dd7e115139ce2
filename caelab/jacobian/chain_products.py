"""Products of a chain's matrices, J = D_L W_L ... D_1 W_1, from whichever side costs the fewest multiplications."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caelab.jacobian.chain_kernels import SquaredNormThroughGram, pays
from caelab.jacobian.layers import Layer


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
        products, weight = from_output(layers, slopes), layers[0].weight
        if torch.is_grad_enabled() and pays(products.shape[0] * products.shape[1], *weight.shape):
            norms: Tensor = SquaredNormThroughGram.apply(products, weight)  # type: ignore[no-untyped-call]
            return norms
        return (products @ weight).square().flatten(1).sum(dim=1)
    if split == 0:
        return from_input(layers, slopes).square().flatten(1).sum(dim=1)
    above = from_input(layers[split:], slopes[split:])  # (batch, code, bottleneck)
    return (above.mT @ above * _row_gram(layers[:split], slopes[:split])).flatten(1).sum(dim=1)


def _row_gram(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """B Bᵀ of the lower part, shape (batch, bottleneck, bottleneck); one layer shares W Wᵀ among the examples."""
    weight = layers[0].weight
    if len(layers) == 1:
        return slopes[0][:, :, None] * (weight @ weight.T) * slopes[0][:, None]
    below = from_output(layers, slopes) @ weight
    return below @ below.mT


def from_output(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """D_L W_L ... W_2 D_1, pushed row by row from the output, shape (batch, code, first width).

    W_1 is left to do; there are two layers at least.
    """
    product = slopes[-1][:, :, None] * layers[-1].weight
    for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:-1]), strict=True):
        product = (product * slope[:, None]) @ layer.weight
    return product * slopes[0][:, None]


def from_input(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """J, pushed column by column from the input, shape (batch, code, input)."""
    product = slopes[0][:, :, None] * layers[0].weight
    for layer, slope in zip(layers[1:], slopes[1:], strict=True):
        product = slope[:, :, None] * (layer.weight @ product)
    return product
