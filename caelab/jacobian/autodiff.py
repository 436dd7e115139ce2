"""Any encoder by automatic differentiation: rows of the Jacobian in blocks that fit into a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from caelab.jacobian.blockwise import Blocks, Forgetful, own_leaves
from caelab.jacobian.context import Part, cut, innermost
from caelab.jacobian.convolutions import narrow_ones_by_matrix_product
from caelab.jacobian.memory import MEBIBYTE, handful, pieces, refuse_beyond

Encode = Callable[[Tensor], Tensor]
FIRST = slice(0, 1)
LARGEST_BLOCK = 256 * MEBIBYTE  # more at once is slower: fresh memory costs more than another pass


@dataclass(frozen=True)
class Autodiff:
    """The Jacobian of a map whose inside is not known, at a batch of inputs.

    One pass forward serves all rows. As examples do not mix, the gradient of Σ_b f_j(x_b) holds row j of every
    example's Jacobian: a block of rows is one backward pass with as many one-hot cotangents (``torch.func.vmap`` over
    ``torch.autograd.grad``), in which a convolution stays one convolution over rows·batch images.
    """

    encode: Encode
    inputs: Tensor

    @property
    def method(self) -> str:
        """How it is computed."""
        return "autodiff"

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,); each block of rows is squared, summed and forgotten."""
        wanted = self.parameters_want_gradient()
        blocks = Blocks(partial(_squared_rows, self.encode), list(self._blocks(budget, wanted)))
        if not wanted:
            return blocks.values(self.inputs)
        leaves = own_leaves((partial(self._of_part, part), self.inputs[part]) for part, _ in blocks.parts)
        if leaves is None:
            return self._recorded(blocks, budget)
        return cast(Tensor, Forgetful.apply(blocks, self.inputs, *leaves))  # type: ignore[no-untyped-call]

    def _of_part(self, part: Part, inputs: Tensor) -> Tensor:
        return cut(self.encode, part)(inputs)

    def _recorded(self, blocks: Blocks, budget: int) -> Tensor:
        """With the whole record kept: of an encoder that cannot be differentiated in blocks."""
        needed = self._bytes_per_row(recorded=True) * len(self.inputs) * self.code_width()
        refuse_beyond("the Jacobian's record", needed, budget)
        return blocks.values(self.inputs)

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        code, width = self.code_width(), self.inputs[0].numel()
        needed = len(self.inputs) * code * width * self.inputs.element_size()
        refuse_beyond("the dense Jacobian", needed, budget)
        wanted = self.parameters_want_gradient()
        matrices = [
            torch.cat([_rows(cut(self.encode, part), block, self.inputs[part], wanted) for block in blocks], dim=1)
            for part, blocks in self._blocks(budget, wanted)
        ]
        return torch.cat(matrices)

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v, shape (batch, [count,] *input) to (batch, [count,] code); forward mode, differentiable."""

        def product(each: Tensor) -> Tensor:
            found = torch.func.jvp(lambda x: self.encode(x).flatten(1), (self.inputs,), (each,))
            return cast(Tensor, found[1])

        if vectors.ndim > self.inputs.ndim:
            return torch.func.vmap(product, in_dims=1, out_dims=1)(vectors)
        return product(vectors)

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, shape (batch, [count,] code) to (batch, [count,] input)."""
        many = covectors if covectors.ndim == 3 else covectors[:, None]
        wanted = self.parameters_want_gradient()
        found = _pulled_back(self.encode, self.inputs, many.transpose(0, 1), wanted).transpose(0, 1)
        return found if covectors.ndim == 3 else found[:, 0]

    def at(self, inputs: Tensor, part: Part) -> Autodiff:
        """The Jacobian of the same map elsewhere, for some of the examples of the batch."""
        return Autodiff(cut(self.encode, part), inputs)

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        return self._bytes_per_row(self.parameters_want_gradient())

    def code_width(self) -> int:
        """How many units the code has."""
        with torch.no_grad():
            return cut(self.encode, FIRST)(self.inputs[FIRST]).flatten(1).shape[1]

    def parameters_want_gradient(self) -> bool:
        """Whether autograd records and something inside asks for a gradient."""
        if not torch.is_grad_enabled():
            return False
        count, inputs = handful(self.inputs), self.inputs.detach()
        parts = [slice(first, first + count) for first in range(0, len(inputs), count)]  # they may go different ways
        return self.inputs.requires_grad or any(cut(self.encode, part)(inputs[part]).requires_grad for part in parts)

    def _bytes_per_row(self, recorded: bool) -> int:
        return bytes_per_row(cut(self.encode, FIRST), self.inputs[FIRST], recorded)

    def _blocks(self, budget: int, wanted: bool) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
        """Indices of the examples that are computed at once, with the ranges of rows, each one backward pass."""
        code, count = self.code_width(), len(self.inputs)
        each = self._bytes_per_row(wanted)
        if self.inputs.device.type == "cpu":
            budget = min(budget, max(each, LARGEST_BLOCK))
        examples = pieces("one row of one example's Jacobian", count, each, budget)
        rows = pieces("one row of the Jacobian", code, each * examples, budget)
        blocks = [(first, min(first + rows, code)) for first in range(0, code, rows)]
        for part in torch.split(torch.arange(count, device=self.inputs.device), examples):
            yield part, blocks


def bytes_per_row(encode: Encode, example: Tensor, recorded: bool) -> int:
    """Bytes that one cotangent of one example takes on its way back: what the forward pass saves, and as much again.

    Where the way back is recorded itself, for a gradient of the Jacobian, it keeps about three times as much.
    """
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        if not isinstance(tensor, nn.Parameter) and not isinstance(tensor._base, nn.Parameter):
            saved += tensor.numel() * tensor.element_size()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        encode(example.detach().requires_grad_())
    own = 2 * example.numel() * example.element_size()
    return (6 if recorded else 2) * (saved + own)


def _squared_rows(encode: Encode, block: tuple[int, int], part: Tensor, inputs: Tensor) -> Tensor:
    with narrow_ones_by_matrix_product(innermost(encode)):
        rows = _rows(cut(encode, part), block, inputs, torch.is_grad_enabled())
    return rows.square().flatten(1).sum(dim=1)


def _rows(encode: Encode, block: tuple[int, int], inputs: Tensor, recorded: bool) -> Tensor:
    """Rows ``block`` of the Jacobian, shape (batch, rows, input)."""
    first, after = block

    def one_hot(code: Tensor) -> Tensor:
        units = torch.arange(first, after, device=code.device)
        return nn.functional.one_hot(units, code.shape[1]).to(code.dtype)[:, None].expand(-1, len(code), -1)

    return _pulled_back(encode, inputs, one_hot, recorded).transpose(0, 1)


def _pulled_back(encode: Encode, inputs: Tensor, cotangents: Any, recorded: bool) -> Tensor:
    """The cotangents (rows, batch, code), or what makes them from the code, as gradients (rows, batch, input)."""
    with torch.enable_grad():
        point = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # the faster ways of attention cannot be differentiated twice
            code = encode(point).flatten(1)
        given = cotangents(code) if callable(cotangents) else cotangents

        def pulled(one: Tensor) -> Tensor:
            grads = torch.autograd.grad(
                code, point, one, create_graph=recorded, retain_graph=True, materialize_grads=True
            )
            return grads[0]

        found = torch.func.vmap(pulled)(given)  # is_grads_batched=True would run a convolution once for each row
    return found.flatten(2)
