"""The figure of the similarity of codes: a matrix of models, darker where codes are more alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import COLUMN_WIDTH, display_name, paper_style

DARK = 0.6  # above it, white numbers are read better


@paper_style()
def similarity_figure(table: pd.DataFrame) -> Figure:
    """The mean over pairs of different runs, for every two models; a model with one seed has no cell with itself."""
    means = mean_similarities(table)
    side = min(COLUMN_WIDTH, 1.1 + 0.32 * len(means))
    figure = Figure(figsize=(COLUMN_WIDTH, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(means.to_numpy(), cmap="cividis_r", vmin=0, vmax=1)
    names = [display_name(str(model)) for model in means.index]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    _write_numbers(axes, means.to_numpy())
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label("linear CKA")
    bar.outline.set_linewidth(0.6)
    return figure


def mean_similarities(table: pd.DataFrame) -> pd.DataFrame:
    """Models by models, in the order of the table: the mean over pairs of runs, a run with itself left out."""
    itself = (table["model"] == table["other model"]) & (table["seed"] == table["other seed"])
    models = list(dict.fromkeys(table["model"]))
    others = list(dict.fromkeys([*models, *table["other model"]]))
    means = table[~itself].groupby(["model", "other model"])["similarity"].mean().unstack()
    return means.reindex(index=models, columns=others)


def _write_numbers(axes: Axes, values: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.2f}".removeprefix("0") if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color="w" if value > DARK else "k")
