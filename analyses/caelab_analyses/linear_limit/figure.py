"""The figure of the linear limit: where each run stands, and how much weight decay explains there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import PAGE_WIDTH, display_name, look, marks, panels, paper_style, points
from caelab.runs.recipes import Look
from caelab_analyses.shared.legends import legend_below

AS_TRAINED = 1.0
ROUNDING = 1e-12


@paper_style()
def linear_limit_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Three panels: relative difference against scale, explained share against scale, spread over examples."""
    found = panels(axes, 1, 3, of="linear_limit", size=(PAGE_WIDTH, 2.3))
    left, middle, right = found
    looks = look(table["model"])
    for model, rows in table.groupby("model", sort=False):
        _scan(left, middle, rows, looks[str(model)], display_name(str(model)))
    _spread(right, table[table["scale"] == AS_TRAINED], looks)
    scales = table["scale"].min() / 1.3, table["scale"].max() * 1.3
    for axes in (left, middle):
        axes.set(xscale="log", xlim=scales, xlabel="factor $t$ of the pre-activation")
        axes.axvline(AS_TRAINED, color="0.5", linewidth=0.7, linestyle=":", zorder=1)
    left.set(ylabel="1 − penalty / weight decay", title="away from weight decay")
    _difference_axis(left, table)
    middle.set(ylim=(0, 1.05), ylabel="share of the gradient", title="explained by weight decay")
    right.set(xlabel="penalty / weight decay", ylabel="share of examples", title="each example, $t = 1$")
    legend_below(found, 7)
    return found.finished()


def _differences(rows: pd.DataFrame) -> pd.Series:
    """1 - mean ‖J‖² / limit by scale; NaN where it is rounding."""
    return (1 - rows.groupby("scale")["norm_share"].mean()).where(lambda difference: difference > ROUNDING)


def _difference_axis(axes: Axes, table: pd.DataFrame) -> None:
    """Logarithmic, if anything can be drawn on it; models that differ nowhere, as linear ones, are named instead."""
    nowhere = [str(model) for model, rows in table.groupby("model", sort=False) if _differences(rows).isna().all()]
    if len(nowhere) < table["model"].nunique():
        axes.set_yscale("log")
    else:
        axes.set_ylim(-0.05, 1.05)
        axes.axhline(0, color="0.3", linewidth=1.2)
    if nowhere:
        text = "\n".join(["0 at every $t$:", *(display_name(model) for model in nowhere)])
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=points(6.5), bbox=box)


def _scan(left: Axes, middle: Axes, rows: pd.DataFrame, style: Look, name: str) -> None:
    differences, explained = _differences(rows), rows.groupby("scale")["explained_share"].mean()
    left.plot(differences.index, differences, **style.line, markersize=marks(3), label=name)
    middle.plot(explained.index, explained, **style.line, markersize=marks(3))


def _spread(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """The share of examples at or below each value: steps, which need no bins."""
    import seaborn

    for model, shares in rows.groupby("model", sort=False)["norm_share"]:
        style = looks[str(model)]
        seaborn.ecdfplot(x=shares, color=style.color, linestyle=style.linestyle, ax=axes)
    axes.set(xlim=(0, max(1.02, axes.get_xlim()[1])), ylim=(0, 1.05))
