"""Rows of small images: storing them in tables, and drawing them as boards of tiles."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from torch import Tensor

from caelab.analysis.plotting import Panels, one_panel, page_width, points, root_figure, strokes, wrapped_text
from caelab.data import Dataset

SIGNED = "RdBu_r"  # red is positive, blue negative; told apart by colour-blind readers
GAP = 0.06  # of a tile, between neighbours
THUMBNAIL = 32  # pixels of a tile in a small picture, either way
STRIP = 6  # pixels that a vector is high in a small picture

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


def tiles_in(table: pd.DataFrame, limits: tuple[float, float] | None) -> list[Tile]:
    """Every image of a table, to be put on a sheet."""
    cells = zip(table["pixels"], table["height"], table["width"], strict=True)
    return [
        Tile(0, 0, np.asarray(pixels, dtype=np.float64).reshape(height, width), limits)
        for pixels, height, width in cells
    ]


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


def first_seed_of_each(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the lowest seed of each model, whatever seeds the others have."""
    return table[table["seed"] == table.groupby("model")["seed"].transform("min")]


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


def sheet(tiles: Sequence[Tile], columns: int = 8) -> Array:
    """Tiles as one small picture, line after line: colours from 0 to 1, shape (height, width, 3).

    A tile has at most ``THUMBNAIL`` pixels either way, as means of blocks; a vector becomes a strip. Colours are those
    of ``board``, and the gaps are white.
    """
    small = [_coloured(tile) for tile in tiles]
    height, width = (max(each.shape[axis] for each in small) + 1 for axis in (0, 1))
    lines = lines_needed(len(small), columns)
    found = np.ones((lines * height - 1, min(columns, len(small)) * width - 1, 3))
    for (line, column), each in zip(wrapped(len(small), columns), small, strict=True):
        top, left = line * height, column * width
        found[top : top + each.shape[0], left : left + each.shape[1]] = each
    return found


def _coloured(tile: Tile) -> Array:
    """The pixels of a tile, small and in colours, shape (height, width, 3)."""
    pixels = tile.pixels if tile.pixels.shape[0] > 1 else np.repeat(tile.pixels, STRIP, axis=0)
    pixels = _reduced(pixels, -(-max(pixels.shape) // THUMBNAIL))
    peak = float(np.abs(pixels).max()) or 1.0
    low, high = tile.limits or (-peak, peak)
    shares = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    colors = _shades("gray" if tile.limits else SIGNED)
    return np.asarray(colors[np.minimum((shares * 256).astype(int), 255)])


@cache
def _shades(name: str) -> Array:
    """The 256 colours of a map, shape (256, 3); a map makes them anew in each of its copies."""
    return np.asarray(colormaps[name](np.arange(256))[:, :3])


def _reduced(pixels: Array, step: int) -> Array:
    """Means of blocks of ``step`` by ``step`` pixels; those at the end may be smaller."""
    if step == 1:
        return pixels
    sums = np.add.reduceat(
        np.add.reduceat(pixels, range(0, pixels.shape[0], step), 0), range(0, pixels.shape[1], step), 1
    )
    rows, columns = (np.minimum(step, size - np.arange(0, size, step)) for size in pixels.shape)
    return np.asarray(sums / np.outer(rows, columns))


def board(axes: Any, tiles: Sequence[Tile], title: str, *, of: str) -> Panels:
    """One panel of tiles: a figure of its own over the whole page, as high as its rows need, or axes that are given.

    Signed tiles run from blue through white to red, each on its own symmetric scale; the others from black to white.
    Vectors (height 1) are drawn as lines. What is given has no title: a caption says more below it.
    """
    columns = max(tile.column for tile in tiles) + 1
    rows = max(tile.row for tile in tiles) + 1
    width, labels = page_width(), points(0.9)  # inches
    title = wrapped_text(title, width - labels, points(6))
    header = points(0.25 + 0.14 * (1 + title.count("\n")))
    found = one_panel(axes, of=of, size=(width, rows * (width - labels) / columns + header))
    fill(found[0], tiles, columns, rows)
    if found.own:
        found[0].set_title(title, loc="left", fontsize="small")
    return found


def fill(axes: Axes, tiles: Sequence[Tile], columns: float, rows: float) -> None:
    """Draw tiles on axes that have room for so many columns and rows."""
    for tile in tiles:
        _draw_tile(axes, tile)
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(visible=False)


def _ink(axes: Axes) -> str:
    """The colour of a line that is seen on the axes: nearly black, or on a dark ground that of the text."""
    dark = sum(to_rgb(axes.get_facecolor())) < 1.5
    return str(rcParams["text.color"]) if dark else "0.15"


def _draw_tile(axes: Axes, tile: Tile) -> None:
    """Put one tile on its place."""
    peak = float(np.abs(tile.pixels).max()) or 1.0
    low, high = tile.limits or (-peak, peak)
    left, top, size = tile.column + GAP / 2, tile.row + GAP / 2, 1 - GAP
    if tile.pixels.shape[0] == 1:
        heights = np.clip((tile.pixels[0] - low) / (high - low), 0, 1)
        across = np.linspace(left, left + size, heights.size)
        axes.plot(across, top + size * (1 - heights), color=_ink(axes), linewidth=strokes(0.6))
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


def labels_fit(axes: Axes, labels: Mapping[float, str]) -> bool:
    """Whether names of columns stand beside each other, about: a letter is half as wide as the size of text."""
    inches = axes.bbox.width / root_figure(axes).dpi / max(1.0, axes.get_xlim()[1])
    return max(len(re.sub(r"[${}\\_]", "", text)) for text in labels.values()) * 0.55 * points(6.5) / 72 < inches


def wrapped(count: int, columns: int) -> list[tuple[int, int]]:
    """Row and column of ``count`` tiles that fill lines of ``columns``.

    >>> wrapped(3, 2)
    [(0, 0), (0, 1), (1, 0)]
    """
    return [divmod(position, columns) for position in range(count)]


def lines_needed(count: int, columns: int) -> int:
    """How many lines ``count`` tiles fill."""
    return math.ceil(count / columns)
