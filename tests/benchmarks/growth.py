"""How time and memory grow with units, inputs, batch and examples."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch.func import jacrev, vmap

from caelab import jacobian
from caelab.analysis.plotting import PAGE_WIDTH, paper_style
from tests.benchmarks.measure import Work
from tests.benchmarks.memory import peaks_of
from tests.benchmarks.models import fresh, quietly, random_inputs

START = {"units": 500, "inputs": 784, "batch": 16, "examples": 16}
AXES = {
    "units": (63, 125, 250, 500, 1000),
    "inputs": (98, 196, 392, 784, 1568),
    "batch": (1, 4, 16, 64),
    "examples": (16, 32, 64, 128),
}
WAYS = {
    "exact norm": {"color": "#d55e00", "marker": "*", "linestyle": "-"},
    "spectrum": {"color": "#0072b2", "marker": "^", "linestyle": "-"},
    "vmap(jacrev)": {"color": "#000000", "marker": "o", "linestyle": "--"},
}
BUDGET = 64 * 2**20


def work(way: str, units: int, inputs: int, batch: int, examples: int, device: str = "cpu") -> Work:
    """One way over all examples, so many at once."""
    encode, x = fresh(inputs, units, device), random_inputs(examples, inputs, device=device)
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "exact norm": lambda part: jacobian(encode, part, memory_budget=BUDGET).squared_norm(),
        "spectrum": lambda part: jacobian(encode, part, memory_budget=BUDGET).singular_values(),
        "vmap(jacrev)": lambda part: vmap(jacrev(encode))(part).square().flatten(1).sum(dim=1),
    }
    return quietly(lambda: [ways[way](part) for part in torch.split(x, batch)])


def table(quick: bool = False) -> pd.DataFrame:
    """Columns ``axis``, ``value``, ``way``, ``seconds`` and ``mebibytes``."""
    points = [
        (axis, value, way)
        for axis, values in AXES.items()
        for value in (values[::2] if quick else values)
        for way in WAYS
    ]
    jobs = [(way, *_sizes(axis, value)) for axis, value, way in points]
    peaks = peaks_of([("tests.benchmarks.growth:work", *job) for job in jobs])
    rows = [
        {"axis": axis, "value": value, "way": way, "seconds": seconds_of(work(*job)), "mebibytes": peak}
        for (axis, value, way), job, peak in zip(points, jobs, peaks, strict=True)
    ]
    return pd.DataFrame(rows)


def _sizes(axis: str, value: int) -> list[int]:
    """units, inputs, batch, examples; a larger batch has as many examples."""
    sizes = START | {axis: value}
    if axis == "batch":
        sizes["examples"] = value
    return list(sizes.values())


def seconds_of(compute: Work) -> float:
    """The least of a few runs, after one to warm up."""
    compute()
    least, spent = float("inf"), 0.0
    while spent < 0.15:
        started = time.process_time()
        compute()
        took = time.process_time() - started
        least, spent = min(least, took), spent + max(took, 1e-6)
    return least


@paper_style()
def draw(grown: pd.DataFrame) -> Figure:
    """Time above, memory below, one column for each thing that grows; both axes logarithmic."""
    figure, axes = plt.subplots(
        2, len(AXES), figsize=(PAGE_WIDTH, 3.4), layout="constrained", sharex="col", sharey="row"
    )
    for row, column in enumerate(("seconds", "mebibytes")):
        for place, axis in zip(axes[row], AXES, strict=True):
            _panel(place, grown[grown["axis"] == axis], column)
    for place, axis in zip(axes[1], AXES, strict=True):
        place.set_xlabel({"batch": "examples at once", "examples": "examples, 16 at once"}.get(axis, axis))
    axes[0, 0].set_ylabel("time (s)")
    axes[1, 0].set_ylabel("extra memory (MiB)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(WAYS))
    return figure


def _panel(place: Any, rows: pd.DataFrame, column: str) -> None:
    for way, style in WAYS.items():
        mine = rows[rows["way"] == way]
        place.plot(mine["value"], mine[column].clip(lower=0.1 if column == "mebibytes" else None), label=way, **style)
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    place.set_xticks(sorted(rows["value"].unique()), [str(v) for v in sorted(rows["value"].unique())])
    place.minorticks_off()
