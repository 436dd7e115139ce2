"""The figure of score fields: arrows over densities in the plane, the field along segments for other data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from caelab.analysis.plotting import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    Panels,
    curves,
    display_name,
    fitting_columns,
    panels,
    paper_style,
    points,
    width_of,
)
from caelab_analyses.shared.legends import legend_below
from caelab_analyses.shared.tiles import first_seed

GRID, VALID, SEGMENT = "grid", "valid", "segment"
LEVELS = 7
FAINT = 1e-2  # of the highest density: no arrows where there are hardly any data
COLUMNS = 3
ARROWS = {"true": ("0.68", 0.016), "learned": ("0", 0.0045)}  # shade and width: light and broad, dark and thin
HEAD = ("headwidth", "headlength", "headaxislength")
MEANINGS = {"true": "true score", "learned": "learned $(r(x) - x)/\\sigma^2$"}

Numbers = NDArray[np.float64]


@paper_style()
def score_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """The first seed's arrows and energies; or all seeds' field along segments, on data of more dimensions."""
    return _segments_figure(table, axes) if (table["kind"] == SEGMENT).all() else _plane_figure(table, axes)


def _plane_figure(table: pd.DataFrame, axes: Any) -> Figure:
    """For each model the learned field over the true one, and below the density that its energy stands for."""
    shown, _ = first_seed(table)
    models = list(dict.fromkeys(shown["model"]))
    found, columns = _plane_panels(axes, len(models))
    for each in found:
        each.set_axis_off()
    for number, model in enumerate(models):
        line, column = 2 * (number // columns), number % columns
        rows = shown[shown["model"] == model]
        arrows(found.grid[line, column], rows)
        energy(found.grid[line + 1, column], rows)
        for each in found.grid[line : line + 2, column]:
            each.set_ylabel("$x_2$ (input units)" if column == 0 else "")
            each.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            each.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    handles = [Line2D([], [], color=shade, linewidth=150 * width, marker=">") for shade, width in ARROWS.values()]
    found.legend(handles, list(MEANINGS.values()))
    return found.finished()


def _plane_panels(axes: Any, models: int) -> tuple[Panels, int]:
    """Two panels for each model, one below the other, and how many models stand beside each other."""
    columns = min(COLUMNS, models)
    home = PAGE_WIDTH if columns > 1 else COLUMN_WIDTH
    width = width_of(home)
    columns = fitting_columns(columns, columns, home, width, narrowest=12) if axes is None else models
    blocks = -(-models // columns)
    size = (home, (2 * width / columns + points(0.45)) * blocks + points(0.2))
    found = panels(axes, 2 * blocks, columns, of="score_field", size=size, exact=True, sharex="col", sharey="col")
    return found, columns


def arrows(axes: Axes, rows: pd.DataFrame) -> None:
    """The learned field, dark and thin, over the true score, light and broad, over contours of the density."""
    axes.set_axis_on()
    points, valid = rows[rows["kind"] == GRID], rows[rows["kind"] == VALID]
    contours(axes, points, points["log density"].to_numpy())
    near = points[points["log density"] > points["log density"].max() + np.log(FAINT)]
    near = near[_thinned(near, points)]
    for place, (name, (shade, width)) in enumerate(ARROWS.items(), start=3):
        head: dict[str, Any] = dict.fromkeys(HEAD, 2.2) if name == "true" else {}
        field = _unit_capped(near, name)
        axes.quiver(near["x"], near["y"], *field, color=shade, width=width, scale=26, zorder=place, **head)
    cosine, noisy = valid["cosine"].median(), valid["blurred cosine"].median()
    axes.set_title(
        f"{display_name(str(rows['model'].iloc[0]))}\nmedian cosine with the score {cosine:.2f},\n"
        f"with that of the noisy data {noisy:.2f}"
    )
    axes.set(xlabel="$x_1$ (input units)", aspect="equal")
    axes.grid(visible=False)


def _thinned(near: pd.DataFrame, points: pd.DataFrame) -> NDArray[np.bool_]:
    """Which points stand on every second line and column of the grid."""
    lines, columns = (points[name].rank(method="dense").loc[near.index].to_numpy(dtype=int) for name in "yx")
    return np.asarray((lines % 2 == 1) & (columns % 2 == 1))


def _unit_capped(points: pd.DataFrame, name: str) -> tuple[Numbers, Numbers]:
    """Arrows in units of their field's median length, none longer than two: the scale is compared in numbers."""
    x, y = (points[f"{name} {side}"].to_numpy() for side in "xy")
    length = np.hypot(x, y)
    factor = 1 / np.maximum(np.median(length), length / 2)  # none longer than twice the median
    return x * factor, y * factor


def energy(axes: Axes, rows: pd.DataFrame) -> None:
    """exp(-E / σ²) in the same levels, and the true density's contours in grey."""
    axes.set_axis_on()
    points = rows[rows["kind"] == GRID]
    contours(axes, points, -points["energy"].to_numpy(), filled=True)
    contours(axes, points, points["log density"].to_numpy(), shade="0.25")
    axes.set_title("shaded: $\\exp(-E/\\sigma^2)$, lines: density")
    axes.set(xlabel="$x_1$ (input units)", aspect="equal")
    axes.grid(visible=False)


def contours(
    axes: Axes, points: pd.DataFrame, log_density: Numbers, *, shade: str = "0.8", filled: bool = False
) -> None:
    """Levels evenly between 0 and the highest density on the grid."""
    side = round(np.sqrt(len(points)))
    density = np.exp(log_density - log_density.max()).reshape(side, side)
    x, y = (points[name].to_numpy().reshape(side, side) for name in "xy")
    levels = np.linspace(0, 1, LEVELS + 2)[1:]
    if filled:
        axes.contourf(x, y, density, levels=np.linspace(0, 1, LEVELS + 2), cmap="Blues", zorder=1)
    else:
        axes.contour(x, y, density, levels=levels[:-1], colors=shade, linewidths=0.5, zorder=2)


def _segments_figure(table: pd.DataFrame, axes: Any) -> Figure:
    """The mean over pairs of the component along the segment, and over seeds its 95 % interval, a line per model."""
    found = panels(axes, 1, 1, of="score_field", size=(COLUMN_WIDTH, 2.6))
    (axes,) = found
    curves(axes, table, "position", "along", markers=10)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=1)
    for example in (0, 1):
        axes.axvline(example, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
    axes.set(
        xlabel="position along the segment (0, 1: the two examples)",
        ylabel="$u \\cdot (r(x) - x) / \\sigma^2$ (1 / input units)",
    )
    legend_below(found, 4)
    return found.finished()
