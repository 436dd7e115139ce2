"""The figure of curvature along and across tangents."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caelab.analysis.plotting import PAGE_WIDTH, Panels, curves, look, marks, panels, paper_style
from caelab_analyses.contraction_curve.figure import radius_axis

ALONG, ACROSS = "along tangents", "across tangents"
CURVATURE = "relative curvature\n(1 / input unit)"
BAND = "bands: 95 % intervals over seeds"
NAMES = {"relative_curvature": "curvature", "relative_norm": "norm"}
NORM = "$\\Vert J(x{\\pm}ru)\\Vert_F\\,/\\,\\Vert J(x)\\Vert_F$"


@paper_style()
def curvature_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Curvature along, across and by rank above; the norm of J along and across below."""
    found = panels(axes, 2, 3, count=5, of="higher_order", size=(PAGE_WIDTH, 3.9), sharey="row")
    looks = look(table["model"])
    for column, kind in enumerate((ALONG, ACROSS)):
        rows = table[table["kind"] == kind]
        for line, (value, label) in enumerate((("relative_curvature", CURVATURE), ("relative_norm", NORM))):
            axes = found.grid[line, column]
            curves(axes, rows, "radius", value, looks=looks, markers=5)
            radius_axis(axes, rows["radius"])
            named = found.apart or not column
            axes.set(title=f"{NAMES[value]} {kind}", xlabel="radius $r$ (input units)", ylabel=label if named else "")
    axes = found[2]
    at_zero = table[(table["kind"] == ALONG) & (table["radius"] == 0)].drop(columns="seed")  # the means alone
    curves(axes, at_zero, "direction", "relative_curvature", looks=looks, markersize=marks(3))
    axes.set(title="the same at $r \\to 0$, by rank", xlabel="rank of the tangent")
    axes.set_ylabel(CURVATURE if found.apart else "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in found if found.own else ():
        axes.tick_params(labelleft=True)
    _legend(found, banded=table["seed"].nunique() > 1)
    return found.finished()


def _legend(found: Panels, *, banded: bool) -> None:
    """Names in the place that no panel needs, where there is one."""
    if not found.spare:
        found.legend()
        return
    (empty,) = found.spare
    handles, labels = found[0].get_legend_handles_labels()
    columns = 1 if len(labels) < 8 else 2
    empty.legend(handles, labels, loc="upper left", ncols=columns, title=BAND if banded else None, alignment="left")
