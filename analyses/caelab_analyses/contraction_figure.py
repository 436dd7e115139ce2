"""How contraction curves are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.figures import PAGE_WIDTH, display_name, look, mean_and_half_width, paper_style

SHAPE, LEVEL = "relative to zero", "relative to data"
LABELS = {SHAPE: "ratio / ratio at $r \\to 0$", LEVEL: "ratio / ratio between examples"}
COLUMNS = 3


@paper_style()
def contraction_figure(table: pd.DataFrame) -> Figure:
    """Random directions by shape and level, the other kinds by level; bands are intervals over seeds."""
    kinds = list(dict.fromkeys(table["kind"]))
    views = [(kinds[0], SHAPE), *((kind, LEVEL) for kind in kinds)]
    rows = -(-len(views) // COLUMNS)
    figure = Figure(figsize=(PAGE_WIDTH, 1.9 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (kind, value) in zip(grid, views, strict=False):
        panel(axes, table[table["kind"] == kind], value)
        axes.set_title(f"{kind}: {'shape' if value == SHAPE else 'level'}")
    for axes in grid[len(views) :]:
        axes.set_axis_off()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return figure


def panel(axes: Axes, table: pd.DataFrame, value: str) -> None:
    """One kind of direction: a line per model, mean over seeds, with its 95 % interval as a band."""
    for model, style in look(table["model"]).items():
        radii, means, halves = over_seeds(table[table["model"] == model], value)
        axes.plot(radii, means, **style.line, markevery=2, label=display_name(model))
        if np.isfinite(halves).any():
            axes.fill_between(radii, means - halves, means + halves, color=style.color, alpha=0.15, linewidth=0)
    radius_axis(axes, table)
    axes.axhline(1, color="0.6", linewidth=0.6, zorder=1)
    axes.set_ylabel(LABELS[value])


def over_seeds(table: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii, and mean and half-width of the interval over seeds at each."""
    found = {radius: mean_and_half_width(rows[value]) for radius, rows in table.groupby("radius")}
    means, halves = np.array(list(found.values())).T
    return np.array(list(found)), means, halves


def radius_axis(axes: Axes, table: pd.DataFrame) -> None:
    """Radius in units of the input, linear up to the smallest one and logarithmic beyond; typical distances marked."""
    smallest = table.loc[table["radius"] > 0, "radius"].min()
    if np.isfinite(smallest):
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axes.set(xlim=(0, None), xlabel="radius $r$ (input units)")
    nearest = "nearest distance" if table["kind"].iloc[0].startswith("nearest") else "mean distance"
    at = table[nearest].mean()
    axes.axvline(at, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate(nearest, (at, 1), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="top", fontsize=5.5)
