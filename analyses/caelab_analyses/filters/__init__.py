"""The weights of an encoder's first layer as images: what each unit looks for in the input."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from caelab.analysis.plotting import PAGE_WIDTH, display_name, page_width, paper_style
from caelab.errors import NotApplicable
from caelab.jacobian.layers import AffineLayer
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.tiles import Tile

COLUMNS = 16
SHOWN = 16  # in the small picture of a run

title = "Filters"
caption = (
    "What each unit of the first layer looks for: red adds to its activation, blue subtracts. Local strokes and "
    "edges are features; a filter of noise has learnt nothing."
)
default = True


def measure(
    run: Run,
    streams: Streams,
    *,
    count: Count = 32,
    choice: Literal["largest norm", "random"] = "largest norm",
) -> pd.DataFrame:
    """The filters of ``count`` units of the first affine or convolutional layer.

    Args:
        run: the trained model and its data.
        streams: draws the units where the choice is random.
        count: how many units, or all if there are fewer.
        choice: the units with the largest ‖w_j‖, in that order, or units drawn at random.

    Returns:
        One row per unit: ``unit``, ``norm`` ‖w_j‖, ``units`` (how many there are), ``choice``, ``pixels``,
        ``height``, ``width``. A convolutional filter is averaged over its input channels.

    Raises:
        NotApplicable: the encoder has no such layer.
    """
    weight = first_weight(run.model)
    norms = weight.flatten(1).norm(dim=1)
    if choice == "random":
        chosen = torch.randperm(len(weight), generator=streams["filters"])[:count]
    else:
        chosen = norms.argsort(descending=True)[:count]
    shape = _filter_shape(weight, run)
    rows = [
        {"unit": unit, "norm": float(norms[unit]), "units": len(weight), "choice": choice}
        | images.picture(weight[unit] if weight.ndim == 2 else weight[unit].mean(dim=0), shape)
        for unit in chosen.tolist()
    ]
    return pd.DataFrame(rows)


def first_weight(model: Any) -> Tensor:
    """The weight of the encoder's first affine (units, input) or convolutional (units, channels, height, width) layer.

    Raises:
        NotApplicable: there is none.
    """
    encoder = model.encode if isinstance(model.encode, nn.Module) else model
    for layer in encoder.modules():
        if isinstance(layer, AffineLayer):
            return layer.affine()[0].detach()
        if isinstance(layer, nn.Linear | nn.Conv2d):
            return layer.weight.detach()
    raise NotApplicable(
        f"filters are the weights of a first affine or convolutional layer, but {type(encoder).__name__} has neither"
    )


def _filter_shape(weight: Tensor, run: Run) -> tuple[int, ...] | None:
    if weight.ndim == 4:
        return tuple(weight.shape[2:])
    fits = weight.shape[1] == run.dataset.inputs.shape[1]
    return run.dataset.image_shape if fits else None


def preview(table: pd.DataFrame) -> images.Array:
    """The first filters of one run, each on its own symmetric scale."""
    return images.sheet(images.tiles_in(table.head(SHOWN), None))


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A block of filters per model, each filter on its own symmetric scale; one seed, whatever the table holds."""
    shown, seed = images.first_seed(table)
    tiles, lines = [], {}
    at, columns = 0.0, COLUMNS if axes is not None else min(COLUMNS, round(COLUMNS * page_width() / PAGE_WIDTH))
    for model, rows in shown.groupby("model", sort=False):
        lines[at] = display_name(str(model))
        places = images.wrapped(len(rows), columns)
        tiles += [
            Tile(at + line, column, images.pixels_of(row))
            for (line, column), row in zip(places, rows.itertuples(), strict=True)
        ]
        at += images.lines_needed(len(rows), columns) + 0.35
    found = images.board(axes, tiles, _title(shown, seed), of="filters")
    images.label_rows(found[0], lines)
    found[0].set_xticks([])
    return found.finished()


def _title(shown: pd.DataFrame, seed: int) -> str:
    counts = shown.groupby("model").size()
    chosen = "with the largest norm, in that order" if (shown["choice"] == "largest norm").all() else "drawn at random"
    units = ", ".join(str(n) for n in sorted(shown["units"].unique()))
    return (
        f"First-layer weights of {counts.max()} of {units} units {chosen}.\n"
        f"Each filter on its own symmetric scale: red positive, white zero, blue negative. Seed {seed}."
    )
