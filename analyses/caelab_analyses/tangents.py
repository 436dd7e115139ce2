"""The directions in input space that an encoder responds to most, as images beside the example they belong to.

The leading right singular vectors v_1, v_2, ... of J_f(x) span what the code does not ignore near x: the encoder's
estimate of the data manifold's tangent space (Rifai et al. 2011, NIPS).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from caelab.figures import FULL_WIDTH
from caelab.jacobian.service import jacobian
from caelab.options import Count, Positive
from caelab.runs import Run
from caelab.streams import Streams
from matplotlib.figure import Figure
from torch import Tensor

from caelab_analyses import images
from caelab_analyses.images import Tile
from caelab_analyses.precision import double_encoder

SPACE = 0.35  # of a tile, between example, tangents and walk


def measure(
    run: Run,
    streams: Streams,
    *,
    examples: Count = 2,
    tangents: Count = 5,
    reach: Positive = 4.0,
    steps: Count = 5,
) -> pd.DataFrame:
    """The leading tangents of a few validation examples, and a walk x + t·v_1 along the first.

    A singular vector has no sign; here its entry of largest size is positive.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many, each of another class where the data have labels.
        tangents: how many per example.
        reach: T, how far the walk goes either way, as a distance in input space.
        steps: stations of the walk, evenly from -T to T.

    Returns:
        One row per image: ``example`` (its position among the validation examples), ``role`` (example, tangent or
        walk), ``rank`` from 1 (0 for the example), ``t``, ``singular_value``, ``pixels``, ``height``, ``width``.
    """
    chosen = images.distinct_examples(run.dataset, examples)
    inputs = run.dataset.valid_inputs[chosen].double()
    values, directions = jacobian(double_encoder(run), inputs).tangents(tangents)
    directions = with_sign(directions.detach())
    times = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    shape = run.dataset.image_shape
    rows = []
    for position, example, singular, tangent in zip(chosen, inputs, values.tolist(), directions, strict=True):
        described = [
            ("example", 0, 0.0, np.nan, example),
            *(("tangent", rank, 0.0, s, v) for rank, (s, v) in enumerate(zip(singular, tangent, strict=True), 1)),
            *(("walk", 1, t, singular[0], example + t * tangent[0]) for t in times.tolist()),
        ]
        rows += [_row(position, *description, shape) for description in described]
    return pd.DataFrame(rows)


def with_sign(directions: Tensor) -> Tensor:
    """The directions with the entry of largest size made positive, shape (..., input)."""
    largest = directions.abs().argmax(dim=-1, keepdim=True)
    return directions * directions.gather(-1, largest).sign()


def _row(
    example: int, role: str, rank: int, t: float, singular_value: float, values: Tensor, shape: Any
) -> dict[str, Any]:
    return {
        "example": example,
        "role": role,
        "rank": rank,
        "t": t,
        "singular_value": singular_value,
        **images.picture(values, shape),
    }


def draw(table: pd.DataFrame) -> Figure:
    """Example, tangents and walk: a line per model, a block per example; one seed, whatever the table holds."""
    shown, seed = images.first_seed(table)
    models = list(shown["model"].unique())
    limits = images.brightness(shown[shown["role"] == "example"])
    tiles, lines = [], {}
    for block, (_, of_example) in enumerate(shown.groupby("example", sort=False)):
        for line, model in enumerate(models):
            at = block * (len(models) + SPACE) + line
            tiles += _line(of_example[of_example["model"] == model], at, limits)
            lines[at] = model
    reach = shown["t"].abs().max()
    title = (
        f"$x$, its leading tangents (own symmetric scale each), and $x + t\\,v_1$, |t| ≤ {reach:g} (clipped). "
        f"Seed {seed}."
    )
    figure, axes = images.board(tiles, FULL_WIDTH, title)
    images.label_rows(axes, lines)
    images.label_columns(axes, _headings(shown))
    return figure


def _line(rows: pd.DataFrame, at: float, limits: tuple[float, float]) -> list[Tile]:
    columns = _columns(rows)
    return [
        Tile(at, columns[row.role, row.rank, row.t], images.pixels_of(row), None if row.role == "tangent" else limits)
        for row in rows.itertuples()
    ]


def _columns(rows: pd.DataFrame) -> dict[tuple[str, int, float], float]:
    spaces = {"example": 0.0, "tangent": SPACE, "walk": 2 * SPACE}
    keys = list(zip(rows["role"], rows["rank"], rows["t"], strict=True))
    return {key: number + spaces[key[0]] for number, key in enumerate(keys)}


def _headings(shown: pd.DataFrame) -> dict[float, str]:
    texts = {"example": "$x$", "tangent": "$v_{{{rank}}}$", "walk": "{t:g}"}
    of_example = shown[shown["example"] == shown["example"].iloc[0]]
    first = of_example[of_example["model"] == of_example["model"].iloc[0]]
    return {at: texts[role].format(rank=rank, t=t) for (role, rank, t), at in _columns(first).items()}
