"""The figure of the similarity of codes: a matrix of models, darker where codes are more alike."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.plotting import COLUMN_WIDTH, display_name, panels, paper_style, points

ALIKE = "#6bbdec"  # light enough for dark numbers


@paper_style()
def similarity_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """The mean over pairs of different runs, for every two models; a model with one seed has no number with itself."""
    import seaborn

    means = mean_similarities(table)
    side = min(COLUMN_WIDTH, 1.1 + 0.32 * len(means))
    found = panels(axes, 1, 1, of="code_similarity", size=(COLUMN_WIDTH, side))
    (axes,) = found
    rows, columns = ([display_name(str(model)) for model in labels] for labels in (means.index, means.columns))
    seaborn.heatmap(
        means,
        vmin=0,
        vmax=1,
        cmap=seaborn.light_palette(ALIKE, as_cmap=True),
        square=True,
        annot=True,
        fmt=".2f",
        annot_kws={"size": points(6)},
        linewidths=0.5,
        cbar_kws={"label": "linear CKA", "shrink": 0.9},
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")
    axes.set_xticks(
        [place + 0.5 for place in range(len(columns))], columns, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks([place + 0.5 for place in range(len(rows))], rows, rotation=0)
    axes.grid(visible=False)
    return found.finished()


def mean_similarities(table: pd.DataFrame) -> pd.DataFrame:
    """Models by models, in the order of the table: the mean over pairs of runs, a run with itself left out."""
    itself = (table["model"] == table["other model"]) & (table["seed"] == table["other seed"])
    models = list(dict.fromkeys(table["model"]))
    others = list(dict.fromkeys([*models, *table["other model"]]))
    means = table[~itself].groupby(["model", "other model"])["similarity"].mean().unstack()
    return means.reindex(index=models, columns=others)
