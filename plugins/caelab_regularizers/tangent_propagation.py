"""Tangent propagation: outputs do not change along directions that are given for every example."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from caelab import CaelabError, hookimpl, jacobian
from caelab.options import Weight
from caelab.registry.importing import load_named

Map = Callable[[Tensor], Tensor]


def tangent_propagation(outputs_map: Map, inputs: Tensor, tangents: Tensor) -> Tensor:
    """Mean over the examples x of Σ_k ‖J_o(x) u_k‖², u_1, u_2, ... the tangents of x; sum over tangents and outputs.

    J_o(x) u_k is the derivative of the outputs o along u_k. The tangents are taken as they are, neither normalised nor
    trained; a classifier's logits and an encoder's code are both outputs.

    Simard, Victorri, LeCun and Denker (1992), NIPS 4; with tangents from an auto-encoder: Rifai, Dauphin, Vincent,
    Bengio and Muller (2011), NIPS 24.

    Args:
        outputs_map: o, maps (batch, *input) to (batch, *outputs), example by example.
        inputs: x, shape (batch, *input).
        tangents: u, shape (batch, count, *input).

    Returns:
        Scalar, shape (); differentiable with respect to the parameters of o.

    Raises:
        CaelabError: the tangents have another shape, or there is no Jacobian per example.
    """
    if tangents.ndim != inputs.ndim + 1 or (len(tangents), *tangents.shape[2:]) != tuple(inputs.shape):
        one = ", ".join(map(str, inputs.shape[1:]))
        raise CaelabError(
            f"tangent-propagation expects tangents of shape ({len(inputs)}, count, {one}), some for every example, "
            f"but {tuple(tangents.shape)} came; return them stacked along the second axis"
        )
    return jacobian(outputs_map, inputs).jvp(tangents).square().flatten(1).sum(dim=1).mean()


def shifts(inputs: Tensor) -> Tensor:
    """The two tangents of shifting a grey image by rows and by columns, in grey levels per pixel.

    ∂x/∂row and ∂x/∂column by central differences, one-sided at the border; up to the sign, the derivatives of the
    image moved along each axis. Simard et al. (1992).

    Args:
        inputs: flat square images (batch, side²), or images whose last two axes are rows and columns.

    Returns:
        Shape (batch, 2, *input).

    Raises:
        CaelabError: a flat image is not square.
    """
    images = inputs
    if inputs.ndim == 2:
        side = math.isqrt(inputs.shape[1])
        if side**2 != inputs.shape[1]:
            raise CaelabError(
                f"shifts expects flat images that are square, but {inputs.shape[1]} inputs came; "
                "give a function of your own that knows the image's shape"
            )
        images = inputs.reshape(-1, side, side)
    return torch.stack(torch.gradient(images, dim=(-2, -1)), dim=1).reshape(len(inputs), 2, *inputs.shape[1:])


@dataclass(eq=False)
class TangentPropagation:
    """Adds λ · mean over examples of Σ_k ‖J_f(x) u_k‖², f the encoder, x clean, u_k given (Simard et al. 1992, NIPS).

    It penalises how the encoder's code changes. For the outputs of a classifier, as in the papers, add
    ``tangent_propagation(classifier, inputs, tangents)`` to the classifier's loss.

    Attributes:
        weight: λ.
        tangents: ``module:function`` or ``FILE.py:function``; the function maps a batch ``(batch, *input)`` to the
            tangents of its examples ``(batch, count, *input)``, as
            ``caelab_regularizers.tangent_propagation:shifts`` does.
    """

    trial_options: ClassVar[Mapping[str, Any]] = {"weight": 1.0, "tangents": f"{__name__}:shifts"}

    weight: Weight
    tangents: str

    def __post_init__(self) -> None:
        self.tangents_of: Map = load_named(self.tangents, "function of tangents")

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``tangent_propagation``."""
        with torch.no_grad():
            tangents = self.tangents_of(clean)
        if not isinstance(tangents, Tensor):
            raise CaelabError(
                f"{self.tangents} returned {type(tangents).__name__}, but a tensor (batch, count, *input) is expected; "
                "convert it with torch.as_tensor"
            )
        return {"tangent-propagation": self.weight * tangent_propagation(model.encode, clean, tangents.to(clean))}
