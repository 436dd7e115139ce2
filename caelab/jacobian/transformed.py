"""The strategy inside a transform of torch.func (grad, vmap, jvp, jacrev): torch.func alone, so that it composes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from caelab.jacobian.context import Part, cut
from caelab.jacobian.engines import OwnProducts
from caelab.jacobian.products import code_at
from caelab.jacobian.strategy import Method, Mode, Opaque

Encode = Callable[[Tensor], Tensor]


def is_inside() -> bool:
    """Whether a transform of torch.func is running: tensors may then have no values to look at."""
    return torch._C._functorch.peek_interpreter_stack() is not None


@dataclass(frozen=True)
class Transformed(Opaque):
    """J at a batch of inputs, row by row from ``torch.func.vjp``, which is right for every operator.

    Nothing can be tried out or compared, since under ``vmap`` no value can be looked at.
    """

    encode: Encode
    inputs: Tensor

    @property
    def method(self) -> str:
        """How it is computed."""
        return "torch.func (rows one by one)"

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J."""
        return self._pull()[0].shape[1], self.inputs[0].numel()

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,)."""
        return self.dense(budget).square().sum(dim=(1, 2))

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        code, pull = self._pull()
        units = torch.eye(code.shape[1], dtype=code.dtype, device=code.device)
        rows = [pull(unit.expand_as(code))[0].flatten(1) for unit in units]
        return torch.stack(rows, dim=1)

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v, shape (batch, [count,] *input) to (batch, [count,] code), from all rows."""
        many = vectors if vectors.ndim > self.inputs.ndim else vectors[:, None]
        found = many.flatten(2) @ self.dense(0).mT
        return found if vectors.ndim > self.inputs.ndim else found[:, 0]

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, shape (batch, [count,] code) to (batch, [count,] input)."""
        code, pull = self._pull()
        many = covectors if covectors.ndim == 3 else covectors[:, None]
        found = torch.stack([pull(each.to(code.dtype))[0].flatten(1) for each in many.unbind(1)], dim=1)
        return found if covectors.ndim == 3 else found[:, 0]

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The largest singular values, shape (batch, count), float64, with whatever derivative the transform takes."""
        return cast(Tensor, torch.linalg.svdvals(self.dense(budget).double()))[:, :count]

    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values and right singular vectors, shapes (batch, count) and (batch, count, input)."""
        _, values, right = torch.linalg.svd(self.dense(budget).double(), full_matrices=False)
        return values[:, :count], right[:, :count]

    def at(self, inputs: Tensor, part: Part) -> Transformed:
        """The Jacobian of the same map elsewhere, for some of the examples of the batch."""
        return Transformed(cut(self.encode, part), inputs)

    def kept(self) -> OwnProducts:
        """Many products without gradients."""
        return OwnProducts(self)

    def bytes_per_product(self) -> int:
        """Nothing: a transform keeps what it keeps."""
        return 0

    def _pull(self) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        found = torch.func.vjp(lambda x: code_at(self.encode, x), self.inputs)
        return cast(tuple[Tensor, Callable[[Tensor], tuple[Tensor]]], found)
