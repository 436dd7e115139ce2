"""How the alignment study is drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.figures import PAGE_WIDTH, display_name, look, paper_style
from caelab_analyses.alignment_figure import DATA

VALUES = {"angle": "angle (deg)", "gap": "gap"}


@paper_style()
def transition_figure(table: pd.DataFrame) -> Figure:
    """Two rows of panels for every scale, the angle and the gap; a column per data set."""
    datasets, scales = list(dict.fromkeys(table["dataset"])), sorted(set(table["scale"]))
    lines = [(scale, value) for scale in scales for value in VALUES]
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.05 * len(lines)), layout="constrained")
    grid: Any = figure.subplots(len(lines), len(datasets), squeeze=False, sharex=True, sharey="row")
    for (scale, value), row in zip(lines, grid, strict=True):
        for dataset, axes in zip(datasets, row, strict=True):
            _panel(axes, table[(table["dataset"] == dataset) & (table["scale"] == scale)], value)
        row[0].set_ylabel(f"scale {scale:g}\n{VALUES[value]}")
    for dataset, top, bottom in zip(datasets, grid[0], grid[-1], strict=True):
        dimensions = table.loc[table["dataset"] == dataset, "dimensions"].iloc[0]
        top.set_title(f"{dataset}, $k = {dimensions}$", loc="left")
        bottom.set_xlabel("$\\lambda$, or $\\sigma$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _panel(axes: Axes, table: pd.DataFrame, value: str) -> None:
    axes.set_xscale("log")
    looks = look(table["recipe"])
    for recipe, rows in table.groupby("recipe", sort=False):
        means = rows.groupby("strength")[value].mean().dropna()
        if recipe == DATA or recipe == "ae":  # without a strength: a level to hold the others against
            dotted: dict[str, Any] = {"color": "0.35", "linestyle": "--"} if recipe == DATA else {"color": "0", "linestyle": ":"}
            for level in means:
                axes.axhline(level, linewidth=0.9, label=DATA if recipe == DATA else display_name("ae"), **dotted)
        else:
            axes.plot(means.index, means, **looks[str(recipe)].line, markersize=3, label=display_name(str(recipe)))
    if value == "gap":
        axes.axhline(1, color="0.7", linewidth=0.6, zorder=1)
    else:
        axes.set(ylim=(0, 93), yticks=[0, 30, 60, 90])
