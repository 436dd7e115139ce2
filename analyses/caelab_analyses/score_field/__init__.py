"""The vector field (r(x) - x) / σ² of a reconstruction, compared with the score of the data's density.

Where the density is known (``gaussian-mixture``, ``spiral``), the field is compared with the true score, on a grid and
at validation examples; elsewhere it is shown along segments between pairs of validation examples (Alain and Bengio
2014, JMLR 15).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.data.truth import Score
from caelab.errors import NotApplicable
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map
from caelab_analyses.score_field.figure import GRID, SEGMENT, VALID, score_figure
from caelab_analyses.shared import fields
from caelab_analyses.shared.noise_levels import noise_level

MARGIN = 0.15  # of the data's extent, around the grid
BEYOND = 0.5  # of a segment's length, at either end

title = "The score that a reconstruction points along"
caption = (
    "Arrows show (r(x) − x) / σ², what the model has learned of the score of the data's density, beside the true "
    "score where that is known. Arrows that agree in direction and length mean that the model knows where the "
    "data are."
)
columns = (
    Column(name="score cosine", heading="cosine with\nthe score", better="larger", optional=True),
    Column(name="score relative error", heading="relative error\nof the score", better="smaller", optional=True),
    Column(name="blurred score cosine", heading="cosine with the\nscore under noise", better="larger", optional=True),
    Column(
        name="blurred score relative error",
        heading="relative error of the\nscore under noise",
        better="smaller",
        optional=True,
    ),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    sigma: Positive | None = None,
    grid: Count = 41,
    examples: Count = 500,
    pairs: Count = 100,
    stations: Count = 41,
) -> pd.DataFrame:
    """The learned field against the true score, or along segments where no score is known.

    Args:
        run: the trained model and its data.
        streams: chooses the pairs.
        sigma: σ; by default the run's own: of ``gaussian``, or √λ of ``reconstruction-contractive``.
        grid: points per side of the grid.
        examples: how many validation examples.
        pairs: how many segments.
        stations: points per segment, which reach half its length beyond either end.

    Returns:
        In the plane, one row per point, ``kind`` grid or valid: ``x``, ``y``; ``learned x``, ``learned y``, the field;
        ``true x``, ``true y``, the score; ``blurred x``, ``blurred y``, the score of the data with the noise;
        ``cosine`` and ``relative error`` ‖learned - true‖ / ‖true‖, and both ``blurred``; ``log density``;
        ``weight``, the density's share of all points of the grid (1/n for examples, which are drawn from it);
        ``energy``, E / σ², in closed form or along lines from the data's mean; ``asymmetry`` of J_r.
        Otherwise, one row per pair and station: ``pair``, ``position`` (0 and 1 are the examples), ``length`` of the
        segment, ``along``, the field's component.

    Raises:
        NotApplicable: no decoder, no noise level, or fewer than two validation examples.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"a reconstruction field needs a model with decode(code), but {run.label!r} only encodes")
    sigma = sigma or noise_level(run, "score_field.sigma")
    truth = run.dataset.truth
    if isinstance(truth, Score):
        return _against_truth(run, truth, sigma, grid, examples)
    return between_examples(run, streams["score segments"], sigma, pairs, stations)


def _against_truth(run: Run, truth: Score, sigma: float, grid: int, examples: int) -> pd.DataFrame:
    """Rows of both kinds of points, all in float64."""
    valid = run.dataset.valid_inputs[:examples].double()
    lattice = square(run.dataset.inputs.double(), grid)
    density = truth.log_density(lattice).softmax(dim=0)
    return pd.concat(
        [
            _compared(run, truth, sigma, lattice).assign(kind=GRID, weight=density.numpy()),
            _compared(run, truth, sigma, valid).assign(kind=VALID, weight=1 / len(valid)),
        ],
        ignore_index=True,
    ).assign(sigma=sigma)


def square(inputs: Tensor, side: int) -> Tensor:
    """A lattice of side·side points over the inputs' extent and a margin, row by row from below, shape (side², 2)."""
    low, high = inputs.amin(dim=0), inputs.amax(dim=0)
    margin = MARGIN * (high - low)
    x, y = (torch.linspace(float(a), float(b), side).double() for a, b in zip(low - margin, high + margin, strict=True))
    return torch.cartesian_prod(y, x).flip(1)


