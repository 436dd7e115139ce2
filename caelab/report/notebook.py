"""What a notebook shows of an object: a few lines of HTML with its picture, which need no script and no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import singledispatch
from html import escape
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from caelab.analysis.contract import load_analysis, title_of
from caelab.analysis.plotting import COLUMN_WIDTH, paper_style, stored_appearances
from caelab.data import Dataset
from caelab.data.dataset import called
from caelab.errors import CaelabError
from caelab.report.comparison import Comparison
from caelab.report.tables import Table, short_table
from caelab.runs.run import Run

DOTS = 140  # per inch, of a picture in a notebook
SHOWN = 24  # examples in the picture of a data set
ACROSS = 12
BEST = "font-weight:bold"


@singledispatch
def html_of(thing: Any) -> str:
    """What Jupyter shows of a run, a comparison or a data set, as HTML; of anything else its ``repr``.

    Args:
        thing: the object.

    Returns:
        HTML without scripts; pictures are inside.
    """
    return f"<pre>{escape(repr(thing))}</pre>"


@html_of.register
def _(thing: Run) -> str:
    return _together(
        repr(thing),
        _facts(_of_run(thing)),
        _picture(_history(thing), "Reconstruction error over the epochs") if thing.metrics else "",
    )


@html_of.register
def _(thing: Comparison) -> str:
    with stored_appearances(thing.stored.appearances):
        table = short_table(thing.stored.rows, thing.columns)
        figure = _first_figure(thing)
    counts = thing.findings["verdict"].value_counts()
    findings = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    facts = {"findings": findings or "none", "folder": str(thing.path)}
    return _together(repr(thing), "" if table is None else _table(table), _facts(facts), figure)


@html_of.register
def _(thing: Dataset) -> str:
    sizes = f"{len(thing.train)} train, {len(thing.valid)} valid, {len(thing.test)} test"
    classes = "none" if thing.labels is None else str(len({*thing.labels.tolist()}))
    low, high = thing.value_range
    facts = {"examples": sizes, "inputs": f"{thing.inputs.shape[1]} from {low:.3g} to {high:.3g}", "classes": classes}
    return _together(f"<Dataset {called(thing)}>", _facts(facts), "" if thing.image_shape is None else _examples(thing))


def _of_run(run: Run) -> dict[str, str]:
    last = run.metrics[-1] if run.metrics else {}
    data = run.dataset
    return {
        "data": f"{called(data)}, {len(data.train)} to train, {len(data.valid)} to validate, {len(data.test)} to test",
        "model": f"{run.config.model.kind} {_options(run.config.model.options)}",
        "regularizers": "; ".join(f"{n} {_options(b.options)}" for n, b in run.config.regularizers.items()) or "none",
        **({"last epoch": ", ".join(f"{k} {v:.4g}" for k, v in last.items() if k != "epoch")} if last else {}),
    }


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _history(run: Run) -> Figure:
    """The reconstruction error over the epochs, of training and of validation examples."""
    history = run.history
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 1.9), layout="constrained")
        axes = figure.subplots()
        for column, name, style in (
            ("train_reconstruction", "training", "-"),
            ("valid_reconstruction", "validation", "--"),
        ):
            if column in history:
                axes.plot(range(1, len(history) + 1), history[column], style, label=name)
        axes.set(xlabel="epoch", ylabel="error per example\n(sum over inputs)")
        axes.legend()
    return figure


def _first_figure(thing: Comparison) -> str:
    """The figure of the first analysis that has a column in the main table, or of the first that can be drawn."""
    names = sorted(thing.stored.tables, key=lambda name: not _is_main(name))
    for name in names:
        with suppress(CaelabError):  # another one is drawn
            return _picture(thing.figure(name), title_of(name))
    return ""


def _is_main(name: str) -> bool:
    with suppress(CaelabError):
        return any(column.table == "main" for column in getattr(load_analysis(name), "columns", ()))
    return False


def _examples(data: Dataset) -> str:
    """Training examples side by side, as they stand in the data, on one scale."""
    assert data.image_shape is not None
    images = data.inputs[data.train[:SHOWN]].reshape(-1, *data.image_shape).numpy()
    across = min(len(images), ACROSS)
    down = ceil(len(images) / across)
    low, high = float(images.min()), float(images.max())
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH, COLUMN_WIDTH * down / across), layout="constrained")
        for axes in np.ravel(figure.subplots(down, across, squeeze=False)):
            axes.set_axis_off()
        for axes, image in zip(figure.axes, images, strict=False):
            scaled = (image - low) / (high - low or 1)
            axes.imshow(scaled, cmap="gray", vmin=0, vmax=1)
    return _picture(figure, "Training examples")


def _picture(figure: Figure, what: str) -> str:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS)
    width = round(figure.get_figwidth() * 100)
    code = b64encode(drawn.getvalue()).decode()
    look = f"width:{width}px;max-width:100%;background:white"
    return f'<img alt="{escape(what)}" style="{look}" src="data:image/png;base64,{code}">'


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in facts.items()
    )
    return f"<table>{rows}</table>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(row: Iterable[Any]) -> Iterable[str]:
    for cell in row:
        style = f' style="{BEST}"' if cell.best else ""
        yield f"<td{style}>{escape(cell.text)}</td>"


def _together(first: str, *parts: str) -> str:
    return f"<div><p><code>{escape(first)}</code></p>{''.join(parts)}</div>"
