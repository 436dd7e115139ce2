"""One legend for all panels of a figure."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

MEANINGS: Mapping[str, Artist] = {
    "markers": Line2D([], [], color="0.3", marker="o", markersize=4, linestyle="none"),
    "line": Line2D([], [], color="0.3", linewidth=0.9),
    "dotted": Line2D([], [], color="0.3", linewidth=0.7, linestyle=":"),
    "grey": Line2D([], [], color="0.6", linewidth=0.9),
    "shaded": Patch(color="0.93"),
}


def legend_below(figure: Figure, axes: Axes, most: int, meanings: Mapping[str, str] | None = None) -> None:
    """Name what is drawn in one panel below all of them, in lines of equal length, ``most`` names to a line at most.

    Args:
        figure: of the panel.
        axes: the panel.
        most: names to a line.
        meanings: what a kind of mark stands for whichever the model, by the kind's name in ``MEANINGS``.
    """
    handles, labels = axes.get_legend_handles_labels()
    for kind, meaning in (meanings or {}).items():
        handles.append(MEANINGS[kind])
        labels.append(meaning)
    lines = -(-len(labels) // most)
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // lines))
