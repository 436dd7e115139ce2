"""The figure of the alignment study."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from caelab.analysis.plotting import PAGE_WIDTH, curves, display_name, marks, panels, paper_style
from caelab_analyses.manifold_alignment.figure import DATA

VALUES = {"angle": "angle (deg)", "gap": "gap"}
MOST = 10  # where the axis of the gap ends at the latest: what is above are codes that have collapsed
LEVELS: dict[str, dict[str, Any]] = {  # without a strength: what to hold the others against
    DATA: {"color": "0.35", "linestyle": "--"},
    "ae": {"color": "0", "linestyle": ":"},
}


@paper_style()
def transition_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Two rows of panels for every scale, the angle and the gap; a column per data set."""
    datasets, scales = list(dict.fromkeys(table["dataset"])), sorted(set(table["scale"]))
    lines = [(scale, value) for scale in scales for value in VALUES]
    shared: dict[str, Any] = {"sharex": True, "sharey": "row"}
    size = (PAGE_WIDTH, 0.5 + 1.05 * len(lines))
    found = panels(axes, len(lines), len(datasets), of="alignment_transition", size=size, narrowest=13, **shared)
    grid = found.grid
    for (scale, value), row in zip(lines, grid, strict=True):
        for dataset, axes in zip(datasets, row, strict=True):
            _panel(axes, table[(table["dataset"] == dataset) & (table["scale"] == scale)], value)
        for axes in found.ends(row):
            axes.set_ylabel(f"scale {scale:g}\n{VALUES[value]}")
            if value == "gap":
                _gap_axis(axes, table.loc[table["scale"] == scale, "gap"].max())
            else:
                axes.set(ylim=(0, 93), yticks=[0, 30, 60, 90])
    for axes in found.ends(found):
        axes.set_xscale("log")
    for dataset, column in zip(datasets, grid.T, strict=True):
        dimensions = table.loc[table["dataset"] == dataset, "dimensions"].iloc[0]
        for axes in found.ends(column):
            axes.set_title(f"{dataset}, $k = {dimensions}$", loc="left")
        for axes in found.ends(column[::-1]):
            axes.set_xlabel("$\\lambda$, or $\\sigma$")
    found.legend()
    return found.finished()


def _panel(axes: Axes, table: pd.DataFrame, value: str) -> None:
    of_level = table["recipe"].isin(LEVELS)
    for recipe, level in table[of_level].groupby("recipe", sort=False)[value].mean().dropna().items():
        axes.axhline(level, linewidth=0.9, label=display_name(str(recipe)), **LEVELS[str(recipe)])
    trained = table[~of_level]
    curves(axes, trained.assign(model=trained["recipe"]), "strength", value, markersize=marks(3))
    axes.set(xlabel="", ylabel="")


def _gap_axis(axes: Axes, largest: float) -> None:
    """Logarithmic, for all panels of a row."""
    axes.set(yscale="log", ylim=(0.9, min(MOST, 1.2 * largest)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda level, _: f"{level:g}")
    axes.yaxis.set_minor_locator(NullLocator())
