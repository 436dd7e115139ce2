"""The figure of fine-tuning: every model before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import PAGE_WIDTH, display_name, interval_of_mean, look, paper_style
from caelab.runs.recipes import Look

BEFORE, AFTER = "before", "after"
STAGES = (BEFORE, AFTER)
SHIFT = {BEFORE: -0.16, AFTER: 0.16}
PANELS = {"norm": "mean $\\Vert J\\Vert_F$", "saturated_share": "saturated share of units"}
FLOOR = 1e-6  # of the largest value in the figure: below it nothing is drawn


@paper_style()
def before_and_after(table: pd.DataFrame) -> Figure:
    """A panel per quantity, a line per model with both stages; beside them the spectra."""
    runs = table.groupby(["model", "seed", "stage"], sort=False, as_index=False)[[*PANELS, "test_error"]].first()
    shown = {name: label for name, label in PANELS.items() if runs[name].notna().any()}
    looks = look(table["model"])
    figure = Figure(figsize=(PAGE_WIDTH, max(2.4, 0.9 + 0.22 * len(looks))), layout="constrained")
    panels: Any = figure.subplots(1, len(shown) + 1, squeeze=False)
    for axes, (name, label) in zip(panels[0], shown.items(), strict=False):
        _pairs(axes, runs, name, looks)
        axes.set(xlabel=label, ylim=(len(looks) - 0.5, -0.5))
        axes.set_yticks(range(len(looks)), [display_name(model) for model in looks] if axes is panels[0, 0] else [])
    _spectra(panels[0, -1], table, looks)
    return figure


def _pairs(axes: Axes, runs: pd.DataFrame, name: str, looks: Mapping[str, Look]) -> None:
    """The mean over seeds before (open) and after (filled), with its 95 % interval, and a line between the two."""
    for line, (model, style) in enumerate(looks.items()):
        of_model = runs[runs["model"] == model]
        means = {}
        for stage in STAGES:
            values = of_model.loc[of_model["stage"] == stage, name].dropna()
            if values.empty:
                continue
            means[stage] = values.mean()
            height = line + SHIFT[stage]
            axes.plot(interval_of_mean(values), [height, height], color=style.color, linewidth=1)
            face = "white" if stage == BEFORE else style.color
            axes.plot(means[stage], height, marker=style.marker, color=style.color, markerfacecolor=face)
        if len(means) == len(STAGES):
            axes.plot([*means.values()], [line + SHIFT[stage] for stage in STAGES], color="0.6", linewidth=0.6)


def _spectra(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Singular values by rank, the mean over seeds: broken before, whole after."""
    means = table.groupby(["model", "stage", "rank"], sort=False, as_index=False)["singular_value"].mean()
    for model, style in looks.items():
        for stage, line in ((BEFORE, "--"), (AFTER, "-")):
            rows = means[(means["model"] == model) & (means["stage"] == stage)]
            axes.plot(rows["rank"], rows["singular_value"], color=style.color, linestyle=line, label=stage)
    seen = means.loc[means["singular_value"] > 0, "singular_value"]
    if len(seen):
        axes.set_yscale("log")
        axes.set_ylim(np.maximum(seen.min(), FLOOR * seen.max()) / 2, seen.max() * 2)
    axes.set(xlabel="rank", ylabel="singular value of $J$")
    handles = axes.get_lines()[:2]
    axes.legend(handles, STAGES, labelcolor="0.2")
