"""One affine layer with an elementwise activation, h = s(W x + b): its Jacobian is diag(s'(z)) W."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.structure import Layer

Map = Callable[[Tensor], Tensor]

COLUMNS = 4096  # summed at a stretch: `vector_norm` adds one after the other, and its rounding grows with the row


def squared_row_norms(weight: Tensor) -> Tensor:
    """Σ_i W_ji², shape (code,), without a matrix of the squares, which would cost more time than the sum."""
    pieces = torch.split(weight, COLUMNS, dim=1)
    return torch.stack([torch.linalg.vector_norm(piece, dim=1).square_() for piece in pieces]).sum(dim=0)


class SquaredNorm(torch.autograd.Function):
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


def squared_norm(layer: Layer, inputs: Tensor, outputs: Tensor | None = None) -> Tensor:
    """‖J(x)‖_F² of one layer, summed over all code·input entries, shape (batch,).

    Args:
        layer: h = s(W x + b).
        inputs: x, shape (batch, input).
        outputs: h, where it is known already; its gradient then flows on through it, with everything else that does.
    """
    of_output = layer.activation.of_output
    if layer.activation.learns:  # the gradient that is written out knows of W, b and x alone
        return slopes(layer, inputs, outputs).square() @ layer.weight.square().sum(dim=1)
    if of_output is None:
        maps = (layer.activation.derivative, layer.activation.second_derivative)
        norms = SquaredNorm.apply(layer.affine(inputs), layer.weight, *maps)  # type: ignore[no-untyped-call]
    else:
        known = layer(inputs) if outputs is None else outputs
        norms = SquaredNorm.apply(known, layer.weight, *of_output)  # type: ignore[no-untyped-call]
    assert isinstance(norms, Tensor)
    return norms


def slopes(layer: Layer, inputs: Tensor, outputs: Tensor | None = None) -> Tensor:
    """s'(W x + b), shape (..., code); from the outputs where these are known and determine it."""
    if outputs is not None and layer.activation.of_output:
        return layer.activation.of_output[0](outputs)
    return layer.activation.derivative(layer.affine(inputs))
