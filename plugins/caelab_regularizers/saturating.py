"""The saturating penalty: it draws units to where their activation is flat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from caelab import CaelabError, hookimpl
from caelab.jacobian.activations import elementwise_of
from caelab.jacobian.layers import leaves
from caelab.options import Weight

Complement = Callable[[Tensor], Tensor]

SHAPING = (nn.Flatten, nn.Unflatten, nn.Dropout)
RESHAPED = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "CloneBackward0", "AliasBackward0")


def of_sigmoid(h: Tensor) -> Tensor:
    """s'(z) = h (1 - h)."""
    return h * (1 - h)


def of_tanh(h: Tensor) -> Tensor:
    """s'(z) = 1 - h²."""
    return 1 - h.square()


def _of_rectifier(h: Tensor) -> Tensor:
    """The distance of z to (-∞, 0], max(z, 0) = h; of a soft threshold to [-λ, λ], max(|z| - λ, 0) = |h|."""
    return h.abs()


def _of_clipping(low: float, high: float) -> Complement:
    """For s(z) = min(max(z, low), high), the distance of z to the nearer end: min(h - low, high - h)."""
    return lambda h: torch.minimum(h - low, high - h)


def mean_distance_to_saturation(code: Tensor, complement: Complement) -> Tensor:
    """Mean over the examples of Σ_j s_c(z_j), where s_c is the complement of the activation s; sum over the units.

    Where s is flat on a set S of finite z, s_c(z) = inf over z' in S of |z - z'|. A sigmoid and a tanh are flat at
    infinity alone, where every distance is infinite: there the slope stands for it, s_c(z) = s'(z), which is 0 in
    saturation too. All complements are functions of h = s(z), so no pre-activation is needed.

    Goroshin and LeCun (2013), "Saturating auto-encoders", ICLR.

    Args:
        code: h, shape (batch, *code).
        complement: s_c as a function of h.

    Returns:
        Scalar, shape ().
    """
    return complement(code).flatten(1).sum(dim=1).mean()


def complement_of(encode: Any, code: Tensor) -> Complement:
    """The complement of the activation that an encoder ends in.

    It is looked for among the encoder's modules; where they do not show it, in what autograd recorded of the code.

    Raises:
        CaelabError: there is no activation at the end, it is flat nowhere, or it is not known.
    """
    last = _last_module(encode)
    found = _complement_of_module(last) or _complement_of_record(code)
    if found is None:
        raise _refusal(last)
    return found


def _last_module(encode: Any) -> nn.Module | None:
    """The last module of an encoder that does more than reshape, if it is made of modules."""
    if not isinstance(encode, nn.Module):
        return None
    return next((module for module in reversed([*leaves(encode)]) if not isinstance(module, SHAPING)), None)


def _complement_of_module(module: nn.Module | None) -> Complement | None:
    """The complement of an activation, if it has a flat region."""
    match module:
        case nn.Sigmoid():
            return of_sigmoid
        case nn.Tanh():
            return of_tanh
        case nn.ReLU() | nn.Softshrink():
            return _of_rectifier
        case nn.Hardtanh(min_val=low, max_val=high):
            return _of_clipping(low, high)
    return None


def _complement_of_record(code: Tensor) -> Complement | None:
    """The complement of the last operation on a code, by the name that autograd keeps of it."""
    node: Any = code.grad_fn
    while node is not None and node.name() in RESHAPED:
        node = node.next_functions[0][0]
    name = node.name() if node is not None else ""
    return {
        "SigmoidBackward0": of_sigmoid,
        "TanhBackward0": of_tanh,
        "ReluBackward0": _of_rectifier,
        "SoftshrinkBackward0": _of_rectifier,
    }.get(name)


def _refusal(last: nn.Module | None) -> CaelabError:
    end = type(last).__name__ if last is not None else "an activation that cannot be seen"
    return CaelabError(
        f"saturating expects an encoder that ends in an activation with a flat region, but it ends in {end}; "
        "use --set model.activation=sigmoid, tanh or relu (known too: Hardtanh, ReLU6, Softshrink)"
    )


@dataclass(eq=False)
class Saturating:
    """Adds λ · mean over examples of Σ_j s_c(z_j), how far unit j is from saturation (Goroshin and LeCun 2013).

    For relu s_c = max(z, 0); for sigmoid and tanh the slope s'(z). The code is that of the batch the encoder sees,
    corrupted if a plugin corrupts it.

    Attributes:
        weight: λ.
    """

    weight: Weight

    @hookimpl
    def before_training(self, model: Any) -> None:
        """Refuse an encoder that plainly ends in something without a flat region."""
        last = _last_module(model.encode)
        plain = isinstance(last, nn.Linear) or (last is not None and elementwise_of(last) is not None)
        if plain and _complement_of_module(last) is None:
            raise _refusal(last)

    @hookimpl
    def penalty_terms(self, model: Any, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_distance_to_saturation``."""
        penalty = mean_distance_to_saturation(code, complement_of(model.encode, code))
        return {"saturating": self.weight * penalty}
