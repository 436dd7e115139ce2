"""Drawing onto axes that are given, held against the analysis's own figure of the same table."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caelab.analysis.panels import WrongAxes

BAR = "<colorbar>"  # what matplotlib calls the axes of a colour bar


def drawn_alike(draw: Callable[..., Figure], table: pd.DataFrame) -> Figure:
    """The analysis's own figure, once the same data were found on axes that it was given."""
    own, count = draw(table.copy()), panels_told(draw, table)
    before = dict(mpl.rcParams)
    figure = Figure(layout="constrained")
    axes = figure.subplots(1, count)
    assert draw(table.copy(), axes=axes) is figure
    assert dict(mpl.rcParams) == before
    expected, found = ([shown(each) for each in panels_of(which)] for which in (own, figure))
    assert [kind for part in expected for kind, _ in part] == [kind for part in found for kind, _ in part]
    for (_, one), (_, other) in zip(*(chain.from_iterable(each) for each in (expected, found)), strict=True):
        np.testing.assert_array_equal(one, other)
    figure.canvas.draw()
    return own


def panels_told(draw: Callable[..., Figure], table: pd.DataFrame) -> int:
    """How many panels a figure says that it draws, where no axes are given to it, and where there is one too many."""
    for axes in ([], list(Figure().subplots(1, 40))):
        with pytest.raises(WrongAxes, match=rf"draws \d+ panels?, but {len(axes)} axes came") as told:
            draw(table.copy(), axes=axes)
        rows, columns = told.value.shape
        assert f"draws {rows * columns} panel" in str(told.value)
    return rows * columns


def panels_of(figure: Figure) -> list[Axes]:
    """The panels with data, without colour bars."""
    return [each for each in figure.axes if each.has_data() and each.get_label() != BAR]


def shown(axes: Axes) -> list[tuple[str, Any]]:
    """The data of everything that axes show, without how it looks."""
    lines = [("line", np.asarray(line.get_xydata(), dtype=float)) for line in axes.lines]
    images = [("image", np.ma.getdata(image.get_array())) for image in axes.images]
    marks = [("marks", np.asarray(each.get_offsets(), dtype=float)) for each in axes.collections]
    return [*lines, *images, *marks]
