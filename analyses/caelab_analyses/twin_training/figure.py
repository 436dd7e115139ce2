"""The figures of twins: distances and cosines against σ, gradients along training, spectra and curves of one σ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caelab.analysis.plotting import PAGE_WIDTH, curves, look, marks, panels, paper_style
from caelab.runs.recipes import Look
from caelab_analyses.shared.legends import legend_below
from caelab_analyses.twin_training.comparison import CAE, DAE, MATCHED, RCAE

NAMES = {DAE: "DAE(σ)", RCAE: "RCAE(σ²)", CAE: "CAE(σ²)", MATCHED: "CAE, ‖J‖ of the DAE"}


def looks() -> dict[str, Look]:
    """The looks of the recipes, and for the matched CAE one of its own: open squares, dotted; no two alike in grey."""
    found = look(["dae-g", "rcae", "cae"])
    return {
        DAE: replace(found["dae-g"], linestyle="-"),
        RCAE: replace(found["rcae"], linestyle=(0, (6, 2))),
        CAE: found["cae"],
        MATCHED: Look("#7a2f00", "s", (0, (1, 1.2))),
    }


@paper_style()
def twin_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Six panels per data set, means over seeds with intervals; spectra, curves and gradients are of the middle σ."""
    datasets = list(dict.fromkeys(table["dataset"]))
    found = panels(axes, 2 * len(datasets), 3, of="twin_training", size=(PAGE_WIDTH, 4.3 * len(datasets)))
    for number, dataset in enumerate(datasets):
        of_one = table[table["dataset"] == dataset]
        six_panels(found.grid[2 * number : 2 * number + 2], of_one, f"{dataset}\n" if len(datasets) > 1 else "")
    legend_below(found, 4, panel=len(found.grid[0]))
    return found.finished()


def six_panels(grid: Any, table: pd.DataFrame, heading: str) -> None:
    """Draw the six panels of one data set."""
    sigmas = sorted(table["sigma"].unique())
    middle = sigmas[len(sigmas) // 2]
    one = table[table["sigma"] == middle]
    _against_sigma(grid[0, 0], table, "distance of r(x) - x", "$\\Vert F - F_{DAE} \\Vert / \\Vert F_{DAE} \\Vert$")
    _against_sigma(grid[0, 1], table, "cosine of r(x) - x", "cosine of $F$ and $F_{DAE}$")
    lines(grid[0, 2], one, "gradient cosine (penalty)", "step", "cosine with the DAE's")
    lines(grid[1, 0], one, "singular value of J_r", "rank", "mean singular value of $J_r$")
    lines(grid[1, 1], one, "singular value of J_f", "rank", "mean singular value of $J_f$")
    lines(grid[1, 2], one, "contraction of r", "radius $r$ (input units)", "contraction ratio of $r$")
    titles = (
        "$F = r(x) - x$: distance",
        "$F$: cosine",
        "penalty gradients",
        "spectrum of $r$",
        "spectrum of $f$",
        "contraction of $r$",
    )
    for axes, title in zip(grid.flat, titles, strict=True):
        axes.set_title(title if title.startswith("$F") else f"{title}, σ = {middle:g}")
    if heading:
        grid[0, 0].set_title(heading + titles[0])


def _against_sigma(axes: Axes, table: pd.DataFrame, quantity: str, label: str) -> None:
    """Draw one number against σ, a line for each twin."""
    _lines(axes, table[table["quantity"] == quantity], "sigma")
    axes.set(xscale="log", xlabel="noise level σ (input units)", ylabel=label)
    sigmas = sorted(table["sigma"].unique())
    axes.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
    axes.minorticks_off()


def lines(axes: Axes, table: pd.DataFrame, quantity: str, xlabel: str, ylabel: str) -> None:
    """Draw a quantity against a step, a rank or a radius, a line for each twin."""
    _lines(axes, table[table["quantity"] == quantity], "at")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _lines(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    of_twins = rows.assign(model=rows["twin"])
    open_marks: dict[str, Any] = {"markersize": marks(3.5), "markerfacecolor": "none"}
    curves(axes, of_twins, x, "value", looks=looks(), named=NAMES.__getitem__, markers=6, **open_marks)
