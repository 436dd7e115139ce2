"""The figure of the log volume: agreement with a known density, or the distribution of the volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import COLUMN_WIDTH, PAGE_WIDTH, display_name, look, panels, paper_style, strokes
from caelab_analyses.log_volume.agreement import Array, Statistic, auroc, interval, rank_agreement, sparse

PANELS: dict[str, tuple[Statistic, Callable[[Array], Any], float]] = {
    "rank correlation with the log density": (rank_agreement, lambda density: density, 0.0),
    "AUROC of the least dense tenth": (auroc, sparse, 0.5),  # the same tenth in every resample
}
"""By label, the statistic, what of the density it is compared with, and the value of a score that is chance."""


@paper_style()
def volume_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Two panels of agreement where the density is known, else one of the volumes' distribution."""
    if table["log density"].isna().any():
        return _distribution(table, axes)
    scores = [*table["score"].unique()]
    height = 1.0 + 0.11 * len(scores) * (table["model"].nunique() + 1)
    found = panels(axes, 1, len(PANELS), of="log_volume", size=(PAGE_WIDTH, height), grows="text", sharey=True)
    for panel, (label, (statistic, known, chance)) in zip(found, PANELS.items(), strict=True):
        _agreement(panel, table, statistic, known, scores)
        panel.axvline(chance, color="0", linewidth=0.6, zorder=1)
        panel.set_xlabel(label)
    for panel in found.ends(found):
        panel.set_yticks(range(len(scores)), scores)
        panel.set_ylim(len(scores) - 0.5, -0.5)
    found.legend()
    return found.finished()


def _agreement(
    axes: Axes, table: pd.DataFrame, statistic: Statistic, known: Callable[[Array], Any], scores: list[str]
) -> None:
    """A marker and a bar for every score and model, the models of one score close together."""
    looks = look(table["model"])
    offsets = np.linspace(-0.3, 0.3, len(looks)) if len(looks) > 1 else [0.0]
    for offset, (model, style) in zip(offsets, looks.items(), strict=True):
        of_model = table[table["model"] == model]
        for place, score in enumerate(scores):
            rows = of_model[of_model["score"] == score]
            seeds = [
                (own["value"].to_numpy(), known(own["log density"].to_numpy()))
                for _, own in rows.groupby("seed", sort=False)
            ]
            if not seeds:
                continue
            mean, low, high = interval(statistic, seeds)
            axes.plot([low, high], [place + offset] * 2, color=style.color, linewidth=strokes(1))
            label = display_name(model) if place == 0 else "_"
            axes.plot(mean, place + offset, linestyle="none", label=label, color=style.color, marker=style.marker)


def _distribution(table: pd.DataFrame, axes: Any) -> Figure:
    """The empirical distribution function of every model's volumes, all seeds together."""
    found = panels(axes, 1, 1, of="log_volume", size=(COLUMN_WIDTH, 2.2))
    (axes,) = found
    for model, style in look(table["model"]).items():
        values = np.sort(table.loc[table["model"] == model, "value"].to_numpy())
        share = np.arange(1, len(values) + 1) / len(values)
        axes.plot(values, share, color=style.color, linestyle=style.linestyle, label=display_name(model))
    axes.set(xlabel="log volume, Σ log s", ylabel="share of examples", ylim=(0, 1))
    axes.legend()
    return found.finished()
