"""What a module is made of: an encoder that is a chain of affine and elementwise steps has a cheap Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class AffineLayer(Protocol):
    """A layer of a user's own that computes ``x @ weight.T + bias`` and says so."""

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """The weight ``(out, in)`` and the bias ``(out,)``, if there is one."""
        ...


@dataclass(frozen=True)
class Affine:
    """One affine step, z = W x + b."""

    weight: Tensor  # (out, in)
    bias: Tensor | None  # (out,)


@dataclass(frozen=True)
class Elementwise:
    """One elementwise step, h = s(z), with s' (and s'', where known in closed form) as functions of z."""

    name: str
    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    second_derivative: Callable[[Tensor], Tensor]


Step = Affine | Elementwise
