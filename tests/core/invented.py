"""A comparison with invented numbers near those measured on MNIST, and analyses that draw them."""

from types import ModuleType

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from caelab.report.store import Comparison
from caelab.runs.recipes import recipe_config
from caelab.study.outcomes import Problem

# model: norm, saturated, reconstruction, bump height, effective rank, nearest-to-random ratio, error
MODELS = {
    "ae": (11.0, 0.33, 65, 1.0, 50, 2.3, 10.0),
    "ae-wd": (7.5, 0.17, 78, 1.0, 40, 2.4, 9.8),
    "dae-g": (8.3, 0.37, 76, 1.0, 45, 2.5, 9.0),
    "dae-b": (8.8, 0.46, 103, 1.0, 44, 2.6, 9.5),
    "sparse-ae": (7.2, 0.67, 90, 1.0, 38, 3.0, 9.7),
    "cae": (3.9, 0.64, 94, 1.14, 20, 3.6, 9.1),
    "rbm": (13.2, 0.53, 61, 1.0, 60, 2.1, 10.2),
}
COLUMNS = (
    "mean norm",
    "saturated share",
    "reconstruction error",
    "bump height",
    "effective rank",
    "nearest-to-random ratio",
    "fine-tuned error",
)
SPREAD = (0.03, 0.004, 0.5, 0.003, 0.3, 0.03, 0.4)


def invented_rows(models=MODELS, seeds=3):
    """One row per model and seed; a curve of height 1 has no bump, so neither spread nor radius."""
    rng = np.random.default_rng(0)
    rows = []
    for model, centres in models.items():
        for seed in range(seeds):
            noise = rng.normal(0, SPREAD)
            row = dict(zip(COLUMNS, np.array(centres) + noise, strict=True))
            flat = centres[3] == 1
            row |= {"bump height": 1.0 if flat else row["bump height"], "bump radius": np.nan if flat else 20.0}
            row |= {
                "mean squared norm": row["mean norm"] ** 2,
                "mean squared entry": row["mean norm"] ** 2 / 300 / 784,
                "singular values above threshold": 2 * row["effective rank"],
                "linear-probe error": row["fine-tuned error"] + 2,
                "fine-tuned validation error": row["fine-tuned error"],
            }
            rows.append({"model": model, "seed": seed, **row, "run": f"{model}-{seed}"})
    return pd.DataFrame(rows)


def invented_comparison(rows=None, tables=None, problems=()):
    """Seven models and three seeds, on data that the paper has too."""
    rows = invented_rows() if rows is None else rows
    labels = list(rows["model"].drop_duplicates())
    configs = [recipe_config(label).as_dict() for label in labels]
    tables = {"dots": rows[["model", "seed", "mean norm"]]} if tables is None else tables
    versions = {"python": "3.11.0", "caelab": "0.1.0"}
    seeds = [int(seed) for seed in rows["seed"].drop_duplicates()]
    return Comparison("caelab compare --out <here>", configs, seeds, list(problems), versions, rows, tables)


def a_problem(analysis="dots", model="rbm", message="it fails", applies=True):
    return Problem(model, analysis, message, applies)


def analysis(name, draw, about="How far each model is.\n\nMore about it."):
    """A third-party analysis: a module with ``measure`` and ``draw``."""
    module = ModuleType(name, about)
    module.measure = lambda run, streams: None
    module.draw = draw
    return module


def dots(table):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(table["mean norm"], "o-", label="a & b")
    return figure


def noise(table):
    """So many small rectangles that vectors are larger than pixels."""
    figure = Figure(figsize=(3, 2))
    figure.subplots().pcolormesh(np.random.default_rng(0).random((60, 60)))
    return figure


def fails(table):
    raise KeyError("no such column")
