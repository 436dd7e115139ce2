"""The figure of a noise expansion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from caelab.analysis.plotting import PAGE_WIDTH, curves, display_name, look, panels, paper_style, points
from caelab.runs.recipes import Look
from caelab_analyses.shared.legends import legend_below

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
KEY = {
    "markers": "Monte Carlo",
    "line": "full expansion (first panel)",
    "dotted": "Monte-Carlo noise",
}
MEASURED = ["increment", "increment error", "prediction", "relative error", "relative noise", "remainder order"]


@paper_style()
def expansion_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A panel with the increments, and one per term with its relative error; means over seeds."""
    means = table.groupby(["model", "term", "sigma"], sort=False, as_index=False)[MEASURED].mean()
    terms = list(dict.fromkeys(means["term"]))
    ratios = [1.15] + [1] * len(terms)
    found = panels(axes, 1, 1 + len(terms), of="noise_expansion", size=(PAGE_WIDTH, 2.3), width_ratios=ratios)
    looks = look(means["model"])
    increments(found[0], means[means["term"] == terms[0]], looks)
    lowest = means["relative error"][means["relative error"] > 0].min()
    for axes, term in zip(found[1:], terms, strict=True):
        _relative_errors(axes, means[means["term"] == term], looks)
        axes.set(title=term, ylim=(min(lowest / 2, 0.5), max(2, 2 * means["relative error"].max())))
    for axes in found.ends(found[1:]):
        axes.set_ylabel("relative error")
    for axes in () if found.apart else found[2:]:
        axes.tick_params(labelleft=False)
    _slope_guide(found[1], means[means["term"] == terms[0]])
    legend_below(found, 4, KEY)
    return found.finished()


def increments(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Monte Carlo as markers with error bars, the full expansion as lines; the fitted order stands in the legend."""
    curves(axes, table, "sigma", "prediction", looks=looks, marker="", linewidth=0.9, label=None)
    for model, rows in table.groupby("model", sort=False):
        style = looks[str(model)]
        fitted = rows["remainder order"].iloc[0]
        label = f"{display_name(str(model))}: remainder $\\propto\\sigma^{{{fitted:.1f}}}$"
        axes.errorbar(
            rows["sigma"],
            rows["increment"],
            yerr=rows["increment error"],
            color=style.color,
            marker=style.marker,
            linestyle="none",
            label=label if np.isfinite(fitted) else display_name(str(model)),
        )
    axes.set(title="increment of the error", ylabel="$E\\,L(x,r(x+\\epsilon))-L(x,r(x))$", yscale="log")
    _noise_axis(axes, table)


def _relative_errors(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """|increment - prediction| / increment, and as a thin line the standard error of the Monte Carlo beneath it."""
    curves(axes, table[table["relative error"] > 0], "sigma", "relative error", looks=looks)
    curves(axes, table, "sigma", "relative noise", looks=looks, marker="", linestyle=":", linewidth=0.7)
    axes.set(yscale="log", ylabel="")
    _noise_axis(axes, table)


def _noise_axis(axes: Axes, table: pd.DataFrame) -> None:
    """σ on a logarithmic axis with plain numbers."""
    low, high = table["sigma"].min(), table["sigma"].max()
    axes.set(xscale="log", xlabel="noise $\\sigma$ (input units)", xlim=(low / 1.15, high * 1.15))
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low / 1.15 <= tick <= high * 1.15]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda sigma, _: f"{sigma:g}")


def _slope_guide(axes: Axes, table: pd.DataFrame) -> None:
    """A grey line of slope 2, what a remainder of order σ⁴ leaves of an increment of order σ²."""
    sigma = np.sort(table["sigma"].unique())
    largest = table["relative error"].max()
    if len(sigma) > 1 and largest > 0:
        axes.plot(sigma, 2 * largest * (sigma / sigma[-1]) ** 2, color="0.6", linewidth=0.7, zorder=1)
        axes.annotate(
            "$\\sigma^2$",
            (sigma[0], 2 * largest * (sigma[0] / sigma[-1]) ** 2),
            fontsize=points(6),
            color="0.4",
            va="bottom",
        )
