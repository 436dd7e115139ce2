"""Sparsity of the code: a small mean activation of every unit, or a small L1 norm of every code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from caelab import CaelabError, hookimpl
from caelab.models.layers import ACTIVATIONS
from caelab.options import Weight

Target = Annotated[float, Field(gt=0, lt=1)]
"""A mean activation, strictly between 0 and 1."""


def mean_activation_divergence(code: Tensor, target: float) -> Tensor:
    """Σ_j KL(ρ ‖ ρ̂_j) = Σ_j ρ log(ρ/ρ̂_j) + (1 - ρ) log((1 - ρ)/(1 - ρ̂_j)); sum over the units of the code.

    ρ̂_j is the mean of unit j over the examples of the batch, so the batch size is a part of the penalty's definition.
    Where ρ̂_j or 1 - ρ̂_j is 0 in the code's precision, the smallest normal number stands for it: the value stays
    finite, and the gradient of such a unit is 0.

    Ng (2011), CS294A lecture notes "Sparse autoencoder"; Lee, Ekanadham and Ng (2007), NIPS 20.

    Args:
        code: activations in [0, 1], shape (batch, *code).
        target: ρ in (0, 1).

    Returns:
        Scalar, shape ().

    Raises:
        CaelabError: an activation lies outside [0, 1].
    """
    _refuse_outside_unit_interval(code)
    tiny = torch.finfo(code.dtype).tiny
    mean = code.mean(dim=0)
    log_on, log_off = mean.clamp(min=tiny).log(), (1 - mean).clamp(min=tiny).log()
    on, off = target * (math.log(target) - log_on), (1 - target) * (math.log1p(-target) - log_off)
    return (on + off).sum()


def _refuse_outside_unit_interval(code: Tensor) -> None:
    low, high = (float(bound) for bound in code.detach().aminmax())
    if low < 0 or high > 1:
        raise CaelabError(
            f"sparse-kl compares mean activations with a probability and expects codes in [0, 1], but they lie in "
            f"[{low:.4g}, {high:.4g}]; use --set model.activation=sigmoid or the penalty sparse-l1"
        )


def _refuse_unbounded_activation(model: nn.Module) -> None:
    """Refuse, before anything is trained, an encoder that plainly ends in something else than a sigmoid.

    Raises:
        CaelabError: names the last layer.
    """
    encode = getattr(model, "encode", None)
    last = encode[-1] if isinstance(encode, nn.Sequential) else None
    if isinstance(last, (nn.Linear, *ACTIVATIONS.values())) and not isinstance(last, (nn.Sigmoid, nn.Hardsigmoid)):
        raise CaelabError(
            f"sparse-kl expects codes in [0, 1], but the encoder ends in {type(last).__name__}; "
            "use --set model.activation=sigmoid or the penalty sparse-l1"
        )


def mean_code_l1(code: Tensor) -> Tensor:
    """Mean over the examples of ‖h‖_1 = Σ_j |h_j|; sum over the units of the code.

    The sparsity penalty of predictive sparse decomposition: Kavukcuoglu, Ranzato and LeCun (2008), CBLL-TR-2008-12-01.

    Args:
        code: shape (batch, *code).

    Returns:
        Scalar, shape ().
    """
    return code.abs().flatten(1).sum(dim=1).mean()


@dataclass(eq=False)
class SparseKL:
    """Adds β Σ_j KL(ρ ‖ mean activation of unit j over the batch) (Ng 2011, "Sparse autoencoder").

    The code is that of the batch the encoder sees, corrupted if a plugin corrupts it.

    Attributes:
        weight: β.
        target: ρ, the wanted mean activation.
    """

    claims = "divergence of the mean activation"
    over_batch = True

    weight: Weight
    target: Target

    @hookimpl
    def before_training(self, model: nn.Module) -> None:
        """Refuse codes that cannot stay in [0, 1]."""
        _refuse_unbounded_activation(model)

    @hookimpl
    def penalty_terms(self, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_activation_divergence``."""
        return {"sparse-kl": self.weight * mean_activation_divergence(code, self.target)}


@dataclass(eq=False)
class SparseL1:
    """Adds λ · mean over examples of ‖h‖_1 (Kavukcuoglu, Ranzato and LeCun 2008).

    The code is that of the batch the encoder sees, corrupted if a plugin corrupts it.

    Attributes:
        weight: λ.
    """

    claims = "L1 norm of the code"

    weight: Weight

    @hookimpl
    def penalty_terms(self, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_code_l1``."""
        return {"sparse-l1": self.weight * mean_code_l1(code)}
