"""Eigendistortions: the most and the least noticeable directions of an encoder at an example.

The change of the code along a unit vector e is, to first order, |t| ‖J e‖ = |t| √(eᵀ JᵀJ e); so the most noticeable
directions are the leading eigenvectors of JᵀJ, and the least noticeable the last ones. Berardino, Ballé, Laparra and
Simoncelli (2017), "Eigen-distortions of hierarchical representations", NIPS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.pieces import in_pieces
from caelab.jacobian.service import jacobian
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.eigendistortion.figure import LEAST, MOST, distortion_figure
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.float64 import Encoder, double_encoder

NOTHING = 1e-7  # of the largest singular value: less is rounding of a Gram matrix, √ε

title = "What an encoder notices most and least"
caption = (
    "Lines show how far the code moves when an example is moved along the most and the least noticeable direction of "
    "the encoder, leading and last eigenvector of JᵀJ; dotted is what the Jacobian predicts. A large distance between "
    "both panels means that the encoder is blind in some directions."
)
columns = (
    Column(name="most noticeable", heading="most\nnoticeable ‖Jv‖"),
    Column(name="least noticeable", heading="least\nnoticeable ‖Jv‖"),
    Column(name="log10 of most over least", heading="log₁₀ of actual\nmost / least"),
    Column(name="error of the prediction", heading="error of the\nprediction", better="smaller"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    examples: Count = 4,
    directions: Count = 1,
    reach: Positive = 1.0,
    steps: Count = 4,
) -> pd.DataFrame:
    """The change of the code along the most and the least noticeable directions, predicted and actual, in float64.

    Where the input has more dimensions than J has rank, whole subspaces are invisible to first order; the least
    noticeable directions are then orthonormal ones of the null space, drawn at random. Every singular vector has its
    entry of largest size positive.

    Args:
        run: the encoder and its data.
        streams: ``eigendistortion`` draws the directions of the null space.
        examples: how many validation examples, each of another class where the data have labels.
        directions: how many of either kind.
        reach: T, how far an example is moved, as a distance in input space.
        steps: stations of t in (0, T], and as many on the other side.

    Returns:
        One row per station: ``example``, ``role`` (example, most or least), ``rank`` (1 is the most or the least
        noticeable), ``t``, ``singular_value`` ‖J v‖, ``predicted`` |t| ‖J v‖, ``actual`` ‖f(x + t v) - f(x)‖,
        and ``pixels``, ``height``, ``width``: the example; at t = 0 the direction, at t = T what it makes of the
        example, else nothing.
    """
    chosen = images.distinct_examples(run.dataset, examples)
    encode, shape = double_encoder(run), run.dataset.image_shape
    times = torch.linspace(-reach, reach, 2 * steps + 1, dtype=torch.float64)
    rows: list[dict[str, Any]] = []
    for position, example in zip(chosen, in_pieces(run.dataset.valid_inputs[chosen], 1), strict=True):
        point = example.double()
        rows.append(_row(position, "example", 0, 0.0, np.nan, np.nan, images.picture(point, shape)))
        for role, rank, vector in _directions(encode, point, directions, streams["eigendistortion"]):
            rows += _stations(encode, point, vector, times, (position, role, rank), shape)
    return pd.DataFrame(rows)


def _directions(
    encode: Encoder, point: Tensor, count: int, generator: torch.Generator
) -> Iterator[tuple[str, int, Tensor]]:
    """Role, rank and unit vector (d,) of the most and of the least noticeable directions at one point (1, d)."""
    with torch.no_grad():
        dense = jacobian(encode, point).dense()[0]
    most, least = extreme_directions(dense, count, generator)
    for role, vectors in ((MOST, most), (LEAST, least)):
        yield from ((role, rank, vector) for rank, vector in enumerate(vectors, start=1))


def extreme_directions(matrix: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Unit eigenvectors of JᵀJ with the largest and with the smallest eigenvalues.

    From the Gram matrix on the smaller side, so that beside J only as much again is held. Singular values below 1e-7 of
    the largest count as 0.

    Args:
        matrix: J, shape (code, input), float64.
        count: k; fewer come back where there are no more.
        generator: of the directions in the null space, where that has any.

    Returns:
        Two of shape (k, input): the largest eigenvalue first; the smallest first.
    """
    code, width = matrix.shape
    count = min(count, width)
    if code >= width:
        vectors = torch.linalg.eigh(matrix.mT @ matrix).eigenvectors.mT  # the smallest first
        return _with_sign(vectors.flip(0)[:count]), _with_sign(vectors[:count])
    squares, left = torch.linalg.eigh(matrix @ matrix.mT)
    kept = squares > squares[-1] * NOTHING**2
    rows = (left[:, kept] / squares[kept].sqrt()).mT @ matrix  # right singular vectors, the smallest first
    random = torch.randn(count, width, dtype=matrix.dtype, generator=generator)
    for _ in range(2):  # what the first time leaves by rounding the second takes away
        random = random - (random @ rows.mT) @ rows
    null = torch.linalg.qr(random.mT).Q.mT[: width - len(rows)]
    least = torch.cat([null, rows])[:count]
    return _with_sign(rows.flip(0)[:count]), _with_sign(least)


