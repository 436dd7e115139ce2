"""Columns of J for maps whose code is wider than their input, where they are fewer than the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from caelab.jacobian.memory import pieces

Push = Callable[[Tensor], Tensor]
Range = tuple[int, int]

DEARER = 2  # forward passes beside a reverse pass, at most: rows are taken where columns are not so many times fewer


def are_cheaper(code: int, width: int) -> bool:
    """Whether min(code, input) products are those from the side of the input, the same on every machine.

    >>> are_cheaper(12288, 32), are_cheaper(40, 32)
    (True, False)
    """
    return DEARER * width <= code


def column_blocks(count: int, width: int, bytes_each: int, budget: int) -> tuple[int, list[Range]]:
    """How many examples go at once, and the ranges of columns, each one block of forward products.

    Args:
        count: of examples.
        width: of the input.
        bytes_each: what one product of one example takes.
        budget: bytes.

    Raises:
        CaelabError: not even one product fits.
    """
    examples = pieces("one column of one example's Jacobian", count, bytes_each, budget)
    columns = pieces("one column of the Jacobian", width, bytes_each * examples, budget)
    return examples, [(first, min(first + columns, width)) for first in range(0, width, columns)]


def columns_of(push: Push, inputs: Tensor, block: Range) -> Tensor:
    """A range of columns of every example's J, shape (batch, columns, code).

    Args:
        push: J v for vectors ``(batch, count, *input)``.
        inputs: x, shape ``(batch, *input)``.
        block: the first column and the one behind the last.
    """
    first, after = block
    units = inputs.new_zeros(after - first, inputs[0].numel())
    units[:, first:after].fill_diagonal_(1)
    vectors = units.reshape(1, after - first, *inputs.shape[1:])
    return push(vectors.expand(len(inputs), *vectors.shape[1:]))


def dense_by_columns(push: Push, inputs: Tensor, blocks: list[Range]) -> Tensor:
    """J, shape (batch, code, input), from its columns."""
    return torch.cat(list(_each(push, inputs, blocks)), dim=1).mT


def _each(push: Push, inputs: Tensor, blocks: list[Range]) -> Iterator[Tensor]:
    return (columns_of(push, inputs, block) for block in blocks)
