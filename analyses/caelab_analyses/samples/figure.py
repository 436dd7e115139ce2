"""The figure of sampling chains: trajectories over a density in the plane, strips of images for other data."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import COLUMN_WIDTH, PAGE_WIDTH, display_name, look, marks, panels, paper_style, strokes
from caelab.runs.recipes import Look
from caelab_analyses.score_field.figure import contours
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.tiles import Tile

LANGEVIN, WALK, TRUTH = "langevin", "walk", "truth"
TITLES = {LANGEVIN: "Langevin", WALK: "walk"}
LINES = 100  # states of a chain that are joined by lines; the later ones are dots


@paper_style()
def sampling_figure(table: pd.DataFrame, axes: Any = None) -> Figure:
    """One seed: a panel per model and sampler in the plane, a strip per model, sampler and chain of images."""
    shown, seed = images.first_seed(table)
    return strips(shown, seed, axes) if "pixels" in shown else plane(shown, axes)


def plane(shown: pd.DataFrame, axes: Any = None) -> Figure:
    """The first states joined by lines, all as dots, over the density."""
    looks = look(shown["model"])
    samplers = [name for name in TITLES if (shown["sampler"] == name).any()]
    width = PAGE_WIDTH if len(looks) > 1 else COLUMN_WIDTH
    side = min(width / len(looks), 2.6)
    shared: dict[str, Any] = {"sharex": "col", "sharey": "col"}
    size = (width, (side + 0.2) * len(samplers))
    found = panels(axes, len(samplers), len(looks), of="samples", size=size, grows="square", **shared)
    for column, (model, style) in enumerate(looks.items()):
        for line, sampler in enumerate(samplers):
            rows = shown[shown["model"] == model]
            if (rows["sampler"] == sampler).any():
                _trajectory(found.grid[line, column], rows, sampler, style)
                found.grid[line, column].set_title(f"{display_name(model)}: {TITLES[sampler]}")
            else:
                found.grid[line, column].set_axis_off()
    return found.finished()


def _trajectory(axes: Axes, rows: pd.DataFrame, sampler: str, style: Look) -> None:
    """The states of the chains of one sampler."""
    truth = rows[rows["sampler"] == TRUTH]
    if len(truth):
        contours(axes, truth, truth["log density"].to_numpy())
        axes.set(xlim=(truth["x"].min(), truth["x"].max()), ylim=(truth["y"].min(), truth["y"].max()))
    for _, chain in rows[rows["sampler"] == sampler].groupby("chain"):
        axes.plot(chain["x"], chain["y"], ".", color=style.color, markersize=marks(1.5), zorder=3)
        axes.plot(
            chain["x"][:LINES], chain["y"][:LINES], color=style.color, linewidth=strokes(0.4), alpha=0.6, zorder=3
        )
        axes.plot(chain["x"][:1], chain["y"][:1], "s", color="black", markersize=marks(4), zorder=4)
    axes.set(xlabel="$x_1$ (input units)", ylabel="$x_2$ (input units)")
    axes.set_aspect("equal", adjustable="box")
    axes.grid(visible=False)


def strips(shown: pd.DataFrame, seed: int, axes: Any = None) -> Figure:
    """States from left to right, a row per chain."""
    limits = images.brightness(shown[shown["step"] == 0])
    tiles: list[Tile] = []
    names: dict[float, str] = {}
    columns = {step: float(column) for column, step in enumerate(sorted(shown["step"].unique()))}
    groups = shown.groupby(["model", "sampler", "chain"], sort=False)
    for line, ((model, sampler, _), rows) in enumerate(groups):
        names[float(line)] = f"{display_name(str(model))} {TITLES[str(sampler)]}"
        tiles += [Tile(line, columns[row.step], images.pixels_of(row), limits) for row in rows.itertuples()]
    title = f"States of a chain after so many steps (clipped). Seed {seed}."
    found = images.board(axes, tiles, title, of="samples")
    images.label_rows(found[0], names)
    images.label_columns(found[0], {at: f"{step:g}" for step, at in columns.items()})
    return found.finished()
