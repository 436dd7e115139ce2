"""The figure of fine-tuning: every model before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caelab.analysis.plotting import PAGE_WIDTH, display_name, interval_of_mean, look, panels, paper_style, strokes
from caelab.runs.recipes import Look

BEFORE, AFTER = "before", "after"
STAGES = (BEFORE, AFTER)
LINES: Mapping[str, Any] = {BEFORE: "--", AFTER: "-"}
MARGIN = 0.04  # beside the ends of an axis of shares, as a part of it
SHIFT = {BEFORE: -0.16, AFTER: 0.16}
SHARE = "saturated_share"
PANELS = {"norm": "mean $\\Vert J\\Vert_F$", SHARE: "saturated share of units"}
FILLED = {"x": "X", "+": "P"}  # of markers that are strokes, those of the same shape that can be open and filled
MARKERS = 5  # about how many to a spectrum
NEUTRAL = "0.3"  # of what stands for a stage of whichever model
FLOOR = 1e-6  # of the largest value in the figure: below it nothing is drawn


@paper_style()
def before_and_after(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A panel per quantity, a line per model with both stages; beside them the spectra."""
    runs = table.groupby(["model", "seed", "stage"], sort=False, as_index=False)[[*PANELS, "test_error"]].first()
    shown = {name: label for name, label in PANELS.items() if runs[name].notna().any()}
    looks = look(table["model"])
    size = (PAGE_WIDTH, max(2.4, 0.9 + 0.22 * len(looks)))
    found = panels(axes, 1, len(shown) + 1, of="fine_tuning", size=size)
    for panel, (name, label) in zip(found, shown.items(), strict=False):
        _pairs(panel, runs, name, looks)
        panel.set(xlabel=label, ylim=(len(looks) - 0.5, -0.5))
        if name == SHARE:
            _axis_of_shares(panel)
        named = found.apart or panel is found[0]
        panel.set_yticks(range(len(looks)), [display_name(model) for model in looks] if named else [])
    _spectra(found[-1], table, looks)
    return found.finished()


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
            axes.plot(interval_of_mean(values), [height, height], color=style.color, linewidth=strokes(1))
            axes.plot(means[stage], height, **_mark(style, stage))
        if len(means) == len(STAGES):
            axes.plot([*means.values()], [line + SHIFT[stage] for stage in STAGES], color="0.6", linewidth=0.6)


def _mark(style: Look, stage: str) -> dict[str, Any]:
    """Keywords of ``Axes.plot`` for the model's marker, open before and filled after."""
    known = style.marker in Line2D.filled_markers
    marker = style.marker if known else FILLED.get(style.marker, "o")
    return {"marker": marker, "color": style.color, "markerfacecolor": "white" if stage == BEFORE else style.color}


def _axis_of_shares(axes: Axes) -> None:
    """From no less than 0 to no more than 1, but for the margin, and at least a tenth wide."""
    low, high = axes.get_xlim()
    high = max(high, low + 0.1, 0.1)
    axes.set_xlim(max(low, -MARGIN * high), min(high, 1 + MARGIN))


def _spectra(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Singular values by rank, the mean over seeds: broken lines with open marks before, whole with filled after."""
    means = table.groupby(["model", "stage", "rank"], sort=False, as_index=False)["singular_value"].mean()
    every = max(1, int(means["rank"].max()) // MARKERS)
    for place, (model, style) in enumerate(looks.items()):
        for stage in STAGES:
            rows = means[(means["model"] == model) & (means["stage"] == stage)]
            places = (place * every // len(looks), every)  # other ones of each model, so that none hides another
            axes.plot(rows["rank"], rows["singular_value"], LINES[stage], markevery=places, **_mark(style, stage))
    seen = means.loc[means["singular_value"] > 0, "singular_value"]
    if len(seen):
        axes.set_yscale("log")
        axes.set_ylim(np.maximum(seen.min(), FLOOR * seen.max()) / 2, seen.max() * 2)
    axes.set(xlabel="rank", ylabel="singular value of $J$")
    any_model = Look(NEUTRAL, "o", "-")
    handles = [Line2D([], [], linestyle=LINES[stage], **_mark(any_model, stage)) for stage in STAGES]
    axes.legend(handles, STAGES, labelcolor="0.2")
