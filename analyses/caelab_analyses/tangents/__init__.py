"""Tangent images: the directions in input space that an encoder responds to most, beside their example.

The leading right singular vectors v_1, v_2, ... of J_f(x) span what the code does not ignore near x: the encoder's
estimate of the data manifold's tangent space (Rifai et al. 2011, NIPS).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.plotting import display_name, paper_style
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.float64 import leading_tangents
from caelab_analyses.shared.tiles import Tile

SHOWN = 16  # images in the small picture of a run
SPACE = 0.35  # of a tile, between example, tangents and walk

title = "Tangents"
caption = (
    "An example, and the directions in which its code changes most (leading right singular vectors). Directions "
    "that look like small deformations of the example follow the data's manifold; noise does not. The walk moves "
    "the example along one of them."
)
default = True


def measure(
    run: Run,
    streams: Streams,
    *,
    examples: Count = 2,
    tangents: Count = 5,
    along: Count = 2,
    reach: Positive = 6.0,
    steps: Count = 5,
) -> pd.DataFrame:
    """The leading tangents of a few validation examples, and a walk x + t·v_k along one of them.

    A singular vector has no sign; here its entry of largest size is positive.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many, each of another class where the data have labels.
        tangents: how many per example, or all if the code has fewer units.
        along: k, the tangent of the walk; on images the first is often no more than the brightness of the background.
        reach: T, how far the walk goes either way, as a distance in input space.
        steps: stations of the walk, evenly from -T to T.

    Returns:
        One row per image: ``example`` (its position among the validation examples), ``role`` (example, tangent or
        walk), ``rank`` from 1 (0 for the example), ``t``, ``singular_value``, ``pixels``, ``height``, ``width``.
    """
    chosen = images.distinct_examples(run.dataset, examples)
    inputs = run.dataset.valid_inputs[chosen]
    values, directions = leading_tangents(run, inputs, max(tangents, along))
    directions = _with_sign(directions)
    along = min(along, directions.shape[1])
    times = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    shape = run.dataset.image_shape
    rows = []
    for position, example, singular, vectors in zip(chosen, inputs.double(), values.tolist(), directions, strict=True):
        shown = list(zip(singular, vectors, strict=True))[:tangents]
        described = [
            ("example", 0, 0.0, np.nan, example),
            *(("tangent", rank, 0.0, value, vector) for rank, (value, vector) in enumerate(shown, start=1)),
            *(("walk", along, t, singular[along - 1], example + t * vectors[along - 1]) for t in times.tolist()),
        ]
        rows += [_row(position, *description, shape) for description in described]
    return pd.DataFrame(rows)


def _with_sign(directions: Tensor) -> Tensor:
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


def preview(table: pd.DataFrame) -> images.Array:
    """A line per example of one run: the example, then its leading tangents."""
    limits = images.brightness(table[table["role"] == "example"])
    shown = table[table["role"] != "walk"]
    columns = min(len(shown) // shown["example"].nunique(), SHOWN)
    kept = shown[shown["rank"] < columns].head(columns * (SHOWN // columns))
    signed, plain = images.tiles_in(kept, None), images.tiles_in(kept, limits)
    tiles = [plain[n] if role == "example" else signed[n] for n, role in enumerate(kept["role"])]
    return images.sheet(tiles, columns)


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Example, tangents and walk: a line per model, a block per example; one seed, whatever the table holds."""
    shown, seed = images.first_seed(table)
    models = list(shown["model"].unique())
    columns = _columns(shown)
    limits = images.brightness(shown[shown["role"] == "example"])
    tiles: list[Tile] = []
    lines: dict[float, str] = {}
    for block, (_, of_example) in enumerate(shown.groupby("example", sort=False)):
        for line, model in enumerate(models):
            at = block * (len(models) + SPACE) + line
            tiles += _line(of_example[of_example["model"] == model], at, columns, limits)
            lines[at] = display_name(model)
    found = images.board(axes, tiles, _title(shown, seed), of="tangents")
    images.label_rows(found[0], lines)
    headings = {at: _heading(key) for key, at in columns.items()}
    if not images.labels_fit(found[0], headings):
        headings = {at: text.replace("t = ", "") for at, text in headings.items()}
    images.label_columns(found[0], headings)
    return found.finished()


Column = tuple[str, int, float]  # role, rank of a tangent, t of a walk


def _line(rows: pd.DataFrame, at: float, columns: Mapping[Column, float], limits: tuple[float, float]) -> list[Tile]:
    return [
        Tile(at, columns[key], images.pixels_of(row), None if key[0] == "tangent" else limits)
        for key, row in zip(_keys(rows), rows.itertuples(), strict=True)
    ]


def _keys(rows: pd.DataFrame) -> list[Column]:
    ranks = rows["rank"].where(rows["role"] == "tangent", 0)  # a narrow code may walk along another tangent
    return list(zip(rows["role"], ranks, rows["t"], strict=True))


def _columns(shown: pd.DataFrame) -> dict[Column, float]:
    """Where each column stands, whichever models have it."""
    spaces = {"example": 0.0, "tangent": SPACE, "walk": 2 * SPACE}
    keys = sorted(set(_keys(shown)))  # the roles happen to be in alphabetical order
    return {key: number + spaces[key[0]] for number, key in enumerate(keys)}


def _heading(column: Column) -> str:
    role, rank, t = column
    return {"example": "$x$", "tangent": f"$v_{{{rank}}}$", "walk": f"$t = {t:g}$"}[role]


def _title(shown: pd.DataFrame, seed: int) -> str:
    walked = shown.loc[shown["role"] == "walk", "rank"].max()
    return (
        f"$x$, leading right singular vectors of the Jacobian (each on its own symmetric scale), "
        f"$x + t\\,v_{{{walked}}}$ (clipped). Seed {seed}."
    )
