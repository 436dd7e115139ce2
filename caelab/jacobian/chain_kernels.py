"""Squared norms of one affine layer and of chains of them, with their gradients written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.layers import Layer
from caelab.jacobian.linalg import whole_gram

Map = Callable[[Tensor], Tensor]

COLUMNS = 4096  # summed at a stretch: `vector_norm` adds one after the other, and its rounding grows with the row


def squared_row_norms(weight: Tensor) -> Tensor:
    """Σ_i W_ji², shape (code,), without a matrix of the squares, which would cost more time than the sum."""
    pieces = torch.split(weight, COLUMNS, dim=1)
    return torch.stack([torch.linalg.vector_norm(piece, dim=1).square_() for piece in pieces]).sum(dim=0)


class _SquaredNorm(torch.autograd.Function):
    """‖diag(s') W‖_F² = Σ_j s'_j² n_j with n_j = Σ_i W_ji², per example, its gradient written out.

    With t what the slope s' is a function of (the output h, or z), and an incoming gradient g per example::

        ∂/∂t_bj = 2 g_b s'_bj (ds'/dt)_bj n_j        ∂/∂W_ji = 2 W_ji Σ_b g_b s'_bj²

    Autograd would keep W² and several products of the batch's size; this keeps t, W and the slopes. A gradient of
    this gradient (``create_graph=True``) is taken from the same formulas, computed afresh from t and W.

    Rifai et al. (2011), ICML, equation 7 and section 3, for s the logistic sigmoid: s' = h (1 - h).
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, weight: Tensor, slope_of: Map, bend_of: Map) -> Tensor:
        """The squared norms, shape (batch,).

        Args:
            ctx: autograd's context.
            t: what the slope is a function of, shape (batch, code).
            weight: W, shape (code, input).
            slope_of: s' as a function of t.
            bend_of: ds'/dt as a function of t.
        """
        slope = slope_of(t)
        squared_rows = squared_row_norms(weight)
        ctx.maps = slope_of, bend_of
        ctx.save_for_backward(t, weight, slope, squared_rows)
        norms: Tensor = slope.square() @ squared_rows
        return norms

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by t and W; differentiable themselves."""
        t, weight, slope, squared_rows = ctx.saved_tensors
        slope_of, bend_of = ctx.maps
        if torch.is_grad_enabled():  # someone differentiates this gradient: what was saved hides where it came from
            slope, squared_rows = slope_of(t), weight.square().sum(dim=1)
        weighted = slope * g[:, None]  # (batch, code)
        by_t = 2 * weighted * bend_of(t) * squared_rows if ctx.needs_input_grad[0] else None
        by_weight = weight * (2 * (weighted * slope).sum(dim=0))[:, None] if ctx.needs_input_grad[1] else None
        return by_t, by_weight, None, None


def squared_norm_of_layer(layer: Layer, inputs: Tensor, outputs: Tensor | None = None) -> Tensor:
    """‖J(x)‖_F² of one layer, summed over all code·input entries, shape (batch,).

    Args:
        layer: h = s(W x + b).
        inputs: x, shape (batch, input).
        outputs: h, where it is known already; its gradient then flows on through it, with everything else that does.
    """
    of_output = layer.activation.of_output
    if layer.activation.learns:  # the gradient that is written out knows of W, b and x alone
        return layer.slopes(inputs, outputs).square() @ layer.weight.square().sum(dim=1)
    if of_output is None:
        maps = (layer.activation.derivative, layer.activation.second_derivative)
        norms = _SquaredNorm.apply(layer.affine(inputs), layer.weight, *maps)  # type: ignore[no-untyped-call]
    else:
        known = layer(inputs) if outputs is None else outputs
        norms = _SquaredNorm.apply(known, layer.weight, *of_output)  # type: ignore[no-untyped-call]
    assert isinstance(norms, Tensor)
    return norms


def _sum_of_products(one: Tensor, other: Tensor) -> Tensor:
    """Σ of the entries of A ∘ B per example, shape (batch,)."""
    found: Tensor = torch.linalg.vecdot(one.flatten(1), other.flatten(1))
    return found


class SquaredNormOfProduct(torch.autograd.Function):
    """‖C_b W‖_F² per example, its gradient written out, so that no matrix of the squares is made or kept.

    With N = C W and an incoming gradient g per example::

        ∂/∂C_b = 2 g_b N_b Wᵀ        ∂/∂W = 2 Σ_b g_b C_bᵀ N_b

    A gradient of this gradient is taken from the same formulas, computed afresh.
    """

    @staticmethod
    def forward(ctx: Any, products: Tensor, weight: Tensor) -> Tensor:
        """The squared norms, shape (batch,).

        Args:
            ctx: autograd's context.
            products: C, shape (batch, rows, width).
            weight: W, shape (width, input).
        """
        images = products @ weight
        ctx.save_for_backward(products, weight, images)
        return _sum_of_products(images, images)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by C and W; differentiable themselves."""
        products, weight, images = ctx.saved_tensors
        if torch.is_grad_enabled():
            images = products @ weight
        doubled = 2 * g[:, None, None]
        by_products = (images @ weight.T) * doubled if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return by_products, None
        return by_products, (doubled * products).flatten(0, 1).T @ images.flatten(0, 1)


