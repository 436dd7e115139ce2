"""Local intrinsic dimension from a denoiser: how fast the density of the noisy data falls as the noise grows.

FLIPD (Kamkari et al. 2024, arXiv 2406.03537) at the noise that the model was trained to remove, beside the trace of the
reconstruction's Jacobian alone, readings of its spectrum, and the nearest-neighbour estimators. On a synthetic manifold
the truth is known.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.pieces import in_pieces
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.data import Tangents
from caelab.errors import CaelabError, NotApplicable
from caelab.jacobian.service import jacobian
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map
from caelab_analyses.dimension_from_noise.flipd import Map, flipd, trace
from caelab_analyses.intrinsic_dimension import (
    FROM_LOWEST_TO_HIGHEST,
    LIKELIHOOD,
    REFERENCES,
    TRUTH,
    TWO_NEAREST,
    energy_count,
    participation_ratio,
)
from caelab_analyses.intrinsic_dimension.neighbours import maximum_likelihood, neighbour_distances, two_nearest
from caelab_analyses.shared.fields import double_model
from caelab_analyses.shared.noise_levels import noise_level

FLIPD, TRACE = "FLIPD", "trace alone"
ENERGY, PARTICIPATION = "95 % of the energy of J_r", "participation ratio of J_r"
OF_MODEL = (FLIPD, TRACE, ENERGY, PARTICIPATION)
OF_DATA = (TWO_NEAREST, LIKELIHOOD)
ERROR = "absolute error of the dimension by"

title = "The dimension that a denoiser sees"
caption = (
    "Each panel reads the number of directions along the data from the reconstruction r and its Jacobian, at clean "
    "validation examples and the noise that the model removes; a dot is one seed, the bar reaches from the lowest to "
    "the highest. The vertical lines are what the data say by themselves, and the truth where it is known."
)
columns = (
    Column(name="dimension from noise by *", heading="dimension from\nnoise by *", optional=True),
    Column(name=f"{ERROR} *", heading="|error of the\ndimension| by *", better="smaller", optional=True),
)


def measure(
    run: Run, streams: Streams, *, sigma: Positive | None = None, examples: Count = 100, neighbours: Count = 20
) -> pd.DataFrame:
    """The dimension at clean validation examples by FLIPD, by tr J_r, by the spectrum of J_r, and by neighbours.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        sigma: σ; by default the run's own: of ``gaussian``, or √λ of ``reconstruction-contractive``.
        examples: how many validation examples, the first ones.
        neighbours: k of the maximum-likelihood estimator, among all training examples.

    Returns:
        One row per number: ``estimator``, ``example`` (-1 where the number is one for all the data), ``dimension``,
        ``sigma``. The truth is there on a synthetic manifold.

    Raises:
        NotApplicable: no decoder, or no noise level.
        CaelabError: too few distinct training examples.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"a denoiser needs a model with decode(code), but {run.label!r} only encodes")
    if neighbours < 2:
        raise CaelabError(f"maximum likelihood compares at least 2 neighbours, but neighbours={neighbours} came")
    sigma = sigma or noise_level(run, "dimension_from_noise.sigma")
    reconstruct = reconstruction_map(double_model(run))
    pieces = in_pieces(run.dataset.valid_inputs[:examples])
    found = [readings_of(reconstruct, piece.double(), sigma) for piece in pieces]
    readings = {name: torch.cat([each[name] for each in found]) for name in found[0]}
    parts = [
        pd.DataFrame({"estimator": name, "example": range(len(values)), "dimension": values.double().numpy()})
        for name, values in readings.items()
    ]
    known = _known(run, neighbours)
    single = pd.DataFrame({"estimator": [*known], "example": -1, "dimension": [*known.values()]})
    return pd.concat([*parts, single], ignore_index=True).assign(sigma=sigma)


def readings_of(reconstruct: Map, points: Tensor, sigma: float) -> dict[str, Tensor]:
    """Every reading of r and J_r at the points, each of shape (batch,)."""
    spectra = jacobian(reconstruct, points).singular_values().detach()
    return {
        FLIPD: flipd(reconstruct, points, sigma),
        TRACE: trace(reconstruct, points),
        ENERGY: energy_count(spectra),
        PARTICIPATION: participation_ratio(spectra),
    }


def _known(run: Run, neighbours: int) -> dict[str, float]:
    among = run.dataset.train_inputs
    distances = neighbour_distances(among, among, neighbours)
    known = {TWO_NEAREST: two_nearest(distances), LIKELIHOOD: maximum_likelihood(distances)}
    if isinstance(run.dataset.truth, Tangents):
        known[TRUTH] = float(run.dataset.truth.dimension)
    return known


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The mean over examples of each reading; where the truth is known, how far every estimator is from it."""
    means = table.groupby("estimator")["dimension"].mean()
    found = {f"dimension from noise by {name}": means[name] for name in (*OF_MODEL, *OF_DATA)}
    if TRUTH in means.index:
        found |= {f"{ERROR} {name}": abs(means[name] - means[TRUTH]) for name in (*OF_MODEL, *OF_DATA)}
    return found


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A panel per reading: every model from its lowest to its highest seed; what the data say as lines."""
    models = table["model"].nunique()
    size = (PAGE_WIDTH, 1.15 + 0.17 * models)
    found = panels(axes, 1, len(OF_MODEL), of="dimension_from_noise", size=size, grows="text", sharey=True, sharex=True)
    for panel, name in zip(found, OF_MODEL, strict=True):
        of_model = table[table["estimator"] == name].groupby(["model", "seed"], sort=False)["dimension"].mean()
        dot_chart(panel, of_model.reset_index(), "dimension", "dimension", errorbar=FROM_LOWEST_TO_HIGHEST)
        panel.set_title(name.replace("J_r", "$J_r$"), loc="left")
        for reference, style in REFERENCES.items():
            values = table.loc[table["estimator"] == reference, "dimension"]
            if len(values):
                panel.axvline(values.mean(), label=reference, zorder=1, **style)
    found.legend()
    return found.finished()
