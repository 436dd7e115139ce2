"""The protocol that every strategy of computing a Jacobian keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor

from caelab.jacobian.context import Part
from caelab.jacobian.layers import Layer

Method = Literal["gram", "svd"]
Mode = Literal["exact", "strict", "fast"]


class Kept(Protocol):
    """Many products at the same inputs, without gradients; input and code have their axes flattened."""

    def push(self, vectors: Tensor) -> Tensor:
        """J v, (batch, count, input) to (batch, count, code)."""
        ...

    def pull(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, (batch, count, code) to (batch, count, input)."""
        ...


class Strategy(Protocol):
    """The Jacobian of one map at a batch of inputs, computed by one strategy.

    There are four: ``SingleLayer`` (closed form), ``Chain`` (layer by layer), ``Autodiff`` (anything else) and
    ``Transformed`` (anything, inside a transform of torch.func). Vectors have the shape of an input, ``*input``;
    everything that is returned has the axes of an input flattened into one.
    """

    @property
    def inputs(self) -> Tensor:
        """Where the Jacobian is taken, shape ``(batch, *input)``."""
        ...

    @property
    def method(self) -> str:
        """How it is computed, in a few words."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J."""
        ...

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that the map is a chain of, from the input to the code; none where its inside is not known."""
        ...

    def slopes(self) -> list[Tensor]:
        """The diagonals of D_1 ... D_L, shape (batch, width) each; none where the map's inside is not known."""
        ...

    def at(self, inputs: Tensor, part: Part) -> Strategy:
        """The Jacobian of the same map elsewhere, for some of the examples of the batch."""
        ...

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        ...

    def kept(self) -> Kept:
        """What takes many products at these inputs without gradients, and keeps what they share."""
        ...

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,)."""
        ...

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        ...

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v for one or many vectors per example, shape ``(batch, [count,] *input)`` to (batch, [count,] code)."""
        ...

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u for one or many covectors per example, shape (batch, [count,] code) to (batch, [count,] input)."""
        ...

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The ``count`` largest singular values, descending, shape (batch, count), float64; with a gradient on demand.

        A strategy whose every step is recorded, as inside a transform of torch.func, gives one in any case.
        """
        ...

    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values (batch, count) and right singular vectors (batch, count, input), float64."""
        ...


class Opaque:
    """The part of a strategy that is the same for every map whose inside is not known."""

    @property
    def layers(self) -> Sequence[Layer]:
        """No layers are known."""
        return ()

    def slopes(self) -> list[Tensor]:
        """No slopes are known."""
        return []
