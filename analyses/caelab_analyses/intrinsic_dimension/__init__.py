"""Intrinsic dimension: how many directions a model keeps by the spectrum of J_f, beside estimates from data alone.

The spectrum answers in three ways: where its largest gap is, how many values carry 95 % of ‖J‖², and its
participation ratio. The data answer by nearest neighbours: TwoNN and maximum likelihood. On a synthetic manifold the
truth is known.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.data import Tangents
from caelab.errors import CaelabError
from caelab.jacobian.service import jacobian
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.intrinsic_dimension.neighbours import (
    maximum_likelihood,
    neighbour_distances,
    two_nearest,
)
from caelab_analyses.shared.float64 import double_encoder

GAP, ENERGY, PARTICIPATION = "largest gap", "95 % of the energy", "participation ratio"
TWO_NEAREST, LIKELIHOOD, TRUTH = "TwoNN", "maximum likelihood", "truth"
OF_MODEL = (GAP, ENERGY, PARTICIPATION)
REFERENCES: dict[str, dict[str, Any]] = {
    TRUTH: {"color": "0", "linestyle": "-", "linewidth": 0.9},
    TWO_NEAREST: {"color": "0.35", "linestyle": "--", "linewidth": 0.9},
    LIKELIHOOD: {"color": "0.35", "linestyle": ":", "linewidth": 1.1},
}
FROM_LOWEST_TO_HIGHEST = ("pi", 100)  # percentiles, for seaborn
SHARE = 0.95
NOTHING = 1e-10  # of the largest value: what is smaller is rounding, and as good as zero

title = "How many directions a model keeps"
caption = (
    "Each panel reads a number of directions from the spectrum of the Jacobian in its own way; a dot is one seed, "
    "the bar reaches from the lowest to the highest, and the marker is their geometric mean. "
    "The vertical lines are what the data say by themselves, and the truth where it is known."
)
columns = (Column(name="dimension by *", heading="dimension\nby *", optional=True),)


def measure(run: Run, streams: Streams, *, examples: Count = 100, neighbours: Count = 20) -> pd.DataFrame:
    """The dimension by three readings of the spectrum of J_f and two estimators on the data, and the truth.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples the spectra are taken at, the first ones.
        neighbours: k of the maximum-likelihood estimator. Data: all training examples, among themselves.

    Returns:
        One row per number: ``estimator``, ``example`` (position among the validation examples; -1 where the number is
        one for all the data), ``dimension``. The truth is there on a synthetic manifold.

    Raises:
        CaelabError: too few distinct training examples.
    """
    if neighbours < 2:
        raise CaelabError(f"maximum likelihood compares at least 2 neighbours, but neighbours={neighbours} came")
    inputs = run.dataset.valid_inputs[:examples].double()
    spectra = jacobian(double_encoder(run), inputs).singular_values().detach()
    readings = {GAP: largest_gap(spectra), ENERGY: energy_count(spectra), PARTICIPATION: participation_ratio(spectra)}
    parts = [
        pd.DataFrame({"estimator": name, "example": range(len(values)), "dimension": values.double().numpy()})
        for name, values in readings.items()
    ]
    among = run.dataset.train_inputs
    distances = neighbour_distances(among, among, neighbours)
    known = {TWO_NEAREST: two_nearest(distances), LIKELIHOOD: maximum_likelihood(distances)}
    if isinstance(run.dataset.truth, Tangents):
        known[TRUTH] = float(run.dataset.truth.dimension)
    single = pd.DataFrame({"estimator": [*known], "example": -1, "dimension": [*known.values()]})
    return pd.concat([*parts, single], ignore_index=True)


def largest_gap(spectra: Tensor) -> Tensor:
    """The k in the first half of the spectrum with the largest s_k / s_{k+1}, shape (batch,).

    In the second half neighbouring values differ for no reason but their smallness: the last of a random square matrix
    is often several times below the one before. Values below 1e-10 s_1 count as equal. One value has no gap: k is 1.

    Args:
        spectra: s, descending, shape (batch, values).
    """
    floored = spectra.maximum(NOTHING * spectra[:, :1]).clamp(min=torch.finfo(spectra.dtype).tiny)
    half = max(1, -(-spectra.shape[1] // 2))
    ratios = floored[:, :-1] / floored[:, 1:]
    if ratios.shape[1] == 0:
        return torch.ones(len(spectra), dtype=torch.int64)
    return ratios[:, :half].argmax(dim=1) + 1


def energy_count(spectra: Tensor, share: float = SHARE) -> Tensor:
    """The least k with Σ_{i≤k} s_i² ≥ share · ‖J‖_F², shape (batch,)."""
    energy = spectra.square().cumsum(dim=1)
    wanted = share * (1 - 1e-12) * energy[:, -1:]
    return (energy < wanted).sum(dim=1) + 1


def participation_ratio(spectra: Tensor) -> Tensor:
    """(Σ s²)² / Σ s⁴, shape (batch,): k for k equal values and no others; NaN where J is 0."""
    squares = spectra.square()
    return squares.sum(dim=1).square() / squares.square().sum(dim=1)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The median over examples of each reading of the spectrum."""
    medians = table.groupby("estimator")["dimension"].median()
    return {f"dimension by {name}": medians[name] for name in OF_MODEL}


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A panel per reading of the spectrum: every model from its lowest to its highest seed; the data's as lines."""
    models = table["model"].nunique()
    size = (PAGE_WIDTH, 1.15 + 0.17 * models)
    found = panels(axes, 1, len(OF_MODEL), of="intrinsic_dimension", size=size, grows="text", sharey=True, sharex=True)
    for panel in found.ends(found):
        panel.set_xscale("log")  # of all panels, and first: means are geometric
    for panel, name in zip(found, OF_MODEL, strict=True):
        of_model = table[table["estimator"] == name].groupby(["model", "seed"], sort=False)["dimension"].median()
        dot_chart(panel, of_model.reset_index(), "dimension", "dimension", errorbar=FROM_LOWEST_TO_HIGHEST)
        panel.set_title(name, loc="left")
        _reference_lines(panel, table)
    for panel in found.ends(found):
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.xaxis.set_minor_locator(NullLocator())
    found.legend()
    return found.finished()


def _reference_lines(axes: Axes, table: pd.DataFrame) -> None:
    """What the data say, the mean over seeds: their splits differ, and so do the numbers, a little."""
    for name, style in REFERENCES.items():
        values = table.loc[table["estimator"] == name, "dimension"]
        if len(values):
            axes.axvline(values.mean(), label=name, zorder=1, **style)
