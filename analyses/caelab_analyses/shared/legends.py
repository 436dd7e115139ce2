"""One legend for all panels of a figure."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from caelab.analysis.plotting import Panels

MEANINGS: Mapping[str, Artist] = {
    "markers": Line2D([], [], color="0.3", marker="o", markersize=4, linestyle="none"),
    "line": Line2D([], [], color="0.3", linewidth=0.9),
    "dotted": Line2D([], [], color="0.3", linewidth=0.7, linestyle=":"),
    "grey": Line2D([], [], color="0.6", linewidth=0.9),
    "shaded": Patch(color="0.93"),
}


def legend_below(found: Panels, most: int, meanings: Mapping[str, str] | None = None, panel: int = 0) -> None:
    """Name what is drawn in the first panel below all of them, in lines of equal length; in it, if axes were given.

    Args:
        found: the panels.
        most: names to a line, or fewer where a figure is narrow.
        meanings: what a kind of mark stands for whichever the model, by the kind's name in ``MEANINGS``.
        panel: the place of the one that has all names.
    """
    handles, labels = found[panel].get_legend_handles_labels()
    for kind, meaning in (meanings or {}).items():
        handles.append(MEANINGS[kind])
        labels.append(meaning)
    found.legend(handles, labels, most=most)
