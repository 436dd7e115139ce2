"""Validation of layers: the affine maps and slopes that they state are compared with what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.jacobian.activations import Elementwise, gradient_by_entry
from caelab.jacobian.layers import Layer, leaves
from caelab.jacobian.validation.passes import same
from caelab.jacobian.validation.refusals import name_of

STEP = 1e-2
_RELATIVE, ABSOLUTE = 1e-2, 1e-3  # of a slope, and of the largest
ROUNDINGS = 8  # units of rounding, in a type that is coarser than that


def are_layers(encode: nn.Module, layers: Sequence[Layer], inputs: Tensor, code: Tensor) -> bool:
    """Whether the layers that were found in an encoder compute what it computes.

    Raises:
        CaelabError: they do not, and one of them is a user's own that said so by ``affine()`` or ``derivative(z)``.
    """
    with torch.no_grad():
        steps = [inputs.flatten(1)]
        for layer in layers:
            steps.append(layer(steps[-1]))
        own = [layer for layer in leaves(encode) if says_something(layer)]
        if not same(steps[-1], code):
            if own:
                raise CaelabError(
                    f"{name_of(encode)} computes something else than its layers say one by one; "
                    "let every affine() and derivative(z) say what forward does, or leave them out"
                )
            return False
        pairs = [(layer.activation, layer.affine(before)) for layer, before in zip(layers, steps, strict=False)]
        return not own or all(_is_elementwise(activation, z) for activation, z in pairs)


def says_something(module: nn.Module) -> bool:
    """Whether a layer is a user's own that says what it computes."""
    return any(callable(getattr(type(module), name, None)) for name in ("affine", "derivative"))


def _is_elementwise(activation: Elementwise, z: Tensor) -> bool:
    """Whether an activation leaves its argument as it is; one that writes to it is no step of a chain.

    Raises:
        CaelabError: its derivative is not that of the function, or is not recorded where it bends.
    """
    spread = torch.linspace(-2, 2, z.numel(), dtype=z.dtype, device=z.device).reshape(z.shape)
    z = z + spread  # away from where a network without weights sits, which may be a kink
    argument = z.clone()
    activation(argument)
    if not torch.equal(argument.nan_to_num(), z.nan_to_num()):
        return False
    _refuse_derivative(activation, z)
    return True


def _refuse_derivative(activation: Elementwise, z: Tensor) -> None:
    said, true = activation.derivative(z), gradient_by_entry(activation.function, z)
    coarse = ROUNDINGS * torch.finfo(z.dtype).eps
    most = max(ABSOLUTE, coarse) * float(true.abs().nan_to_num(0, 0, 0).max())
    if not torch.allclose(said, true, rtol=max(_RELATIVE, coarse), atol=most, equal_nan=True):
        worst = int((said - true).abs().flatten().argmax())
        raise CaelabError(
            f"derivative(z) of the activation {activation.name} is not the derivative of its forward: "
            f"at z = {float(z.flatten()[worst]):.4g} it gives {float(said.flatten()[worst]):.4g}, "
            f"autograd {float(true.flatten()[worst]):.4g}; correct it, or leave it out"
        )
    with torch.enable_grad():
        recorded = activation.derivative(z.clone().requires_grad_()).requires_grad
    bend = activation.derivative(z + STEP) - activation.derivative(z - STEP)
    if not recorded and float(bend.abs().median()) > 1e-6:
        raise CaelabError(
            f"derivative(z) of the activation {activation.name} is not recorded by autograd, so a penalty's gradient "
            "would lack its curvature; leave out torch.no_grad() and detach() in it"
        )
