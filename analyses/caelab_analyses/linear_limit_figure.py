"""How the linear limit is drawn: the way out of it, where each run stands, and what weight decay explains there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.figures import PAGE_WIDTH, Look, display_name, look, paper_style
from caelab_analyses.legends import legend_below

AS_TRAINED = 1.0


@paper_style()
def linear_limit_figure(table: pd.DataFrame) -> Figure:
    """Three panels: relative difference against scale, explained share against scale, spread over examples."""
    figure = Figure(figsize=(PAGE_WIDTH, 2.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    looks = look(table["model"])
    for model, rows in table.groupby("model", sort=False):
        _scan(left, middle, rows, looks[str(model)], display_name(str(model)))
    _spread(right, table[table["scale"] == AS_TRAINED], looks)
    for axes in (left, middle):
        axes.set(xscale="log", xlabel="factor $t$ of the pre-activation")
        axes.axvline(AS_TRAINED, color="0.5", linewidth=0.7, linestyle=":", zorder=1)
    left.set(yscale="log", ylabel="1 − penalty / weight decay", title="away from weight decay")
    middle.set(ylim=(0, 1.05), ylabel="share of the gradient", title="explained by weight decay")
    right.set(xlabel="penalty / weight decay, per example", ylabel="share of examples", title="as trained ($t = 1$)")
    legend_below(figure, left, 7)
    return figure


def _scan(left: Axes, middle: Axes, rows: pd.DataFrame, style: Look, name: str) -> None:
    means = rows.groupby("scale")[["norm_share", "explained_share"]].mean()
    difference = (1 - means["norm_share"]).where(lambda d: d > 1e-12)
    left.plot(means.index, difference, **style.line, markersize=3, label=name)
    middle.plot(means.index, means["explained_share"], **style.line, markersize=3)


def _spread(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """The share of examples at or below each value: steps, which need no bins."""
    for model, shares in rows.groupby("model", sort=False)["norm_share"]:
        style = looks[str(model)]
        ordered = np.sort(shares.to_numpy())
        axes.step(
            ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", color=style.color, ls=style.linestyle
        )
    axes.set_xlim(0, max(1.02, axes.get_xlim()[1]))
