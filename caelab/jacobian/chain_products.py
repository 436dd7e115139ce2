"""Products of a chain's matrices, J = D_L W_L ... D_1 W_1, and their squared norm by a route that is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caelab.jacobian.activations import RELU
from caelab.jacobian.chain_costs import Order, Route
from caelab.jacobian.chain_kernels import SquaredNormOfProduct, SquaredNormThroughGram
from caelab.jacobian.layers import Layer


def squared_norm_by(route: Route, layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """‖J‖_F², shape (batch,); every route gives the same number.

    Args:
        route: which matrices are multiplied, in which order.
        layers: from the input to the code, two at least.
        slopes: the diagonals of D_1 ... D_L, shape (batch, width) each.
    """
    if route.split < 2 and route.above == "rows":
        return _norm_of_rows(route, layers, slopes)
    if route.split == 0:
        return _norm_of_columns(layers, slopes)
    if route.split == 1:
        above = pushed(layers[1:], slopes[1:], route.above) * slopes[0][:, None]
        return _through_gram(above, layers[0].weight)
    if route.split == len(layers):
        below = pushed(layers[:-1], slopes[:-1], route.below)
        return _through_gram(below.mT, layers[-1].weight.T)
    above = pushed(layers[route.split :], slopes[route.split :], route.above)
    below = pushed(layers[: route.split], slopes[: route.split], route.below)
    return ((above @ (below @ below.mT)) * above).flatten(1).sum(dim=1)


def _norm_of_rows(route: Route, layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """From rows of the code; a unit that is cut off by ReLU has a row of zeros, which is left out."""
    batch = len(slopes[0])
    if layers[-1].activation is not RELU:
        return _last_step(route, from_output(layers, slopes), layers[0].weight)
    example, unit = slopes[-1].nonzero(as_tuple=True)
    rows = layers[-1].weight[unit]
    for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:-1]), strict=True):
        rows = (rows * slope[example]) @ layer.weight
    norms = _last_step(route, (rows * slopes[0][example])[:, None], layers[0].weight)
    return norms.new_zeros(batch).index_add(0, example, norms)


def _last_step(route: Route, products: Tensor, weight: Tensor) -> Tensor:
    """‖C W_1‖² for C (batch, rows, width), itself or through W_1 W_1ᵀ."""
    if route.split == 1:
        return _through_gram(products, weight)
    norms: Tensor = SquaredNormOfProduct.apply(products, weight)  # type: ignore[no-untyped-call]
    return norms


def _through_gram(products: Tensor, weight: Tensor) -> Tensor:
    norms: Tensor = SquaredNormThroughGram.apply(products, weight)  # type: ignore[no-untyped-call]
    return norms


def _norm_of_columns(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """From columns of the input, Σ_j s'_j² ‖row j of W_L B‖²; the last slopes take no pass over a matrix."""
    below = columns_of(layers[:-1], slopes[:-1])  # (batch, input, width)
    squares = (below @ layers[-1].weight.T).square().sum(dim=1)
    norms: Tensor = torch.linalg.vecdot(squares, slopes[-1].square())
    return norms


def pushed(layers: Sequence[Layer], slopes: Sequence[Tensor], order: Order) -> Tensor:
    """D_n W_n ... D_1 W_1 of some layers, shape (batch, out, in), pushed from either side."""
    if order == "columns":
        return columns_of(layers, slopes).mT
    if len(layers) == 1:
        return slopes[0][:, :, None] * layers[0].weight
    return from_output(layers, slopes) @ layers[0].weight


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
    return columns_of(layers, slopes).mT


def columns_of(layers: Sequence[Layer], slopes: Sequence[Tensor]) -> Tensor:
    """Jᵀ, pushed column by column from the input, shape (batch, input, code)."""
    product = slopes[0][:, None] * layers[0].weight.T
    for layer, slope in zip(layers[1:], slopes[1:], strict=True):
        product = (product @ layer.weight.T) * slope[:, None]
    return product
