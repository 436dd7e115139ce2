"""Entries of a Jacobian for rows and columns that are chosen for each example, without the whole matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from caelab.errors import CaelabError
from caelab.jacobian.active import ActiveRows
from caelab.jacobian.active_front import own_rows
from caelab.jacobian.layers import Layer
from caelab.jacobian.memory import pieces
from caelab.jacobian.strategy import Strategy


def entries_between(
    strategy: Strategy, rows: Tensor, columns: Tensor, budget: int, known: Tensor | None = None
) -> Tensor:
    """J[b, rows[b, i], columns[b, j]], shape (batch, i, j), differentiable.

    Through the layers of a chain, whose first and last matrix are cut to the chosen columns and rows; for anything else
    from the chosen rows or the chosen columns, whichever are fewer.

    Args:
        strategy: knows J, shape (code, input) for each example.
        rows: units of the code, (batch, i), integers.
        columns: entries of the input, (batch, j), integers.
        budget: bytes.
        known: the columns of the first layer's weight, (batch, j, width), where someone has them already.
    """
    if strategy.layers:
        return _through_layers(strategy, rows, columns, budget, known)
    fewer = min(rows.shape[1], columns.shape[1])
    each = fewer * (strategy.bytes_per_product() + 8 * sum(strategy.shape) * strategy.inputs.element_size())
    at_once = pieces("the chosen entries of one example", len(rows), each, budget)
    parts = [slice(first, first + at_once) for first in range(0, len(rows), at_once)]
    found = [_of_part(strategy.at(strategy.inputs[part], part), rows[part], columns[part]) for part in parts]
    return torch.cat(found)


def _of_part(strategy: Strategy, rows: Tensor, columns: Tensor) -> Tensor:
    code, width = strategy.shape
    inputs = strategy.inputs
    if rows.shape[1] <= columns.shape[1]:
        pulled = _chosen_rows(strategy, rows, code)
        return pulled.gather(2, columns[:, None].expand(-1, rows.shape[1], -1))
    units = one_hot(columns, width, inputs).view(*columns.shape, *inputs.shape[1:])
    return strategy.jvp(units).gather(2, rows[:, None].expand(-1, columns.shape[1], -1)).mT


def _chosen_rows(strategy: Strategy, rows: Tensor, code: int) -> Tensor:
    if isinstance(strategy, ActiveRows):
        return strategy.front.rows(rows, strategy.slope.gather(1, rows))
    return strategy.vjp(one_hot(rows, code, strategy.inputs))


def one_hot(places: Tensor, width: int, like: Tensor) -> Tensor:
    """Unit vectors, shape (batch, count, width), of places (batch, count)."""
    return like.new_zeros(*places.shape, width).scatter(2, places[:, :, None], 1.0)


def _through_layers(strategy: Strategy, rows: Tensor, columns: Tensor, budget: int, known: Tensor | None) -> Tensor:
    layers, slopes = strategy.layers, strategy.slopes()
    widest = max([layers[0].weight.shape[0], *(layer.weight.shape[1] for layer in layers[1:])])
    kept = 4 * len(layers) if torch.is_grad_enabled() else 4
    each = kept * widest * (rows.shape[1] + columns.shape[1]) * rows.element_size()
    at_once = pieces("the chosen entries of one example", len(rows), each, budget)
    whole = at_once >= len(rows)
    if whole:
        return _entries(layers, rows, columns, *slopes, known=known)
    compute = partial(_entries, layers)
    run: Callable[..., Tensor] = partial(checkpoint, compute, use_reentrant=False)
    split = (torch.split(tensor, at_once) for tensor in (rows, columns, *slopes))
    return torch.cat([run(*part) for part in zip(*split, strict=True)])


def _entries(
    layers: Sequence[Layer], rows: Tensor, columns: Tensor, *slopes: Tensor, known: Tensor | None = None
) -> Tensor:
    """The entries of D_L W_L ... D_1 W_1 for some examples, pushed from whichever side has fewer of them."""
    last = slopes[-1].gather(1, rows)[:, :, None]
    if len(layers) == 1:
        chosen = layers[0].weight[rows[:, :, None], columns[:, None, :]]
        return chosen * last
    above = own_rows(layers[-1].weight, rows) * last  # (batch, i, width)
    below = own_rows(layers[0].weight.T, columns) if known is None else known  # (batch, j, width)
    if rows.shape[1] <= columns.shape[1]:
        for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:-1]), strict=True):
            above = (_scaled(above, slope, layer)) @ layer.weight
        return _scaled(above, slopes[0], layers[0]) @ below.mT
    for before, slope, layer in zip(layers[:-2], slopes[:-2], layers[1:-1], strict=True):
        below = _scaled(below, slope, before) @ layer.weight.T
    return above @ _scaled(below, slopes[-2], layers[-2]).mT


def _scaled(vectors: Tensor, slope: Tensor, layer: Layer) -> Tensor:
    return vectors if layer.is_affine else vectors * slope[:, None]


def checked_places(places: Tensor, name: str, batch: int, width: int) -> Tensor:
    """Places (batch, count) between 0 and the width, as int64.

    Raises:
        CaelabError: another shape or type, or a place that there is not.
    """
    if not isinstance(places, Tensor) or places.is_floating_point() or places.ndim != 2 or len(places) != batch:
        came = f"{places.dtype} {tuple(places.shape)}" if isinstance(places, Tensor) else type(places).__name__
        raise CaelabError(f"expected {name} as whole numbers of shape ({batch}, count), but {came} came")
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < width:
        raise CaelabError(
            f"expected {name} between 0 and {width - 1}, but they lie between {int(places.min())} and "
            f"{int(places.max())}"
        )
    return places.long()