def blurred(truth: Score, sigma: float) -> Score:
    """The law of the data with noise N(0, σ² I): the same mixture, each Gaussian wider."""
    return Score(truth.centres, math.hypot(truth.sigma, sigma))


def _compared(run: Run, truth: Score, sigma: float, points: Tensor) -> pd.DataFrame:
    model = fields.double_model(run)
    reconstruct = reconstruction_map(model)
    origin = run.dataset.train_inputs.double().mean(dim=0)
    learned = fields.score_estimate(reconstruct, points, sigma)
    true, smooth = truth.score(points), blurred(truth, sigma).score(points)
    return pd.DataFrame(
        {
            **_named(points, ""),
            **_named(learned, "learned "),
            **_named(true, "true "),
            **_named(smooth, "blurred "),
            **agreement(learned, true, ""),
            **agreement(learned, smooth, "blurred "),
            "log density": truth.log_density(points).numpy(),
            "energy": (fields.energy_of(model, reconstruct, origin, points) / sigma**2).numpy(),
            "asymmetry": fields.asymmetry(reconstruct, points).numpy(),
        }
    )


def _named(vectors: Tensor, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": side.numpy() for name, side in zip("xy", vectors.T, strict=True)}


def agreement(learned: Tensor, true: Tensor, prefix: str) -> dict[str, Any]:
    """Cosine of the angle between two fields, and ‖learned - true‖ / ‖true‖, at every point."""
    error = (learned - true).norm(dim=1) / true.norm(dim=1)
    cosine = torch.cosine_similarity(learned, true, dim=1)
    return {f"{prefix}cosine": cosine.numpy(), f"{prefix}relative error": error.numpy()}


def between_examples(run: Run, stream: torch.Generator, sigma: float, pairs: int, stations: int) -> pd.DataFrame:
    """Rows of the segments between validation examples drawn at random, no example with itself.

    Raises:
        NotApplicable: fewer than two validation examples.
    """
    inputs = run.dataset.valid_inputs.double()
    if len(inputs) < 2:
        raise NotApplicable(f"a segment needs two validation examples, but {run.label!r} has {len(inputs)}")
    first = torch.randint(len(inputs), (pairs,), generator=stream)
    second = (first + torch.randint(1, len(inputs), (pairs,), generator=stream)) % len(inputs)
    positions = torch.linspace(-BEYOND, 1 + BEYOND, stations).double()
    reconstruct = reconstruction_map(fields.double_model(run))
    along = fields.along_segments(reconstruct, inputs[first], inputs[second], positions, sigma)
    return pd.DataFrame(
        {
            "kind": SEGMENT,
            "pair": np.repeat(np.arange(pairs), stations),
            "position": np.tile(positions.numpy(), pairs),
            "length": (inputs[second] - inputs[first]).norm(dim=1).repeat_interleave(stations).numpy(),
            "along": along.flatten().numpy(),
            "sigma": sigma,
        }
    )


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Over validation examples: the median cosine, and the relative error √(Σ‖learned - true‖² / Σ‖true‖²), against
    the score, and the same error against the score of the data with the noise. Nothing where no score is known.
    """
    points = table[table["kind"] == VALID]
    if points.empty:
        return {}
    return {
        "score cosine": points["cosine"].median(),
        "score relative error": overall_error(points, "true"),
        "blurred score cosine": points["blurred cosine"].median(),
        "blurred score relative error": overall_error(points, "blurred"),
    }


def overall_error(points: pd.DataFrame, against: str) -> float:
    """√(Σ‖learned - true‖² / Σ‖true‖²): where the score is small, at a mode, a ratio of its own would mean little."""
    learned, true = (points[[f"{name} x", f"{name} y"]].to_numpy() for name in ("learned", against))
    return float(np.linalg.norm(learned - true) / np.linalg.norm(true))


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Arrows over the density, the learned against the true; or the field along segments."""
    return score_figure(table, axes)
