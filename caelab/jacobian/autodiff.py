"""The strategy for any encoder: automatic differentiation, row by row in blocks that fit a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from caelab.jacobian.blockwise import Blocks, Forgetful, own_leaves
from caelab.jacobian.columns import are_cheaper, column_blocks, columns_of, dense_by_columns
from caelab.jacobian.context import Part, cut, innermost
from caelab.jacobian.convolutions import with_narrow_convolutions
from caelab.jacobian.engines import KeptProducts
from caelab.jacobian.known_pass import KnownPass
from caelab.jacobian.memory import MEBIBYTE, budget_in_bytes, handful, pieces, refuse_beyond
from caelab.jacobian.products import (
    PulledGradient,
    code_at,
    pulled_back,
    pushed_forward,
    pushed_forward_one,
    reversed_twice,
)
from caelab.jacobian.record_size import bytes_per_row
from caelab.jacobian.singular_values import differentiated_on_demand, singular_values_by_rows, tangents_by_rows
from caelab.jacobian.strategy import Method, Mode, Opaque
from caelab.jacobian.validation.explanations import without_gradient
from caelab.jacobian.validation.trial import Directions, Products, Rows, leaves_of, products_of, rows_of

Encode = Callable[[Tensor], Tensor]
FIRST = slice(0, 1)
LARGEST_BLOCK = 256 * MEBIBYTE  # more at once is slower: fresh memory costs more than another pass


@dataclass(frozen=True)
class Autodiff(Opaque):
    """The Jacobian of a map whose inside is not known, at a batch of inputs.

    One pass forward serves all rows. As examples do not mix, the gradient of Σ_b f_j(x_b) holds row j of every
    example's Jacobian: a block of rows is one backward pass with as many one-hot cotangents (``torch.func.vmap`` over
    ``torch.autograd.grad``), in which a convolution stays one convolution over rows·batch images.
    """

    encode: Encode
    inputs: Tensor
    found: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # what was tried out
    known: KnownPass | None = field(default=None, repr=False, compare=False)  # a pass forward at these inputs

    @property
    def method(self) -> str:
        """How it is computed, and where that differs from what is usual."""
        rows, products = self.rows(), self.products(many=True)
        odd = [] if rows.together else ["rows one by one"]
        odd += [] if products.directions is Directions.FORWARD else [str(products.directions)]
        odd += [] if products.own_record else ["its gradient by reverse mode"]
        odd += ["values alone"] if rows.lacking else []
        odd += ["columns"] if self._by_columns() else []
        return f"autodiff ({', '.join(odd)})" if odd else "autodiff"

    @property
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J."""
        return self._code_width(), self.inputs[0].numel()

    def rows(self) -> Rows:
        """How rows are taken, which is tried out once."""
        return cast(Rows, self._once("rows", rows_of))

    def products(self, many: bool) -> Products:
        """How J v is taken for one vector per example, or for many, which is tried out once."""
        return cast(Products, self._once(("J v", many), partial(products_of, many)))

    def _once(self, what: Any, tried: Callable[[Encode, Tensor, bool], Any]) -> Any:
        recorded, few = torch.is_grad_enabled(), slice(0, handful(self.inputs))
        key = (what, recorded, self.inputs.requires_grad)
        if key not in self.found:
            self.found[key] = tried(cut(self.encode, few), self.inputs[few], recorded)
        return self.found[key]

    def squared_norm(self, budget: int) -> Tensor:
        """‖J(x)‖_F², shape (batch,); each block of rows, or columns, is squared, summed and forgotten."""
        if self._by_columns():
            return self._of_columns(partial(self._squared_norm_of_columns, budget))
        return self._of_rows(partial(self._squared_norm, budget))

    def _squared_norm_of_columns(self, budget: int, wanted: bool) -> Tensor:
        blocks = Blocks(self._squared_columns, list(self._column_blocks(budget, wanted)))
        return self._of_blocks(blocks, budget, wanted)

    def _of_columns(self, compute: Callable[[bool], Tensor]) -> Tensor:
        """What is computed by J v, given whether its gradient is wanted; as ``_of_rows``."""
        wanted, lacking = self.parameters_want_gradient(), self.products(many=True).lacking
        if lacking is None or not wanted:
            return compute(wanted)
        return without_gradient(lambda: compute(False), lacking, self._sources())

    def _by_columns(self) -> bool:
        """Whether J is taken column by column: from the input's side, where that is narrower and J v can be taken."""
        return are_cheaper(*self.shape) and self.products(many=True).directions is not Directions.ROWS

    def _squared_columns(self, block: tuple[int, int], part: Tensor, inputs: Tensor) -> Tensor:
        found = columns_of(self.at(inputs, part).jvp, inputs, block)
        return found.square().flatten(1).sum(dim=1)

    def _column_blocks(self, budget: int, wanted: bool) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
        """Indices of the examples that are computed at once, with the ranges of columns."""
        each, count = self._bytes_per_row(wanted), len(self.inputs)
        examples, blocks = column_blocks(count, self.shape[1], each, self._at_once(each, budget))
        for part in torch.split(torch.arange(count, device=self.inputs.device), examples):
            yield part, blocks

    def _squared_norm(self, budget: int, wanted: bool, together: bool) -> Tensor:
        blocks = Blocks(partial(_squared_rows, self.encode, together), list(self._blocks(budget, wanted)))
        return self._of_blocks(blocks, budget, wanted)

    def _of_blocks(self, blocks: Blocks, budget: int, wanted: bool) -> Tensor:
        """The sums of all blocks, with their gradient where it is wanted."""
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
        needed = self._bytes_per_row(recorded=True) * len(self.inputs) * min(self.shape)
        refuse_beyond("the Jacobian's record", needed, budget)
        return blocks.values(self.inputs)

    def dense(self, budget: int) -> Tensor:
        """J, shape (batch, code, input)."""
        code, width = self._code_width(), self.inputs[0].numel()
        needed = len(self.inputs) * code * width * self.inputs.element_size()
        refuse_beyond("the dense Jacobian", needed, budget)
        if self._by_columns():
            return self._of_columns(partial(self._dense_by_columns, budget))
        return self._of_rows(partial(self._dense, budget))

    def _dense_by_columns(self, budget: int, wanted: bool) -> Tensor:
        parts = ((self.inputs[part], part, blocks) for part, blocks in self._column_blocks(budget, wanted))
        return torch.cat([dense_by_columns(self.at(x, part).jvp, x, blocks) for x, part, blocks in parts])

    def _dense(self, budget: int, wanted: bool, together: bool) -> Tensor:
        matrices = [
            torch.cat(
                [_rows(cut(self.encode, part), block, self.inputs[part], wanted, together) for block in blocks], dim=1
            )
            for part, blocks in self._blocks(budget, wanted)
        ]
        return torch.cat(matrices)

    def jvp(self, vectors: Tensor) -> Tensor:
        """J v, shape (batch, [count,] *input) to (batch, [count,] code); differentiable."""
        many = vectors.ndim > self.inputs.ndim
        products = self.products(many)
        values = partial(self._jvp, products.directions, vectors, many)
        if products.lacking is not None:
            return without_gradient(values, products.lacking, [*self._sources(), vectors])
        return values() if products.own_record else self._with_pulled_gradient(values, vectors, many)

    def _jvp(self, directions: Directions, vectors: Tensor, many: bool) -> Tensor:
        if directions is Directions.FORWARD and not many:
            return pushed_forward_one(self.encode, self.inputs, vectors)
        vectors = vectors if many else vectors[:, None]
        if directions is Directions.ROWS:
            found = vectors.flatten(2) @ self.dense(budget_in_bytes(None, self.inputs.device)).mT
        elif directions in (Directions.FORWARD, Directions.FORWARD_EACH):
            found = pushed_forward(self.encode, self.inputs, vectors, directions is Directions.FORWARD)
        else:
            wanted, together = self.parameters_want_gradient(), many and directions is Directions.TWICE
            turned = vectors.transpose(0, 1)
            found = reversed_twice(self.encode, self.inputs, turned, wanted, together).transpose(0, 1)
        return found if many else found[:, 0]

    def _with_pulled_gradient(self, values: Callable[[], Tensor], vectors: Tensor, many: bool) -> Tensor:
        together = self.rows().together

        def pull(inputs: Tensor, covectors: Tensor) -> Tensor:
            return pulled_back(self.encode, inputs, covectors, True, together)

        def products() -> Tensor:
            return values().transpose(0, 1) if many else values()[None]

        turned = vectors.transpose(0, 1) if many else vectors[None]
        sources = [source for source in self._sources() if source is not self.inputs]
        found: Tensor = PulledGradient.apply(products, pull, self.inputs, turned, *sources)  # type: ignore[no-untyped-call]
        return found.transpose(0, 1) if many else found[0]

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, shape (batch, [count,] code) to (batch, [count,] input)."""
        many = covectors if covectors.ndim == 3 else covectors[:, None]
        found = self._of_rows(partial(self._vjp, many.transpose(0, 1))).transpose(0, 1)
        return found if covectors.ndim == 3 else found[:, 0]

    def _vjp(self, covectors: Tensor, wanted: bool, together: bool) -> Tensor:
        """Jᵀ u, shape (count, batch, code) to (count, batch, input); of one each from the pass that is known."""
        one = len(covectors) == 1
        found = self.known.pulled_back(covectors[0]) if self.known and wanted and one else None
        if found is not None:
            return found[None]
        return pulled_back(self.encode, self.inputs, covectors, wanted, together and not one)

    def _of_rows(self, compute: Callable[[bool, bool], Tensor]) -> Tensor:
        """What is computed by reverse mode, given whether its gradient is wanted and whether rows go together.

        Where torch cannot differentiate rows, the values hold the reason in place of a gradient.
        """
        wanted, rows = self.parameters_want_gradient(), self.rows()
        if rows.lacking is None or not wanted:
            return compute(wanted, rows.together)
        return without_gradient(lambda: compute(False, rows.together), rows.lacking, self._sources())

    def _sources(self) -> list[Tensor]:
        """What the code can be differentiated by."""
        found: dict[Tensor, None] = {self.inputs: None} if self.inputs.requires_grad else {}
        with torch.enable_grad():
            for part in self._handfuls():
                found |= dict.fromkeys(leaves_of(code_at(cut(self.encode, part), self.inputs[part].detach())))
        return list(found)

    def at(self, inputs: Tensor, part: Part) -> Autodiff:
        """The Jacobian of the same map elsewhere, for some of the examples of the batch."""
        return Autodiff(cut(self.encode, part), inputs, self.found)

    def singular_values(self, count: int, method: Method, budget: int, gradient: bool) -> Tensor:
        """The largest singular values, shape (batch, count), float64."""

        def values() -> Tensor:
            return singular_values_by_rows(self, count, method, self.inputs[0].numel(), budget)

        return differentiated_on_demand(self, values, count, budget, gradient)

    @torch.no_grad()
    def tangents(self, count: int, mode: Mode, budget: int) -> tuple[Tensor, Tensor]:
        """The leading singular values (batch, count) and right singular vectors (batch, count, input), exact."""
        return tangents_by_rows(self, count, self.inputs[0].numel(), budget)

    def kept(self) -> KeptProducts:
        """Many products without gradients, from one pass forward."""
        with torch.no_grad():
            together, directions = self.rows().together, self.products(many=True).directions
        return KeptProducts(self, self.encode, together, directions, self.found.setdefault("engines", {}))

    def bytes_per_product(self) -> int:
        """Bytes that one product of one example takes, with what autograd keeps of it where it records."""
        return self._bytes_per_row(self.parameters_want_gradient())

    def _code_width(self) -> int:
        """How many units the code has, which is seen once."""
        if "code width" not in self.found:
            with torch.no_grad():
                self.found["code width"] = cut(self.encode, FIRST)(self.inputs[FIRST]).flatten(1).shape[1]
        return cast(int, self.found["code width"])

    def parameters_want_gradient(self) -> bool:
        """Whether autograd records and something inside asks for a gradient."""
        if not torch.is_grad_enabled():
            return False
        if self.inputs.requires_grad or self.found.get("wants gradient"):
            return True
        inputs = self.inputs.detach()
        wanted = any(cut(self.encode, part)(inputs[part]).requires_grad for part in self._handfuls())
        self.found["wants gradient"] = wanted  # a no is asked again: other examples may go another way
        return wanted

    def _handfuls(self) -> list[slice]:
        """A few examples at a time; they may go different ways."""
        count = handful(self.inputs)
        return [slice(first, first + count) for first in range(0, len(self.inputs), count)]

    def _bytes_per_row(self, recorded: bool) -> int:
        if ("bytes", recorded) not in self.found:
            self.found["bytes", recorded] = bytes_per_row(cut(self.encode, FIRST), self.inputs[FIRST], recorded)
        return cast(int, self.found["bytes", recorded])

    def _at_once(self, each: int, budget: int) -> int:
        return min(budget, max(each, LARGEST_BLOCK)) if self.inputs.device.type == "cpu" else budget

    def _blocks(self, budget: int, wanted: bool) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
        """Indices of the examples that are computed at once, with the ranges of rows, each one backward pass."""
        code, count = self._code_width(), len(self.inputs)
        each = self._bytes_per_row(wanted)
        budget = self._at_once(each, budget)
        examples = pieces("one row of one example's Jacobian", count, each, budget)
        rows = pieces("one row of the Jacobian", code, each * examples, budget)
        blocks = [(first, min(first + rows, code)) for first in range(0, code, rows)]
        for part in torch.split(torch.arange(count, device=self.inputs.device), examples):
            yield part, blocks


def _squared_rows(encode: Encode, together: bool, block: tuple[int, int], part: Tensor, inputs: Tensor) -> Tensor:
    some = cut(encode, part)
    if inputs.device.type == "cpu":
        some = with_narrow_convolutions(some, innermost(encode))
    rows = _rows(some, block, inputs, torch.is_grad_enabled(), together)
    return rows.square().flatten(1).sum(dim=1)


def _rows(encode: Encode, block: tuple[int, int], inputs: Tensor, recorded: bool, together: bool) -> Tensor:
    """Rows ``block`` of the Jacobian, shape (batch, rows, input)."""
    first, after = block

    def one_hot(code: Tensor) -> Tensor:
        units = code.new_zeros(after - first, code.shape[1])
        units[:, first:after].fill_diagonal_(1)
        return units[:, None].expand(-1, len(code), -1)

    return pulled_back(encode, inputs, one_hot, recorded, together).transpose(0, 1)
