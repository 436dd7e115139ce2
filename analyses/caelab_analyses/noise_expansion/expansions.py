"""Second-order expansions of a reconstruction error under Gaussian noise, and the expected error by Monte Carlo.

With outputs o(x) that the error L looks at (the reconstruction r under squared error, the logits a under cross-entropy)
and ε ~ N(0, σ² I), Bishop (1995), Neural Computation 7(1)::

    E L(x, o(x + ε)) = L(x, o(x)) + (σ²/2) Σ_k [ L''_k ‖∇o_k‖² + L'_k tr H_k ] + O(σ⁴)

with L'_k and L''_k the derivatives of L by o_k and H_k the Hessian of o_k. The first part is the Gauss-Newton term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from caelab.jacobian.layers import Layer
from caelab.jacobian.service import jacobian
from caelab.models.reconstruction import cross_entropy, output_map, squared_error

Map = Callable[[Tensor], Tensor]
OfOutputs = Callable[[Tensor, Tensor], Tensor]

WIDEST = 1024  # inputs up to which traces are summed over all input directions


@dataclass(frozen=True)
class Loss:
    """A reconstruction error as a function of outputs (batch, input) and targets (batch, input).

    Attributes:
        value: L, summed over outputs, shape (batch,).
        slope: L'_k by each output, shape (batch, input).
        curvature: L''_k by each output, shape (batch, input).
    """

    value: OfOutputs
    slope: OfOutputs
    curvature: OfOutputs


def _variance(logits: Tensor) -> Tensor:
    y = torch.sigmoid(logits)
    return y * (1 - y)


LOSSES = {
    "squared-error": Loss(squared_error, lambda r, x: 2 * (r - x), lambda r, x: torch.full_like(r, 2.0)),
    "cross-entropy": Loss(cross_entropy, lambda a, x: torch.sigmoid(a) - x, lambda a, x: _variance(a)),
}


@dataclass(frozen=True)
class Expansion:
    """Coefficients of σ² for each example, shape (batch,) each.

    Attributes:
        gauss_newton: ½ Σ_k L''_k ‖∇o_k‖²; ‖J_r‖_F² for squared error.
        curvature: ½ Σ_k L'_k tr H_k.
    """

    gauss_newton: Tensor
    curvature: Tensor

    @property
    def full(self) -> Tensor:
        """Half the trace of the Hessian of L(x, o(x + ε)) by ε."""
        return self.gauss_newton + self.curvature


def expansion(model: Any, kind: str, inputs: Tensor) -> Expansion | None:
    """The exact second-order coefficients at a batch, or nothing where the input is too wide to sum over it.

    One-layer auto-encoders, tied or not, have a closed form; any other model is differentiated twice along each of
    up to 1024 input directions.

    Args:
        model: with ``encode`` and ``decode``; under cross-entropy also with ``logits``.
        kind: ``cross-entropy`` or ``squared-error``.
        inputs: x, shape (batch, input).
    """
    outputs, loss = output_map(kind, model), LOSSES[kind]
    layers = jacobian(outputs, inputs).layers
    if len(layers) == 2:
        squares, traces = _of_two_layers(*layers, inputs)
    elif inputs.shape[1] <= WIDEST:
        squares, traces = along_all_directions(outputs, inputs)
    else:
        return None
    reached = outputs(inputs)
    return Expansion(
        gauss_newton=(loss.curvature(reached, inputs) * squares).sum(dim=1) / 2,
        curvature=(loss.slope(reached, inputs) * traces).sum(dim=1) / 2,
    )


def _of_two_layers(first: Layer, second: Layer, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """‖∇o_k‖² and tr H_k of o = t(a), a = V s(z) + c, z = W x + b, in closed form.

    ‖∇a_k‖² = Σ_ij V_ki s'_i (W Wᵀ)_ij s'_j V_kj and tr H_{a_k} = Σ_j V_kj s''(z_j) ‖W_j‖²; then
    ‖∇o_k‖² = t'² ‖∇a_k‖² and tr H_{o_k} = t'' ‖∇a_k‖² + t' tr H_{a_k}.

    Args:
        first: s and W, b.
        second: t and V, c.
        inputs: x, shape (batch, input).

    Returns:
        Squared gradients and traces, shape (batch, output) each.
    """
    z = first.affine(inputs)
    a = second.affine(first.activation.function(z))
    gram = first.weight @ first.weight.T
    squares = torch.stack([_row_norms(second.weight * slope, gram) for slope in first.activation.derivative(z)])
    traces = (first.activation.second_derivative(z) * gram.diagonal()) @ second.weight.T
    t1, t2 = second.activation.derivative(a), second.activation.second_derivative(a)
    return t1.square() * squares, t2 * squares + t1 * traces


def _row_norms(rows: Tensor, gram: Tensor) -> Tensor:
    """u G uᵀ for every row u, shape (rows,)."""
    return ((rows @ gram) * rows).sum(dim=1)


def along_all_directions(outputs: Map, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """‖∇o_k‖² and tr H_k as sums over the input directions e_i of (∂o_k/∂x_i)² and ∂²o_k/∂x_i².

    Returns:
        Squared gradients and traces, shape (batch, output) each.
    """
    squares, traces = torch.zeros(()), torch.zeros(())
    for direction in torch.eye(inputs.shape[1], dtype=inputs.dtype, device=inputs.device):
        _, first, second = _derivatives_along(outputs, inputs, direction.expand_as(inputs))
        squares, traces = squares + first.square(), traces + second
    return squares, traces


def _derivatives_along(function: Map, inputs: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """o(x), the derivative of t ↦ o(x + t v) at 0 and the second one, in forward mode, shape (batch, output) each.

    Args:
        function: o, acts on every example by itself.
        inputs: x, shape (batch, input).
        directions: v, one for each example, shape (batch, input).
    """

    x, v = inputs.contiguous(), directions.contiguous()  # forward mode refuses expanded tensors

    def along(x: Tensor) -> Any:
        return jvp(function, (x,), (v,))

    pushed: Any = jvp(along, (x,), (v,))
    (value, first), (_, second) = pushed
    return value, first, second


@dataclass(frozen=True)
class Draws:
    """What each draw u ~ N(0, I) says of each example.

    Attributes:
        increments: ½ [L(x, o(x + σu)) + L(x, o(x - σu))] - L(x, o(x)), shape (sigmas, examples, samples).
        gauss_newton: ½ Σ_k L''_k (∇o_k · u)², shape (examples, samples).
        full: ½ d²/dt² L(x, o(x + t u)) at t = 0, shape (examples, samples); its mean over u is ``Expansion.full``.
    """

    increments: Tensor
    gauss_newton: Tensor
    full: Tensor


@torch.no_grad()
def monte_carlo(
    model: Any, kind: str, inputs: Tensor, sigmas: Sequence[float], samples: int, stream: torch.Generator
) -> Draws:
    """Antithetic pairs ±σu around each example, the same draws u at every σ.

    A pair has no odd orders in σ, so its increment minus σ² times the quadratic form of the same u is of order σ⁴, its
    scatter too: with the form as a control variate the remainder is seen at noise levels where it is far below the
    scatter of the increment.

    Args:
        model: with ``encode`` and ``decode``; under cross-entropy also with ``logits``.
        kind: ``cross-entropy`` or ``squared-error``.
        inputs: x, shape (examples, input).
        sigmas: σ.
        samples: pairs drawn for each example.
        stream: generator on the device of the inputs.
    """
    outputs, loss = output_map(kind, model), LOSSES[kind]
    found = []
    for x in inputs:
        draws = torch.randn((samples, len(x)), generator=stream, dtype=inputs.dtype, device=inputs.device)
        found.append(_of_one_example(outputs, loss, x.expand_as(draws), draws, sigmas))
    increments, gauss_newton, full = (torch.stack(part) for part in zip(*found, strict=True))
    return Draws(increments.transpose(0, 1), gauss_newton, full)


def _of_one_example(
    outputs: Map, loss: Loss, x: Tensor, draws: Tensor, sigmas: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    reached, first, second = _derivatives_along(outputs, x, draws)
    gauss_newton = (loss.curvature(reached, x) * first.square()).sum(dim=1) / 2
    full = gauss_newton + (loss.slope(reached, x) * second).sum(dim=1) / 2
    ways = torch.stack([loss.value(outputs(x + s * draws), x) for sigma in sigmas for s in (sigma, -sigma)])
    pairs = ways.reshape(len(sigmas), 2, -1).mean(dim=1)
    return pairs - loss.value(reached, x), gauss_newton, full


def encoder_term(model: Any, inputs: Tensor) -> Tensor:
    """‖J_f‖_F², what a contractive auto-encoder with weight σ² adds in place of the expansion, shape (batch,)."""
    return jacobian(model.encode, inputs).squared_norm().detach()
