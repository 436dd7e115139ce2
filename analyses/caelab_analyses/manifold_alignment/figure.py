"""The figure of alignment: a panel for each number, a line for each model, and reference lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style

SHARE, ANGLE, GAP = "tangent share", "tangent angle (deg)", "spectrum gap"
MODEL, DATA, CHANCE = "model", "local PCA", "chance"

LABELS = {
    SHARE: "share captured (%)",
    ANGLE: "angle (degrees)",
    GAP: "$s_{k} / s_{k+1}$",
}
REFERENCES: dict[str, dict[str, Any]] = {
    DATA: {"color": "0.35", "linestyle": "--", "linewidth": 1.0},
    CHANCE: {"color": "0.35", "linestyle": ":", "linewidth": 1.0},
}


@paper_style()
def alignment_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Panels from the table of ``manifold_alignment``: the shares by transformation, or the angles by rank and the gap.

    Every seed's mean over examples (of the gap, the median) is a dot; the model's marker is their mean with its 95 %
    interval. Vertical lines are local PCA and chance, by means over everything in the table that they depend on.
    """
    parts = list(_panels(table))
    size, alike = (PAGE_WIDTH, 1.15 + 0.17 * table["model"].nunique()), len({quantity for quantity, *_ in parts}) == 1
    found = panels(
        axes, 1, len(parts), of="manifold_alignment", size=size, grows="text", narrowest=13, sharey=True, sharex=alike
    )
    for axes, (quantity, title, rows) in zip(found, parts, strict=True):
        _panel(axes, quantity, rows)
        axes.set_title(title, loc="left")
    for axes, (quantity, *_) in zip(found, parts, strict=True):  # at last: limits end the automatic scale of all
        axes.set_xlim(left=1 if quantity == GAP else 0)
    handles = {str(line.get_label()): line for axes in found for line in axes.lines}
    shown = [name for name in REFERENCES if name in handles]
    found.legend([handles[name] for name in shown], shown, place="outside lower right")
    found.heading(_heading(table), x=0.01, ha="left", fontsize="medium")
    return found.finished()


def _panels(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Quantity, title and rows of each panel, in the table's order."""
    for (quantity, direction), rows in table.groupby(["quantity", "direction"], sort=False):
        titles = {SHARE: str(direction), ANGLE: f"principal angle {direction}", GAP: "spectrum gap"}
        yield str(quantity), titles[str(quantity)], rows


def _panel(axes: Axes, quantity: str, rows: pd.DataFrame) -> None:
    scaled = rows.assign(value=rows["value"] * (100 if quantity == SHARE else 1))
    of_model = scaled[scaled["source"] == MODEL]
    how = "median" if quantity == GAP else "mean"
    per_run = of_model.groupby(["model", "seed"], sort=False)["value"].agg(how).reset_index()
    dot_chart(axes, per_run, "value", LABELS[quantity])
    for source, style in REFERENCES.items():
        for _, values in scaled[scaled["source"] == source].groupby("dimensions")["value"]:
            axes.axvline(values.mean(), label=source, zorder=1, **style)
    if quantity == GAP and per_run["value"].max() > 10 * per_run["value"].min():
        axes.set_xscale("log")


def _heading(table: pd.DataFrame) -> str:
    low, high = table["dimensions"].min(), table["dimensions"].max()
    count = f"{low}" if low == high else f"{low}–{high}"
    if SHARE in set(table["quantity"]):
        return f"Share of each transformation's tangent in the span of the leading right singular vectors, k = {count}"
    return f"Leading right singular vectors and the true tangent space, k = {count} dimensions"
