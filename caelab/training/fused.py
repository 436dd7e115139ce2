"""A fused objective: the tied one-layer auto-encoder with the contractive penalty, with its gradient by hand.

Autograd keeps every intermediate and adds five gradients of the weight's size, one after the other. Here loss and
gradient are written out, and everything that reaches W goes through one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.jacobian.chain_kernels import squared_row_norms
from caelab.models.layers import TiedLinear
from caelab.models.reconstruction import cross_entropy


class TiedObjective(torch.autograd.Function):
    """Everything a batch is trained on, for h = s(W x + b), a = Wᵀ h + c and y = s(a), in one pass each way.

    With s' = h (1 - h) and n_j = ‖W_j‖², the outputs are the code h, the reconstruction y, and per example::

        error_b = Σ_i softplus(a_bi) - x_bi a_bi          norm_b = Σ_j s'_bj² n_j

    and for incoming gradients e, g (per example), dh (of the code) and dy (of the reconstruction)::

        da = e (y - x) + dy y (1 - y)      dz = s' (da Wᵀ + dh) + 2 g s'² (1 - 2h) n
        dW = hᵀ da + dzᵀ x + 2 diag(Σ_b g_b s'_b²) W      db = Σ dz      dc = Σ da

    Rifai et al. (2011), equations 1, 4 and 5. Where a gradient of the gradient is asked for, or one by the data, the
    same is composed from autograd's own steps.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, visible_bias: Tensor) -> tuple[Tensor, ...]:
        """Error and squared Jacobian norm, shape (batch,); code (batch, code); reconstruction (batch, input).

        Args:
            ctx: autograd's context.
            x: inputs in [0, 1], shape (batch, input).
            weight: W, shape (code, input).
            bias: b, shape (code,).
            visible_bias: c, shape (input,).
        """
        ctx.set_materialize_grads(False)
        h = torch.addmm(bias, x, weight.T).sigmoid_()
        logits = torch.addmm(visible_bias, h, weight)
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)
        y = logits.sigmoid_()
        squared_rows = squared_row_norms(weight)
        squared_slope = (h * (1 - h)).square_()
        ctx.save_for_backward(x, weight, bias, visible_bias, h, y, squared_rows, squared_slope)
        return error, squared_slope @ squared_rows, h, y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of W, b and c (and of x where it wants one)."""
        x, weight, bias, visible_bias, h, y, squared_rows, squared_slope = ctx.saved_tensors
        if torch.is_grad_enabled() or ctx.needs_input_grad[0]:
            return _composed_gradients((x, weight, bias, visible_bias), grads)
        e, g, dh, dy = grads
        da = torch.zeros_like(x) if e is None else (y - x).mul_(e[:, None])
        if dy is not None:
            da.add_(dy * y * (1 - y))
        dz = da @ weight.T if dh is None else torch.addmm(dh, da, weight.T)
        dz.mul_(h * (1 - h))
        weighted = None if g is None else squared_slope * g[:, None]
        if weighted is not None:
            dz.add_(torch.addcmul(weighted, weighted, h, value=-2).mul_(squared_rows), alpha=2)
        dw = torch.cat([h, dz]).T @ torch.cat([da, x])  # (code, 2 batch) by (2 batch, input)
        if weighted is not None:
            dw.addcmul_(weight, weighted.sum(dim=0)[:, None], value=2)
        return None, dw, dz.sum(dim=0), da.sum(dim=0)


def composed(x: Tensor, weight: Tensor, bias: Tensor, visible_bias: Tensor) -> tuple[Tensor, ...]:
    """What ``TiedObjective`` returns, from steps that autograd knows."""
    h = torch.sigmoid(x @ weight.T + bias)
    logits = h @ weight + visible_bias
    norm = (h * (1 - h)).square() @ weight.square().sum(dim=1)
    return cross_entropy(logits, x), norm, h, torch.sigmoid(logits)


def _composed_gradients(inputs: Sequence[Tensor], grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients by every input that wants one, differentiable where autograd records."""
    recorded = torch.is_grad_enabled()
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    with torch.enable_grad():
        outputs = composed(*inputs)
    pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
    if not pairs:
        return (None,) * len(inputs)
    asked, given = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(asked, wanted, given, create_graph=recorded, materialize_grads=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)


@dataclass(frozen=True)
class Pass:
    """One forward pass: error and squared norm per example, code and reconstruction."""

    error: Tensor  # (batch,)
    squared_norm: Tensor  # (batch,)
    code: Tensor  # (batch, code)
    reconstruction: Tensor  # (batch, input)


@dataclass(frozen=True)
class TiedLayer:
    """The parameters of a model that the fused objective fits."""

    weight: Tensor
    bias: Tensor
    visible_bias: Tensor

    def __call__(self, clean: Tensor) -> Pass:
        """One forward pass over a batch."""
        outputs = TiedObjective.apply(clean, self.weight, self.bias, self.visible_bias)  # type: ignore[no-untyped-call]
        return Pass(*outputs)


def tied_layer(model: Any, kind: str) -> TiedLayer | None:
    """The model's parameters if it is one tied sigmoid layer under cross-entropy, else nothing."""
    encode, decode = getattr(model, "encode", None), getattr(model, "decode", None)
    if kind != "cross-entropy" or hasattr(model, "training_loss"):
        return None
    if not (isinstance(encode, nn.Sequential) and isinstance(decode, nn.Sequential)):
        return None
    if [type(step) for step in (*encode, *decode)] != [nn.Linear, nn.Sigmoid, TiedLinear, nn.Sigmoid]:
        return None
    linear, back = cast(nn.Linear, encode[0]), cast(TiedLinear, decode[0])
    if back.layer is not linear or linear.bias is None or hooked(model):
        return None
    return TiedLayer(linear.weight, linear.bias, back.bias)


def hooked(model: nn.Module) -> bool:
    """Whether someone watches or changes what the modules compute; then they must be called."""
    return any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
