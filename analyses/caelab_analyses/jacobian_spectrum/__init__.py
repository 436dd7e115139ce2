"""The singular values of an encoder's Jacobian: how many directions of input space the code responds to, and how much.

A sharp decrease means that few directions of variation stay, the local tangents of the data manifold, and that all
others are contracted (Rifai et al. 2011, section 5.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, band, curves, look, panels, paper_style
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.float64 import singular_values
from caelab_analyses.shared.legends import legend_below

LOW, HIGH = 0.1, 0.9  # quantiles over examples, the ends of the band
FLOOR = 1e-6  # of the largest value in the figure: below it nothing is drawn
MARKERS = 8  # on each line

title = "The Jacobian's spectrum"
caption = (
    "Singular values of the encoder's Jacobian in decreasing order, averaged over validation examples. A curve "
    "that drops early leaves few directions of variation: all others are contracted."
)
default = True
columns = (
    Column(name="effective rank", heading="effective\nrank of J", table="contraction"),
    Column(name="singular values above threshold", heading="large singular\nvalues", table="contraction"),
)


def measure(run: Run, streams: Streams, *, examples: Count = 100, threshold: Positive = 0.01) -> pd.DataFrame:
    """The spectrum s_1 ≥ s_2 ≥ … of J_f(x), by rank over validation examples, computed in float64.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.
        threshold: t; a singular value counts as large where s_i(x) > t · mean of s_1 over the run's examples.

    Returns:
        One row per ``rank`` from 1 to min(m, d): ``mean`` of s_rank over the examples, its 10 and 90 % quantiles
        ``low`` and ``high``, and, the same in every row, means over examples: ``effective_rank``, the number
        ``above_threshold`` of large singular values (relative: it sees the shape of the spectrum) and the number
        ``above_absolute`` with s_i(x) > t (it sees the level too); then ``threshold`` and ``examples``.
    """
    inputs = run.dataset.valid_inputs[:examples]
    values = singular_values(run, inputs)
    low, high = values.quantile(torch.tensor([LOW, HIGH], dtype=values.dtype), dim=0)
    by_rank = {"mean": values.mean(dim=0), "low": low, "high": high}
    table = pd.DataFrame({"rank": np.arange(1, values.shape[1] + 1)} | {k: v.numpy() for k, v in by_rank.items()})
    return table.assign(
        effective_rank=float(effective_rank(values).nanmean()),
        above_threshold=float(_count_above(values, threshold * float(values[:, 0].mean()))),
        above_absolute=float(_count_above(values, threshold)),
        threshold=threshold,
        examples=len(inputs),
    )


def effective_rank(values: Tensor) -> Tensor:
    """exp(-Σ_i p_i log p_i) with p_i = s_i / Σ_j s_j: r for r equal values, less where they are unequal.

    Roy and Vetterli (2007), "The effective rank", EUSIPCO.

    Args:
        values: singular values, shape (batch, rank).

    Returns:
        Shape (batch,); NaN where all values are zero.
    """
    shares = values / values.sum(dim=1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(dim=1)
    return entropy.exp()


def _count_above(values: Tensor, bound: float) -> Tensor:
    """How many singular values of an example exceed the bound, mean over examples, shape ()."""
    return (values > bound).sum(dim=1).double().mean()


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Effective rank and number of large singular values, each a mean over examples."""
    first = table.iloc[0]
    return {
        "effective rank": first["effective_rank"],
        "singular values above threshold": first["above_threshold"],
    }


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Singular values by rank with a band over examples; beside it divided by the first: the shape alone."""
    found = panels(axes, 1, 2, of="jacobian_spectrum", size=(PAGE_WIDTH, 2.9))
    spectra = table.groupby(["model", "rank"], sort=False, as_index=False)[["mean", "low", "high"]].mean()
    looks = look(table["model"])
    for model, rows in spectra.groupby("model", sort=False):
        found[0].fill_between(rows["rank"], rows["low"], rows["high"], **band(looks[str(model)]))
    first = spectra.groupby("model")["mean"].transform("first")
    curves(found[0], spectra, "rank", "mean", markers=MARKERS)
    curves(found[1], spectra.assign(mean=spectra["mean"] / first), "rank", "mean", markers=MARKERS)
    for panel, label in zip(found, ("singular value of $J$", "singular value / first"), strict=True):
        _height_axis(panel)
        panel.set(xlabel="rank", ylabel=label)
    legend_below(found, 7)
    return found.finished()


def _height_axis(axes: Axes) -> None:
    """Logarithmic, as far down as the lines go, but not below ``FLOOR`` of the largest value."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    seen = heights[heights > 0]
    if len(seen):
        axes.set_yscale("log")
        axes.set_ylim(max(seen.min(), FLOOR * seen.max()) / 2, seen.max() * 2)
