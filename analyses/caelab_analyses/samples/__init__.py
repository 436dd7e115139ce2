"""Chains that a trained auto-encoder drives: Langevin steps along its score, and the walk of Rifai et al. (2012).

A chain that stays where the data are says that the model knows where that is.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.data.truth import Score
from caelab.errors import CaelabError, NotApplicable
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map
from caelab_analyses.samples.figure import LANGEVIN, TRUTH, WALK, sampling_figure
from caelab_analyses.samples.walks import contractive_walk, langevin
from caelab_analyses.score_field import square
from caelab_analyses.shared import tiles
from caelab_analyses.shared.fields import double_model, score_estimate
from caelab_analyses.shared.noise_levels import noise_level

GRID = 61  # points per side, for the contours
DRIFT = 0.5  # Langevin's default step moves halfway to the reconstruction: η / (2 σ²)

title = "Samples"
caption = (
    "Chains that follow the model from a training example, by Langevin steps and by the walk of contractive auto- "
    "encoders. Chains that stay where the data are, and visit all of them, say that the model knows where that "
    "is."
)
columns = (Column(name="* distance", heading="*: distance from\nthe nearest example", better="smaller", optional=True),)


def measure(
    run: Run,
    streams: Streams,
    *,
    chains: Count = 2,
    steps: Count = 400,
    shown: Count = 12,
    walk_sigma: Positive = 0.2,
    step: Positive | None = None,
) -> pd.DataFrame:
    """Chains of both kinds from validation examples.

    Args:
        run: the trained model and its data.
        streams: of the noise.
        chains: how many of each kind; on images, each from another class where the data have labels.
        steps: length of a chain.
        shown: on images, how many states of a chain are kept, evenly.
        walk_sigma: of the noise in the code.
        step: η of Langevin's chain; by default σ², with which the drift goes halfway to the reconstruction.

    Returns:
        One row per kept state, ``sampler`` (langevin or walk), ``chain``, ``step``, ``distance`` to the nearest
        training example, and ``x``, ``y`` in the plane, else ``pixels``, ``height``, ``width``. On images Langevin's
        rows hold r(x): its chain draws from the data with the noise, and r takes that away. Where the density is
        known, further rows, sampler truth, hold it on a grid: ``x``, ``y``, ``log density``. A run without a noise
        level has no Langevin chain.

    Raises:
        NotApplicable: the model cannot decode.
        CaelabError: a chain left the finite numbers.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"chains need a model with decode(code), but {run.label!r} only encodes")
    start = run.dataset.valid_inputs[tiles.distinct_examples(run.dataset, chains)].double()
    found = {WALK: _walk(run, start, walk_sigma, steps, streams["walk noise"])}
    try:
        sigma = noise_level(run, "samples.sigma")
        found = {LANGEVIN: _langevin(run, start, sigma, step, steps, streams["langevin noise"]), **found}
    except NotApplicable:
        pass
    kept = _kept(steps, steps + 1 if start.shape[1] == 2 else shown)
    parts = [_rows(run, sampler, states, kept) for sampler, states in found.items()]
    return pd.concat([*parts, *_truth(run)], ignore_index=True)


def _langevin(run: Run, start: Tensor, sigma: float, step: float | None, steps: int, stream: torch.Generator) -> Tensor:
    reconstruct = reconstruction_map(double_model(run))
    states = langevin(
        lambda x: score_estimate(reconstruct, x, sigma), start, step or 2 * DRIFT * sigma**2, steps, stream
    )
    if start.shape[1] == 2:
        return states
    with torch.no_grad():
        return torch.stack([reconstruct(state) for state in states])


def _walk(run: Run, start: Tensor, sigma: float, steps: int, stream: torch.Generator) -> Tensor:
    model = double_model(run)
    return contractive_walk(model.encode, model.decode, start, sigma, steps, stream)


def _kept(steps: int, count: int) -> list[int]:
    return sorted({round(float(at)) for at in torch.linspace(0, steps, count)})


def _rows(run: Run, sampler: str, states: Tensor, kept: list[int]) -> pd.DataFrame:
    if not torch.isfinite(states).all():
        raise CaelabError(f"the {sampler} chain of {run.label!r} left the finite numbers; lower its step or sigma")
    among, shape = run.dataset.train_inputs.double(), run.dataset.image_shape
    rows: list[dict[str, Any]] = []
    for at in kept:
        near = torch.cdist(states[at], among).amin(dim=1).tolist()
        for chain, (state, distance) in enumerate(zip(states[at], near, strict=True)):
            place = dict(zip("xy", state.tolist(), strict=True)) if len(state) == 2 else tiles.picture(state, shape)
            rows.append({"sampler": sampler, "chain": chain, "step": at, "distance": distance, **place})
    return pd.DataFrame(rows)


def _truth(run: Run) -> list[pd.DataFrame]:
    truth = run.dataset.truth
    if not isinstance(truth, Score):
        return []
    points = square(run.dataset.inputs.double(), GRID)
    x, y = points.T.numpy()
    return [pd.DataFrame({"sampler": TRUTH, "x": x, "y": y, "log density": truth.log_density(points).numpy()})]


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Median distance of the chains' second halves from the nearest training example."""
    late = table[table["step"] > table["step"].max() / 2]
    medians = late.groupby("sampler")["distance"].median()
    return {f"{sampler} distance": float(value) for sampler, value in medians.items()}


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Chains over the density's contours in the plane, strips of images elsewhere."""
    return sampling_figure(table, axes)
