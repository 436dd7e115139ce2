"""Contraction against reconstruction: models are compared at equal reconstruction error, not only at one setting.

A model is on the frontier where no other has both a smaller Jacobian and a smaller reconstruction error. A family is
what one recipe gives over a grid of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from caelab.analysis.plotting import COLUMN_WIDTH, display_name, look, marks, panels, paper_style, strokes
from caelab.errors import NotApplicable
from caelab.jacobian.service import jacobian
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.float64 import double_encoder
from caelab_analyses.shared.legends import legend_below

TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8)  # of a decade, labelled

title = "Norm against reconstruction"
caption = (
    "Each point is a model: left reconstructs better, lower contracts more. Compare models at equal "
    "reconstruction, along a vertical line; the points of one regularizer at several weights are joined."
)
default = True


def measure(run: Run, streams: Streams, *, examples: Count = 500) -> pd.DataFrame:
    """Where a run stands: mean ‖J_f(x)‖_F and mean reconstruction error over validation examples.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.

    Returns:
        One row: ``norm``, ``reconstruction_error`` (sum over inputs), ``error_kind`` as in the training config,
        ``family`` (the label up to the first space), ``settings`` (the regularizers' options, as
        ``contractive.weight=0.3``) and ``weight``, the first number among them (NaN where there is none).

    Raises:
        NotApplicable: the model cannot reconstruct.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"frontier needs a model that reconstructs, but {run.label!r} has an encoder alone")
    inputs = run.dataset.valid_inputs[:examples]
    squared = jacobian(double_encoder(run), inputs.double()).squared_norm().detach()
    settings = _regularizer_settings(run)
    row = {
        "norm": float(squared.sqrt().mean()),
        "reconstruction_error": float(run.reconstruction_error(inputs).double().mean()),
        "error_kind": run.config.training.reconstruction,
        "family": run.label.partition(" ")[0],
        "settings": " ".join(f"{key}={value:g}" for key, value in settings.items()),
        "weight": next(iter(settings.values()), np.nan),
    }
    return pd.DataFrame([row])


def _regularizer_settings(run: Run) -> dict[str, float]:
    """Every number among the options of the run's regularizers, by ``regularizer.option``."""
    return {
        f"{label}.{option}": float(value)
        for label, block in run.config.regularizers.items()
        for option, value in block.options.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A small dot per run, the model's marker at their mean, a line through the models of one family."""
    found = panels(axes, 1, 1, of="frontier", size=(COLUMN_WIDTH, 3.2))
    (axes,) = found
    looks = look(table["model"])
    axes.plot(table["reconstruction_error"], table["norm"], ".", color="0.6", markersize=marks(3), zorder=2)
    means = table.groupby(["family", "model"], sort=False, as_index=False)[["reconstruction_error", "norm"]].mean()
    for _, rows in means.groupby("family", sort=False):
        join(axes, rows, looks[rows["model"].iloc[-1]].color)
    for model, rows in means.groupby("model", sort=False):
        style = looks[str(model)]
        axes.plot(
            rows["reconstruction_error"],
            rows["norm"],
            linestyle="none",
            color=style.color,
            marker=style.marker,
            markersize=marks(5),
            label=display_name(str(model)),
        )
    unit = "nats" if (table["error_kind"] == "cross-entropy").all() else "squared error"
    axes.set(xlabel=f"reconstruction error ({unit}, sum over inputs)", ylabel="mean $\\Vert J\\Vert_F$", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=TICKS))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.annotate("↙ better", (0.02, 0.02), xycoords="axes fraction", color="0.4")
    legend_below(found, 3)
    return found.finished()


def join(axes: Axes, models: pd.DataFrame, color: str) -> None:
    """A line through the models of one family, in order of reconstruction error."""
    ordered = models.sort_values("reconstruction_error")
    axes.plot(ordered["reconstruction_error"], ordered["norm"], "-", color=color, linewidth=strokes(0.8), zorder=1)
