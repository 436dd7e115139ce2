"""The figure of contraction curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from caelab.analysis.plotting import PAGE_WIDTH, curves, look, panels, paper_style, points
from caelab.runs.recipes import Look
from caelab_analyses.shared.legends import legend_below

SHAPE, LEVEL = "relative to zero", "relative to data"
LABELS = {SHAPE: "ratio / ratio at $r \\to 0$", LEVEL: "ratio / ratio of pairs of data"}
TITLES = {SHAPE: "shape", LEVEL: "level"}
TICKS = np.outer(10.0 ** np.arange(-6, 7), [1, 3]).ravel()
COLUMNS = 3
MARKERS = 9  # to a line


@paper_style()
def contraction_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """The first kind of direction by shape and by level, the others by level."""
    kinds = list(dict.fromkeys(table["kind"]))
    views = [(kinds[0], SHAPE), *((kind, LEVEL) for kind in kinds)]
    lines = -(-len(views) // COLUMNS)
    size = (PAGE_WIDTH, 1.9 * lines + 0.4)
    found = panels(axes, lines, COLUMNS, count=len(views), of="contraction_curve", size=size)
    looks = look(table["model"])
    for axes, (kind, value) in zip(found, views, strict=True):
        panel(axes, table[table["kind"] == kind], value, looks)
        axes.set(title=f"{kind}: {TITLES[value]}", xlabel="radius $r$ (input units)", ylabel=LABELS[value])
    legend_below(found, 7)
    return found.finished()


def panel(axes: Axes, table: pd.DataFrame, value: str, looks: Mapping[str, Look]) -> None:
    """One kind of direction: a line per model, its mean over seeds, and a band, the 95 % interval of the mean."""
    curves(axes, table, "radius", value, looks=looks, markers=MARKERS)
    radius_axis(axes, table["radius"])
    if axes.get_ylim()[0] < 1 < axes.get_ylim()[1]:
        axes.axhline(1, color="0.6", linewidth=0.6, zorder=1)
    mark(axes, table, "nearest distance" if table["kind"].iloc[0].startswith("nearest") else "mean distance")


def radius_axis(axes: Axes, radii: pd.Series[float]) -> None:
    """Radius from 0, linear up to the smallest one and logarithmic beyond."""
    smallest, largest = radii[radii > 0].min(), radii.max()
    if not largest > 0:
        return
    axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axes.set_xlim(0, largest)
    ticks = [0.0, *TICKS[(smallest < TICKS) & (largest >= TICKS)]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda radius, _: f"{radius:g}")


def mark(axes: Axes, table: pd.DataFrame, distance: str) -> None:
    """A vertical line at a typical distance between examples, with its name."""
    at = table[distance].mean()
    if not 0 < at < table["radius"].max():
        return
    axes.axvline(at, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate(
        distance,
        (at, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-1, 0),
        textcoords="offset points",
        rotation=90,
        horizontalalignment="right",
        verticalalignment="bottom",
        fontsize=points(5.5),
        color="0.3",
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
    )
