"""A sheet of examples of data sets: which ones, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.plotting import PAGE_WIDTH, paper_style
from caelab.data import Dataset
from caelab.errors import CaelabError

COLUMNS = 10
GAP = 0.06  # of a tile, between neighbours
BETWEEN = "0.65"  # grey, so that white images end where they do
BESIDE = 1.25  # inches for the names


def chosen_examples(dataset: Dataset, count: int) -> list[int]:
    """Indices of training examples, one of each label in turn, each label's in their order; fewer if there are fewer.

    >>> from caelab.data import load_dataset
    >>> digits = load_dataset("digits")
    >>> digits.labels[chosen_examples(digits, 12)].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    """
    train = dataset.train.tolist()
    if dataset.labels is None:
        return train[:count]
    labels = dataset.labels[dataset.train].tolist()
    waiting = {label: iter([i for i, other in zip(train, labels, strict=True) if other == label]) for label in labels}
    turns = (next(waiting[label], None) for label in cycle(sorted(waiting)))
    return [found for found in islice(turns, count * (1 + len(waiting))) if found is not None][:count]


@paper_style()
def example_sheet(datasets: Sequence[Dataset], lines: int = 1) -> Figure:
    """Examples of data sets, each in so many lines of ten with its name beside; grey from black to white.

    Raises:
        CaelabError: a data set has no images.
    """
    size = (PAGE_WIDTH - BESIDE) / COLUMNS
    rows = len(datasets) * lines
    figure = Figure(figsize=(PAGE_WIDTH, rows * size))
    axes = figure.add_axes((BESIDE / PAGE_WIDTH, 0, 1 - BESIDE / PAGE_WIDTH, 1))
    for number, dataset in enumerate(datasets):
        _draw_lines(axes, dataset, number * lines, lines)
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0), aspect="equal", xticks=[], facecolor=BETWEEN)
    axes.set_yticks([(number + 0.5) * lines for number in range(len(datasets))], [each.name for each in datasets])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return figure


def _draw_lines(axes: Axes, dataset: Dataset, first: int, lines: int) -> None:
    if dataset.image_shape is None:
        raise CaelabError(
            f"data set {dataset.name!r} has no images to draw: its examples are vectors of {dataset.inputs.shape[1]} "
            "values without an image shape; name one of images"
        )
    low, high = dataset.value_range
    low, high = min(low, 0.0), max(high, 1.0)
    for place, index in enumerate(chosen_examples(dataset, lines * COLUMNS)):
        row, column = divmod(place, COLUMNS)
        image = dataset.inputs[index].double().numpy().reshape(dataset.image_shape)
        top, left = first + row + GAP / 2, column + GAP / 2
        axes.imshow(
            np.clip((image - low) / (high - low), 0, 1),
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(left, left + 1 - GAP, top + 1 - GAP, top),
            interpolation="none",
        )
