"""The figure of curvature along and across tangents."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caelab.analysis.plotting import PAGE_WIDTH, curves, look, paper_style
from caelab_analyses.contraction_curve.figure import radius_axis

ALONG, ACROSS = "along tangents", "across tangents"
CURVATURE = "relative curvature\n(1 / input unit)"
BAND = "bands: 95 % intervals over seeds"
NAMES = {"relative_curvature": "curvature", "relative_norm": "norm"}
NORM = "$\\Vert J(x{\\pm}ru)\\Vert_F\\,/\\,\\Vert J(x)\\Vert_F$"


@paper_style()
def curvature_figure(table: pd.DataFrame) -> Figure:
    """Curvature along, across and by rank above; the norm of J along and across below."""
    figure = Figure(figsize=(PAGE_WIDTH, 3.9), layout="constrained")
    top = figure.add_gridspec(2, 3)
    looks = look(table["model"])
    shared: dict[str, Axes] = {}
    for column, kind in enumerate((ALONG, ACROSS)):
        rows = table[table["kind"] == kind]
        for line, (value, label) in enumerate((("relative_curvature", CURVATURE), ("relative_norm", NORM))):
            axes = figure.add_subplot(top[line, column], sharey=shared.get(value))
            shared.setdefault(value, axes)
            curves(axes, rows, "radius", value, looks=looks, markers=5)
            radius_axis(axes, rows["radius"])
            axes.set(title=f"{NAMES[value]} {kind}", xlabel="radius $r$ (input units)", ylabel="" if column else label)
    axes = figure.add_subplot(top[0, 2], sharey=shared["relative_curvature"])
    at_zero = table[(table["kind"] == ALONG) & (table["radius"] == 0)].drop(columns="seed")  # the means alone
    curves(axes, at_zero, "direction", "relative_curvature", looks=looks, markersize=3)
    axes.set(title="the same at $r \\to 0$, by rank", xlabel="rank of the tangent", ylabel="")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure.add_subplot(top[1, 2]), shared["relative_curvature"], banded=table["seed"].nunique() > 1)
    return figure


def _legend(empty: Axes, drawn: Axes, *, banded: bool) -> None:
    """Names in the panel that nothing else needs."""
    empty.set_axis_off()
    handles, labels = drawn.get_legend_handles_labels()
    columns = 1 if len(labels) < 8 else 2
    empty.legend(handles, labels, loc="upper left", ncols=columns, title=BAND if banded else None, alignment="left")
