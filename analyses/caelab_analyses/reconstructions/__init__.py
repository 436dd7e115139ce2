"""Images of inputs, of what the encoder was given, and of what the decoder makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.plotting import display_name, paper_style
from caelab.errors import NotApplicable
from caelab.options import Count
from caelab.registry.catalogue import catalogue
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.plugins import TrainingPlugins, make_regularizers
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.tiles import Tile

SHOWN = 8  # examples in the small picture of a run
ROLES = ("input", "corrupted", "reconstructed")

title = "Reconstructions"
caption = "Inputs and what each model makes of them. Strong regularization shows as blur."
default = True


def measure(run: Run, streams: Streams, *, examples: Count = 10) -> pd.DataFrame:
    """Validation examples and their reconstructions, corrupted before if the run was trained on corrupted inputs.

    Args:
        run: the trained model and its data.
        streams: the noise of the run's own corruption.
        examples: how many, each of another class as far as the labels go.

    Returns:
        One row per image: ``example`` (its position among the validation examples), ``role`` (input, corrupted,
        reconstructed), ``squared_error`` ‖image - input‖² (sum over the input's entries), ``pixels``, ``height``,
        ``width``.

    Raises:
        NotApplicable: the model cannot decode.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"reconstructions need a model with decode(code), but {run.label!r} only encodes")
    chosen = images.distinct_examples(run.dataset, examples)
    clean = run.dataset.valid_inputs[chosen]
    corrupted = corrupt(run, clean, streams)
    pictures = {
        "input": clean,
        "corrupted": corrupted,
        "reconstructed": run.reconstruct(clean if corrupted is None else corrupted),
    }
    shape = run.dataset.image_shape
    rows = [
        {"example": example, "role": role, "squared_error": float((image - original).square().sum())}
        | images.picture(image, shape)
        for role, batch in pictures.items()
        if batch is not None
        for example, original, image in zip(chosen, clean, batch, strict=True)
    ]
    return pd.DataFrame(rows)


def corrupt(run: Run, clean: Tensor, streams: Streams) -> Tensor | None:
    """The inputs as the run's own corruption leaves them after its last epoch; None for a run without one."""
    plugins = TrainingPlugins(make_regularizers(run.config, catalogue()))
    if not plugins.implements("corrupt_input"):
        return None
    with torch.no_grad():
        corrupted: Tensor = plugins.call("corrupt_input", max(len(run.metrics), 1), clean=clean, streams=streams)
    return corrupted


def preview(table: pd.DataFrame) -> images.Array:
    """A line of inputs of one run, above a line of what the model makes of them."""
    limits = images.brightness(table[table["role"] != "corrupted"])
    lines = [table[table["role"] == role].head(SHOWN) for role in ("input", "reconstructed")]
    return images.sheet([tile for line in lines for tile in images.tiles_in(line, limits)], len(lines[0]))


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """The inputs, then a line per model under what it was given, if that was corrupted; one seed, whatever there is."""
    shown, seed = images.first_seed(table)
    limits = images.brightness(shown[shown["role"] != "corrupted"])
    tiles: list[Tile] = []
    names: dict[float, str] = {}
    for at, (name, rows) in enumerate(_lines(shown)):
        names[at] = name
        tiles += [Tile(at, column, images.pixels_of(row), limits) for column, row in enumerate(rows.itertuples())]
    found = images.board(
        axes, tiles, f"Validation examples and their reconstructions. Seed {seed}.", of="reconstructions"
    )
    images.label_rows(found[0], names)
    found[0].set_xticks([])
    return found.finished()


def _lines(shown: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """What stands in each line; the inputs stand once for all models that have the same."""
    above: list[list[float]] = []
    for model, rows in shown.groupby("model", sort=False):
        parts = {role: rows[rows["role"] == role] for role in ROLES}
        inputs = [list(pixels) for pixels in parts["input"]["pixels"]]
        if inputs != above:
            yield "input", parts["input"]
        above = inputs
        if len(parts["corrupted"]):
            yield f"{display_name(str(model))}, input", parts["corrupted"]
        yield display_name(str(model)), parts["reconstructed"]
