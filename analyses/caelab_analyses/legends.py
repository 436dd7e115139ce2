"""One legend for all panels of a figure."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def legend_below(figure: Figure, axes: Axes, most: int) -> None:
    """Name what is drawn in one panel below all of them, in lines of equal length, ``most`` names to a line at most."""
    handles, labels = axes.get_legend_handles_labels()
    lines = -(-len(labels) // most)
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // lines))