class SquaredNormThroughGram(torch.autograd.Function):
    """‖C_b W‖_F² = Σ (C_b G) ∘ C_b with G = W Wᵀ, per example, its gradient written out.

    For an incoming gradient g per example::

        ∂/∂C_b = 2 g_b C_b G        ∂/∂W = 2 (Σ_b g_b C_bᵀ C_b) W

    Autograd through C W takes three products of that size; here C G serves both ways, and the other one is symmetric.
    A gradient of this gradient is taken from the same formulas, computed afresh.
    """

    @staticmethod
    def forward(ctx: Any, products: Tensor, weight: Tensor) -> Tensor:
        """The squared norms, shape (batch,).

        Args:
            ctx: autograd's context.
            products: C, shape (batch, rows, width).
            weight: W, shape (width, input).
        """
        images = products @ whole_gram(weight.T)
        ctx.save_for_backward(products, weight, images)
        return _sum_of_products(images, products)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients by C and W; differentiable themselves."""
        products, weight, images = ctx.saved_tensors
        if torch.is_grad_enabled():
            images = products @ (weight @ weight.T)
        doubled = 2 * g[:, None, None]
        if torch.is_grad_enabled() or bool((g < 0).any()):
            inner = products.flatten(0, 1).T @ (doubled * products).flatten(0, 1)
        else:
            inner = whole_gram((doubled.sqrt() * products).flatten(0, 1))
        return doubled * images, inner @ weight


@torch.no_grad()
def squared_norm_of_active(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """‖D_L W_L ... D_1 W_1‖_F² with D_l of zeros and ones, shape (batch,); values only, no gradient.

    For each example W_l[a_l, a_{l-1}], the rows and columns of its active units, are multiplied from the output side;
    at the input ‖C W_1‖² = Σ (C G) ∘ C with G = W_1 W_1ᵀ, which the examples share.

    Args:
        weights: W_1 ... W_L, shape (out, in) each.
        slopes: the diagonals of D_1 ... D_L, zero or one, shape (batch, out) each.
    """
    gram = weights[0] @ weights[0].T
    return torch.stack(
        [_of_one(weights, gram, [s.nonzero()[:, 0] for s in each]) for each in zip(*slopes, strict=True)]
    )


def _of_one(weights: Sequence[Tensor], gram: Tensor, active: Sequence[Tensor]) -> Tensor:
    product = None
    for upper in range(len(weights) - 1, 0, -1):
        block = weights[upper].index_select(0, active[upper]).index_select(1, active[upper - 1])
        product = block if product is None else product @ block
    first = gram.index_select(0, active[0]).index_select(1, active[0])
    assert product is not None  # a chain has two layers at least; one has a closed form
    return (product @ first).flatten().dot(product.flatten())
