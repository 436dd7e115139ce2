"""The figure of a denoiser's directions: posterior variances by rank, and the directions at the first examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caelab.analysis.plotting import (
    PAGE_WIDTH,
    Block,
    Panels,
    curves,
    display_name,
    look,
    marks,
    paper_style,
    show_zero,
    stacked_panels,
    strokes,
)
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.legends import legend_below
from caelab_analyses.shared.tiles import Tile

NOISY, RECONSTRUCTION, DIRECTION = "noisy", "reconstruction", "direction"
SHOWN = 2  # examples
POINTS = 60  # in the plane


@paper_style()
def directions_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Above: the variance of each rank, the mean over examples; below: a line per model and example, or the plane."""
    models = list(table["model"].unique())
    lines = min(SHOWN, table["example"].nunique()) * len(models)
    height = 3.0 if _is_plane(table) else 0.3 + 0.75 * lines
    shared = {"sharex": True, "sharey": True}
    lower = Block(1, len(models), height, subplots=shared) if _is_plane(table) else Block(1, 1, height)
    above, below = stacked_panels(axes, [Block(1, 1, 2.4), lower], of="denoiser_directions", width=PAGE_WIDTH)
    _variances(above, table)
    if _is_plane(table):
        _plane(below, table, models)
    else:
        _pictures(below[0], table)
    below.finished()
    return above.finished()


def _is_plane(table: pd.DataFrame) -> bool:
    return bool((table["height"] == 1).all() and (table["width"] == 2).all())


def _plane(found: Panels, table: pd.DataFrame, models: list[str]) -> None:
    """A panel per model: noisy examples, and from each the standard deviation either way along its first direction."""
    shown = images.first_seed_of_each(table)
    looks = look(table["model"])
    for axes, model in zip(found, models, strict=True):
        rows = shown[shown["model"] == model]
        first = rows[rows["rank"] == 1].head(POINTS)
        centres = rows[rows["role"] == RECONSTRUCTION].head(POINTS)
        at, along = (np.stack([np.asarray(pixels) for pixels in part["pixels"]]) for part in (centres, first))
        along = along * np.sqrt(first["variance"].clip(lower=0).to_numpy())[:, None]
        axes.plot(
            *np.stack([at - along, at + along]).transpose(2, 0, 1), color=looks[model].color, linewidth=strokes(0.8)
        )
        axes.plot(*at.T, ".", color="0.3", markersize=marks(2))
        axes.set_title(f"{display_name(model)}: $r(y) \\pm \\sigma \\sqrt{{\\lambda_1}}\\, v_1$", loc="left")
        axes.set_aspect("equal")


def _variances(found: Panels, table: pd.DataFrame) -> None:
    rows = table[table["role"] == DIRECTION]
    keys = ["model", "seed", "rank"]
    means = rows.groupby(keys, sort=False, as_index=False)[["variance", "true_variance"]].mean()
    (axes,) = found
    curves(axes, means, "rank", "variance", markers=8)
    meanings = {}
    if means["true_variance"].notna().any():
        true = means.groupby("rank")["true_variance"].mean()
        axes.plot(true.index, true, color="0.3", linestyle=":", linewidth=0.9)
        meanings = {"dotted": "the posterior's own"}
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="rank", ylabel="posterior variance $\\sigma^2 \\lambda$")
    show_zero(axes)
    legend_below(found, 6, meanings)


def _pictures(axes: Axes, table: pd.DataFrame) -> None:
    shown = images.first_seed_of_each(table)
    shown = shown[shown["example"].isin(shown["example"].unique()[:SHOWN])]
    tiles: list[Tile] = []
    names: dict[float, str] = {}
    for line, ((_, model), rows) in enumerate(shown.groupby(["example", "model"], sort=False)):
        limits = images.brightness(rows[rows["role"] == RECONSTRUCTION])
        tiles += [
            Tile(line, column, images.pixels_of(row), None if row.role == DIRECTION else limits)
            for column, row in enumerate(rows.itertuples())
        ]
        names[float(line)] = display_name(str(model))
    columns = int(max(tile.column for tile in tiles)) + 1
    images.fill(axes, tiles, columns, len(names))
    images.label_rows(axes, names)
    images.label_columns(
        axes, {float(at): ("$y$", "$r(y)$")[at] if at < 2 else f"$v_{{{at - 1}}}$" for at in range(columns)}
    )
