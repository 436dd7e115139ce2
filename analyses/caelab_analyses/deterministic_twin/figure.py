"""The figure of deterministic twins beside the corruptions that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import PAGE_WIDTH, curves, display_name, look, panels, paper_style
from caelab.runs.recipes import Look
from caelab_analyses.shared.legends import legend_below

MEASURED = ["increment", "increment error", "prediction", "second-order error", "relative noise"]
WITHIN = 0.2
LINEAR_TO = 1.0  # of the increments: smaller ones on a linear axis, as signs change
KEY = {
    "markers": "Monte Carlo",
    "line": "twin's prediction",
    "shaded": f"linear axis, ±{LINEAR_TO:g}",
    "dotted": "Monte-Carlo noise",
    "grey": "a fifth",
}
OPTIONS = {"sigma": "noise $\\sigma$ (input units)", "p": "probability $p$"}


@paper_style()
def deterministic_twin_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A column per corruption: increments over the twin's prediction, second-order errors beneath; means over seeds."""
    means = table.groupby(["model", "corruption", "strength"], sort=False, as_index=False)[MEASURED].mean()
    corruptions = list(dict.fromkeys(means["corruption"]))
    shared: dict[str, Any] = {"sharex": "col", "sharey": "row"}
    found = panels(axes, 2, len(corruptions), of="deterministic_twin", size=(PAGE_WIDTH, 3.4), **shared)
    looks = look(means["model"])
    for (above, below), corruption in zip(found.grid.T, corruptions, strict=True):
        rows = means[means["corruption"] == corruption]
        increments(above, rows, looks)
        _second_order_errors(below, rows, looks)
        option = str(table.loc[table["corruption"] == corruption, "option"].iloc[0])
        for axes in found.ends((above, below)):
            axes.set_title(corruption)
        for axes in found.ends((below, above)):
            axes.set_xlabel(OPTIONS.get(option, option))
    for axes in found.ends(found.grid[0]):
        axes.set_yscale("symlog", linthresh=LINEAR_TO, linscale=0.5)
        axes.autoscale_view(scalex=False)  # matplotlib keeps the limits of the linear scale
        axes.set_ylabel("increment of the error")
    for axes in found.ends(found.grid[1]):
        if (means[["second-order error", "relative noise"]] > 0).any(axis=None):
            axes.set_yscale("log")
        axes.set_ylabel("error of the second order\n/ spread about the mean")
    legend_below(found, 5, KEY)
    return found.finished()


def increments(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Monte Carlo as markers with error bars, the twin's prediction as lines; linear near 0, where signs change."""
    curves(axes, table, "strength", "prediction", looks=looks, marker="", linewidth=0.9, label=None)
    for model, rows in table.groupby("model", sort=False):
        style = looks[str(model)]
        axes.errorbar(
            rows["strength"],
            rows["increment"],
            yerr=rows["increment error"],
            color=style.color,
            marker=style.marker,
            linestyle="none",
            label=display_name(str(model)),
        )
    axes.axhspan(-LINEAR_TO, LINEAR_TO, color="0.93", linewidth=0, zorder=0)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=1)


def _second_order_errors(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """The second-order error, its Monte-Carlo noise as a thin dotted line, and a grey line at a fifth."""
    curves(axes, table, "strength", "second-order error", looks=looks)
    curves(axes, table, "strength", "relative noise", looks=looks, marker="", linestyle=":", linewidth=0.7)
    axes.axhline(WITHIN, color="0.6", linewidth=0.6, zorder=1)
    axes.set_xlim(0, None)