def _with_sign(directions: Tensor) -> Tensor:
    """The directions with the entry of largest size made positive, shape (..., input)."""
    largest = directions.abs().argmax(dim=-1, keepdim=True)
    return directions * directions.gather(-1, largest).sign()


def _stations(
    encode: Encoder, point: Tensor, vector: Tensor, times: Tensor, about: tuple[int, str, int], shape: Any
) -> list[dict[str, Any]]:
    """The rows of one direction; one station is encoded at a time, so that large inputs stay cheap."""
    with torch.no_grad():
        slope = float(jacobian(encode, point).jvp(vector.reshape(point.shape)).norm())
        code = encode(point)
        found = []
        for t in times.tolist():
            moved = point + t * vector.reshape(point.shape)
            shown = {0.0: vector, float(times[-1]): moved}.get(t)
            cells = images.picture(shown, shape) if shown is not None else NO_PICTURE
            found.append(_row(*about, t, slope, float((encode(moved) - code).norm()), cells))
    return found


NO_PICTURE: dict[str, Any] = {"pixels": [], "height": 0, "width": 0}


def _row(
    example: int, role: str, rank: int, t: float, value: float, actual: float, cells: dict[str, Any]
) -> dict[str, Any]:
    return {
        "example": example,
        "role": role,
        "rank": rank,
        "t": t,
        "singular_value": value,
        "predicted": abs(t) * value,
        "actual": actual,
        **cells,
    }


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Means over examples of ‖J v‖, of log₁₀ of the ratio of actual changes at T, and of the prediction's error.

    The error is |actual - predicted| / predicted along the most noticeable direction at ±T: 0 for a linear encoder.
    """
    first = table[table["rank"] == 1]
    ends = first[first["t"].abs() == first["t"].max()]
    most, least = (ends[ends["role"] == role] for role in (MOST, LEAST))
    changes = [part.groupby("example")["actual"].mean() for part in (most, least)]
    floor = changes[0] * np.finfo(np.float64).eps  # a change of exactly 0 would have no logarithm
    return {
        "most noticeable": most["singular_value"].mean(),
        "least noticeable": least["singular_value"].mean(),
        "log10 of most over least": float(np.log10(changes[0] / np.maximum(changes[1], floor)).mean()),
        "error of the prediction": float(((most["actual"] - most["predicted"]).abs() / most["predicted"]).mean()),
    }


def preview(table: pd.DataFrame) -> images.Array:
    """A line per example of one run: the example, the most and the least noticeable direction."""
    shown = table[(table["rank"] <= 1) & (table["t"] == 0)]
    limits = images.brightness(shown[shown["role"] == "example"])
    signed, plain = images.tiles_in(shown, None), images.tiles_in(shown, limits)
    return images.sheet([plain[n] if role == "example" else signed[n] for n, role in enumerate(shown["role"])], 3)


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Actual and predicted changes of the code; below, the directions at the first example."""
    return distortion_figure(table, axes)
