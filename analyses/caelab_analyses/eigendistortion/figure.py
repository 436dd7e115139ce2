"""The figure of eigendistortions: curves of the code's change, and the directions themselves."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import (
    PAGE_WIDTH,
    Block,
    Panels,
    curves,
    display_name,
    look,
    paper_style,
    show_zero,
    stacked_panels,
)
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.legends import legend_below
from caelab_analyses.shared.tiles import Tile

MOST, LEAST = "most", "least"
HEADINGS = ("$x$", "most", "$x + T v$", "least", "$x + T v$")


@paper_style()
def distortion_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Above: changes of the code by distance, the mean over examples; below: the first example of each model."""
    models = list(table["model"].unique())
    height = 0.9 * len(models) + 0.3
    blocks = [Block(1, 2, 2.5), Block(1, 1, height)]
    above, below = stacked_panels(axes, blocks, of="eigendistortion", width=PAGE_WIDTH)
    _curves(above, table)
    _pictures(below[0], table, models)
    below.finished()
    return above.finished()


def _curves(found: Panels, table: pd.DataFrame) -> None:
    """A panel for either kind of direction, both signs of t taken together."""
    looks = look(table["model"])
    rows = table[(table["rank"] == 1) & (table["t"] != 0)].assign(distance=lambda part: part["t"].abs())
    for axes, role in zip(found, (MOST, LEAST), strict=True):
        keys = ["model", "seed", "distance"]
        means = rows[rows["role"] == role].groupby(keys, sort=False, as_index=False)[["actual", "predicted"]].mean()
        curves(axes, means, "distance", "actual", markers=8)
        for model, part in means.groupby("model", sort=False):
            line = part.groupby("distance")["predicted"].mean()
            axes.plot(line.index, line, color=looks[str(model)].color, linestyle=":", linewidth=0.9)
        axes.set(xlabel="distance $|t|$", ylabel="change of the code", xlim=(0, None))
        show_zero(axes)
        axes.set_title(f"along the {role} noticeable direction", loc="left")
    legend_below(found, 6, {"dotted": "predicted, $|t|\\,\\Vert Jv\\Vert$"})


def _pictures(axes: Axes, table: pd.DataFrame, models: list[str]) -> None:
    """A line per model: the first example, either direction, and what it makes of the example."""
    shown = images.first_seed_of_each(table)
    shown = shown[(shown["height"] > 0) & (shown["rank"] <= 1)]
    tiles: list[Tile] = []
    for line, model in enumerate(models):
        rows = shown[shown["model"] == model]
        tiles += _line(rows[rows["example"] == rows["example"].iloc[0]], line)
    images.fill(axes, tiles, len(HEADINGS), len(models))
    images.label_rows(axes, {float(line): display_name(model) for line, model in enumerate(models)})
    images.label_columns(axes, {float(at): heading for at, heading in enumerate(HEADINGS)})


def _line(rows: pd.DataFrame, line: int) -> list[Tile]:
    limits = images.brightness(rows[rows["role"] == "example"])
    return [
        Tile(line, column, images.pixels_of(row), None if row.role != "example" and row.t == 0 else limits)
        for column, row in enumerate(rows.itertuples())
    ]
