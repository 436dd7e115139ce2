"""Gradients of what is computed in blocks, block by block, without keeping autograd's record of all blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.precision import keeps_precision

Rows = tuple[int, int]
SquaredRows = Callable[[Rows, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Blocks:
    """The function that gives one block of rows, and how many blocks there are.

    Attributes:
        compute: Σ of the squares of a range of rows of J, shape (examples,), from the range, the indices of the
            examples and their inputs.
        parts: indices of the examples that go together, with the ranges of rows.
    """

    compute: SquaredRows
    parts: Sequence[tuple[Tensor, Sequence[Rows]]]

    def __iter__(self) -> Iterator[tuple[Tensor, Rows]]:
        return ((part, rows) for part, ranges in self.parts for rows in ranges)

    def values(self, inputs: Tensor) -> Tensor:
        """The sum over all rows, shape (batch,)."""
        total = inputs.new_zeros(len(inputs))
        for part, rows in self:
            total = total.index_add(0, part, self.compute(rows, part, inputs[part]))
        return total


@keeps_precision
class Forgetful(torch.autograd.Function):
    """Σ of squares over all blocks, keeping the record of one block at a time.

    Autograd would keep every block's record until the way back. Here the gradient of Σ_b norm_b is taken with the
    value, and scaled later, since a penalty weighs all examples alike. Where it does not, or where a gradient of the
    gradient is asked for, the blocks are computed once more.
    """

    @staticmethod
    def forward(ctx: Any, blocks: Blocks, inputs: Tensor, *parameters: Tensor) -> Tensor:
        """The norms, shape (batch,).

        Args:
            ctx: autograd's context.
            blocks: what is computed at once.
            inputs: x, shape (batch, *input).
            parameters: all else that the norms depend on.
        """
        ctx.blocks = blocks
        point = inputs.detach().requires_grad_(inputs.requires_grad)
        ones = torch.ones(len(inputs), dtype=inputs.dtype, device=inputs.device)
        norms, grads = differentiated(blocks, (point, *parameters), ones, recorded=False)
        ctx.count = len(parameters)
        ctx.save_for_backward(inputs, *parameters, *(grad for grad in grads if grad is not None))
        ctx.has = [grad is not None for grad in grads]
        return norms

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the inputs, where asked for, and of the parameters."""
        (weights,) = grads
        sources, kept = ctx.saved_tensors[: ctx.count + 1], iter(ctx.saved_tensors[ctx.count + 1 :])
        recorded = torch.is_grad_enabled()
        if recorded or not bool((weights == weights[0]).all()):
            return None, *differentiated(ctx.blocks, sources, weights, recorded)[1]
        return None, *(next(kept) * weights[0] if has else None for has in ctx.has)


def differentiated(
    blocks: Blocks, sources: Sequence[Tensor], weights: Tensor, recorded: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """The norms, and the gradients of Σ_b weight_b norm_b by every source; the inputs are the first.

    Args:
        blocks: what is computed at once.
        sources: x and the parameters.
        weights: of the examples, shape (batch,).
        recorded: whether the gradients are to be differentiated again.
    """
    inputs = sources[0]
    wanted = [source for source in sources if source.requires_grad]
    norms = torch.zeros_like(weights, requires_grad=False)
    totals: list[Tensor | None] = [None] * len(wanted)
    with torch.enable_grad():
        for part, rows in blocks:
            found = blocks.compute(rows, part, inputs[part])
            norms.index_add_(0, part, found.detach())
            if not found.requires_grad:  # J is constant there
                continue
            grads = torch.autograd.grad(found, wanted, weights[part], create_graph=recorded, allow_unused=True)
            totals = [_sum(total, grad) for total, grad in zip(totals, grads, strict=True)]
    each = iter(totals)
    return norms, [next(each) if source.requires_grad else None for source in sources]


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second


def own_leaves(parts: Iterable[tuple[Callable[[Tensor], Tensor], Tensor]]) -> list[Tensor] | None:
    """The tensors that an encoder's gradient ends in, or nothing where it holds a record made elsewhere.

    Such a record, as of a weight computed once before, would be gone when a block is differentiated on its own.

    Args:
        parts: all inputs, as many at once as may be, each with what encodes these examples: which tensors matter
            may depend on the example.
    """
    leaves: dict[Any, None] = {}
    for encode, inputs in parts:
        with torch.enable_grad():
            codes = [encode(inputs.detach()) for _ in range(2)]
        first, second = (dict.fromkeys(reached(code.grad_fn)) for code in codes)
        leaves |= {node: None for node in first if node in second}
    if not all(hasattr(node, "variable") for node in leaves):
        return None
    return [node.variable for node in leaves]


def reached(node: Any) -> Iterator[Any]:
    """Every step of a record behind this one."""
    waiting, seen = [node], set()
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        yield step
        waiting.extend(before for before, _ in step.next_functions)
