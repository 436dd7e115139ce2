"""The figure of the log volume: agreement with a known density, or the distribution of the volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import COLUMN_WIDTH, PAGE_WIDTH, display_name, look, paper_style
from caelab_analyses.log_volume.agreement import Array, Statistic, auroc, interval, rank_agreement, sparse

PANELS: dict[str, tuple[Statistic, Callable[[Array], Any], float]] = {
    "rank correlation with the log density": (rank_agreement, lambda density: density, 0.0),
    "AUROC of the least dense tenth": (auroc, sparse, 0.5),  # the same tenth in every resample
}
"""By label, the statistic, what of the density it is compared with, and the value of a score that is chance."""


@paper_style()
def volume_figure(table: pd.DataFrame) -> Figure:
    """Two panels of agreement where the density is known, else one of the volumes' distribution."""
    if table["log density"].isna().any():
        return _distribution(table)
    scores = [*table["score"].unique()]
    height = 1.0 + 0.11 * len(scores) * (table["model"].nunique() + 1)
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (label, (statistic, known, chance)) in zip(panels, PANELS.items(), strict=True):
        _agreement(axes, table, statistic, known, scores)
        axes.axvline(chance, color="0", linewidth=0.6, zorder=1)
        axes.set_xlabel(label)
    panels[0].set_yticks(range(len(scores)), scores)
    panels[0].set_ylim(len(scores) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


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
            axes.plot([low, high], [place + offset] * 2, color=style.color, linewidth=1)
            label = display_name(model) if place == 0 else "_"
            axes.plot(mean, place + offset, linestyle="none", label=label, color=style.color, marker=style.marker)


def _distribution(table: pd.DataFrame) -> Figure:
    """The empirical distribution function of every model's volumes, all seeds together."""
    figure = Figure(figsize=(COLUMN_WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    for model, style in look(table["model"]).items():
        values = np.sort(table.loc[table["model"] == model, "value"].to_numpy())
        share = np.arange(1, len(values) + 1) / len(values)
        axes.plot(values, share, color=style.color, linestyle=style.linestyle, label=display_name(model))
    axes.set(xlabel="log volume, Σ log s", ylabel="share of examples", ylim=(0, 1))
    axes.legend()
    return figure
