"""Chains of ReLU layers: a unit that is off has a zero row and a zero column, so only active units are multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def squared_norm_of_active(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """‖D_L W_L ... D_1 W_1‖_F² with D_l of zeros and ones, shape (batch,); values only, no gradient.

    For each example W_l[a_l, a_{l-1}], the rows and columns of its active units, are multiplied from the output side;
    at the input ‖C W_1‖² = Σ (C G) ∘ C with G = W_1 W_1ᵀ, which the examples share.

    Args:
        weights: W_1 ... W_L, shape (out, in) each.
        slopes: the diagonals of D_1 ... D_L, zero or one, shape (batch, out) each.
    """
    gram = weights[0] @ weights[0].T
    return torch.stack(
        [_of_one(weights, gram, [s.nonzero()[:, 0] for s in each]) for each in zip(*slopes, strict=True)]
    )


def _of_one(weights: Sequence[Tensor], gram: Tensor, active: Sequence[Tensor]) -> Tensor:
    product = None
    for upper in range(len(weights) - 1, 0, -1):
        block = weights[upper].index_select(0, active[upper]).index_select(1, active[upper - 1])
        product = block if product is None else product @ block
    first = gram.index_select(0, active[0]).index_select(1, active[0])
    assert product is not None  # a chain has two layers at least; one has a closed form
    return (product @ first).flatten().dot(product.flatten())
