"""Rows of small images: storing them in tables, and drawing them as boards of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from caelab.data import Dataset

SIGNED = "RdBu_r"  # red is positive, blue negative; told apart by colour-blind readers
GAP = 0.06  # of a tile, between neighbours

Array = NDArray[np.float64]


def picture(values: Tensor, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """One image as cells of a table row: its pixels row by row, and its size. A vector has height 1.

    Args:
        values: one input, or something of its shape, flat.
        shape: (height, width), (height, width, channels), which are averaged, or None for a vector.
    """
    height, width, *channels = shape or (1, values.numel())
    pixels = values.detach().double().reshape(height * width, *channels)
    grey = pixels.mean(dim=1) if channels else pixels
    return {"pixels": grey.tolist(), "height": height, "width": width}


def pixels_of(row: Any) -> Array:
    """The image in a table row, shape (height, width)."""
    return np.asarray(row.pixels, dtype=np.float64).reshape(int(row.height), int(row.width))


def distinct_examples(dataset: Dataset, count: int) -> list[int]:
    """Positions among the validation examples: the first of each class, then the first others, up to ``count``."""
    total = len(dataset.valid_inputs)
    labels = dataset.valid_labels
    if labels is None:
        return list(range(min(count, total)))
    firsts = {int(label): position for position, label in reversed(list(enumerate(labels.tolist())))}
    chosen = sorted(firsts.values())[:count]
    others = [position for position in range(total) if position not in set(chosen)]
    return (chosen + others)[:count]


def first_seed(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows of the lowest seed, for figures that have room for one, and that seed."""
    seed = int(table["seed"].min())
    return table[table["seed"] == seed], seed


@dataclass(frozen=True)
class Tile:
    """One image on a board; ``limits`` are its darkest and brightest value, or None for signed images."""

    row: float
    column: float
    pixels: Array
    limits: tuple[float, float] | None = None


def brightness(tables: pd.DataFrame) -> tuple[float, float]:
    """[0, 1] where all images of a table lie in it, else their range."""
    values = np.concatenate([np.asarray(pixels, dtype=np.float64) for pixels in tables["pixels"]])
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def board(tiles: Sequence[Tile], width: float, title: str) -> tuple[Figure, Axes]:
    """A figure of tiles, as wide as ``width`` inches and as high as its rows need.

    Signed tiles run from blue through white to red, each on its own symmetric scale; the others from black to white.
    Vectors (height 1) are drawn as lines.
    """
    columns = max(tile.column for tile in tiles) + 1
    rows = max(tile.row for tile in tiles) + 1
    labels, header = 0.9, 0.25 + 0.14 * (1 + title.count("\n"))  # inches
    figure = Figure(figsize=(width, rows * (width - labels) / columns + header), layout="constrained")
    axes = figure.add_subplot()
    for tile in tiles:
        _draw_tile(axes, tile)
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_title(title, loc="left", fontsize="small")
    axes.grid(visible=False)
    return figure, axes


def _draw_tile(axes: Axes, tile: Tile) -> None:
    """Put one tile on its place."""
    peak = float(np.abs(tile.pixels).max()) or 1.0
    low, high = tile.limits or (-peak, peak)
    left, top, size = tile.column + GAP / 2, tile.row + GAP / 2, 1 - GAP
    if tile.pixels.shape[0] == 1:
        heights = np.clip((tile.pixels[0] - low) / (high - low), 0, 1)
        across = np.linspace(left, left + size, heights.size)
        axes.plot(across, top + size * (1 - heights), color="0.15", linewidth=0.6)
        return
    axes.imshow(
        tile.pixels,
        cmap="gray" if tile.limits else SIGNED,
        vmin=low,
        vmax=high,
        extent=(left, left + size, top + size, top),
        interpolation="none",
    )


def label_rows(axes: Axes, labels: Mapping[float, str]) -> None:
    """Name rows at their left, ``{row: text}``."""
    axes.set_yticks([row + 0.5 for row in labels], [*labels.values()])


def label_columns(axes: Axes, labels: Mapping[float, str]) -> None:
    """Name columns at their top, ``{column: text}``."""
    axes.set_xticks([column + 0.5 for column in labels], [*labels.values()])


def wrapped(count: int, columns: int) -> list[tuple[int, int]]:
    """Row and column of ``count`` tiles that fill lines of ``columns``.

    >>> wrapped(3, 2)
    [(0, 0), (0, 1), (1, 0)]
    """
    return [divmod(position, columns) for position in range(count)]


def lines_needed(count: int, columns: int) -> int:
    """How many lines ``count`` tiles fill."""
    return math.ceil(count / columns)
