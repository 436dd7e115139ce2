"""Panels of a figure: those of a figure of its own, or axes that a caller gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from math import ceil
from typing import Any, Literal, overload

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties

from caelab.analysis.styles import COLUMN_WIDTH, PAGE_WIDTH, TEXT, column_width, letters, page_width, points
from caelab.errors import CaelabError, shown

ROOMY = 22.0  # letters' heights: a panel of this width is never too narrow
DENSER = 0.7  # how much narrower in letters a panel may become than it is on a page of caelab's own style
SLENDER = 0.62  # the height of a panel that has become as wide as its figure, as a part of its width
TALLEST = 9.0  # inches, of a page: panels stand closer before a figure becomes taller
CLOSEST = 14.0  # letters' heights: of panels that stand closer for that
LETTER = 0.52  # the width of a letter, in sizes of text
BESIDE_NAME = 5.6  # letters' heights that stand beside a name in a legend: its line, and the gaps

Shape = tuple[int, int]


class WrongAxes(CaelabError, ValueError):
    """The axes that were given to draw onto are not those that a figure needs.

    Attributes:
        shape: rows and columns that have one of the axes for each panel.
    """

    def __init__(self, message: str, shape: Shape) -> None:
        super().__init__(message)
        self.shape = shape


class Panels(Sequence[Axes]):
    """The panels of a figure in their order, row by row.

    Attributes:
        part: the figure, or the part of one, that the panels fill.
        own: whether the figure was made here; else the caller gave its axes.
        apart: whether each panel is to be labelled by itself, since it does not stand in the row and column of others.
        shape: rows and columns, as the figure stands on a page of caelab's own style.
        spare: empty axes behind the last panel.
        room: width and height in inches that a panel has with its texts; None where they are not looked at.
    """

    def __init__(
        self,
        part: Any,
        axes: Sequence[Axes],
        shape: Shape,
        *,
        own: bool,
        apart: bool,
        spare: Sequence[Axes] = (),
        room: tuple[float, float] | None = None,
    ) -> None:
        self.part, self.axes, self.shape, self.own, self.apart = part, [*axes], shape, own, apart
        self.spare, self.room = spare, room

    @overload
    def __getitem__(self, place: int) -> Axes: ...
    @overload
    def __getitem__(self, place: slice) -> list[Axes]: ...
    def __getitem__(self, place: int | slice) -> Axes | list[Axes]:
        return self.axes[place]

    def __len__(self) -> int:
        return len(self.axes)

    @property
    def figure(self) -> Figure:
        """The figure that the panels belong to."""
        return root_figure(self[0])

    def finished(self) -> Figure:
        """The figure; where it is not as on a page of caelab's own style, texts are brought into their panels."""
        if self.own and self.room and (letters() != 1 or page_width() != PAGE_WIDTH):
            beside = round(self.figure.get_figwidth() / self.room[0])
            for place, axes in reversed([*enumerate(self)]):
                if self.apart and place % beside and axes.get_ylabel() == self[place - 1].get_ylabel():
                    axes.set_ylabel("")  # its neighbour's
                _fit_texts(axes, *self.room)
        return self.figure

    @property
    def grid(self) -> Any:
        """The panels as an array of rows and columns, as ``plt.subplots`` returns them; None where there are fewer."""
        cells = np.full(self.shape[0] * self.shape[1], None, dtype=object)
        cells[: len(self.axes)] = self.axes
        return cells.reshape(self.shape)

    def ends(self, line: Sequence[Axes]) -> Sequence[Axes]:
        """The panels of a row or column that labels and scales are given to: the first, or all that stand apart."""
        return line if self.apart else line[:1]

    def heading(self, text: str, **how: Any) -> None:
        """Write above the whole figure, if it is a figure of its own."""
        if self.own:
            self.figure.suptitle(wrapped_text(text, self.figure.get_figwidth()), **how)

    def legend(
        self,
        handles: Sequence[Artist] | None = None,
        labels: Sequence[str] | None = None,
        *,
        most: int | None = None,
        place: str = "outside lower center",
    ) -> None:
        """Name what is drawn: below all panels of a figure of its own; in the first of panels that were given.

        Args:
            handles: what is named; by default what has a label in the first panel.
            labels: its names.
            most: names to a line; by default as many as there are.
            place: in a figure of its own.
        """
        if handles is None or labels is None:
            handles, labels = self[0].get_legend_handles_labels()
        if labels:
            legend_of(self.part if self.own else self[0], handles, labels, most=most, place=place)


def _fit_texts(axes: Axes, width: float, height: float) -> None:
    """Break titles and labels that are longer than a panel, of which ticks and labels take a part."""
    axes.set_ylabel(wrapped_text(axes.get_ylabel(), height - points(0.5)))
    wide = width - points(0.45) - points(0.13) * axes.get_ylabel().count("\n")
    for place in ("left", "center"):
        title = axes.get_title(loc=place)
        if title:
            size = float(axes.title.get_fontsize())
            axes.set_title(wrapped_text(title, wide, size), loc=place)
    axes.set_xlabel(wrapped_text(axes.get_xlabel(), wide + points(0.2)))


def legend_of(
    of: Any, handles: Sequence[Artist], labels: Sequence[str], *, most: int | None, place: str = "outside lower center"
) -> None:
    """A legend below a figure, in lines of equal length that are no wider; or on axes, where there is most room."""
    if isinstance(of, Axes):
        of.legend(handles, labels)
        return
    of.legend(handles, labels, loc=place, ncols=fitting_names(of.bbox.width / of.dpi, labels, most or len(labels)))


def fitting_names(width: float, labels: Sequence[str], most: int) -> int:
    """How many names, and no more than ``most``, stand beside each other in a legend ``width`` inches wide."""
    size = FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points()
    wide = [size * (BESIDE_NAME + LETTER * len(as_read(label))) for label in labels]
    for beside in range(min(most, len(labels)), 1, -1):
        columns = ceil(len(labels) / ceil(len(labels) / beside))
        if sum(max(part) for part in np.array_split(wide, columns)) <= width * 72:
            return columns
    return 1


def as_read(text: str) -> str:
    """About as many letters as a text shows, formulas too.

    >>> as_read(r"of $\\Vert J_f\\Vert^{2}$")
    'of *Jf*2'
    """
    return re.sub(r"[${}^_]|\\[,;! ]", "", re.sub(r"\\[a-zA-Z]+ ?", "*", text))


def wrapped_text(text: str, width: float, size: float | None = None) -> str:
    """A text in lines that are no wider than so many inches; line ends that are there stay.

    Args:
        text: what is written.
        width: in inches.
        size: of the letters in points; by default that of all text.
    """
    room = max(9, int(width * 72 / (LETTER * (size or float(rcParams["font.size"])))))
    return "\n".join(line for part in text.split("\n") for line in _lines_of(part, room))


def _lines_of(text: str, room: int) -> list[str]:
    """A text in lines of so many letters as they are read; formulas stay whole."""
    lines = [""]
    for word in re.findall(r"(?:\$[^$]*\$|[^\s$])+", text):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(as_read(longer)) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def panels(
    axes: Any,
    rows: int,
    columns: int,
    *,
    of: str,
    size: tuple[float, float],
    count: int | None = None,
    grows: Literal["width", "text", "square"] = "width",
    narrowest: float | None = None,
    exact: bool = False,
    **subplots: Any,
) -> Panels:
    """The axes that a caller gives, one for each panel; or the panels of a figure of its own.

    A figure of its own is as wide as the style in force says: with ``size[0]`` of ``COLUMN_WIDTH`` as a column, of
    ``PAGE_WIDTH`` as the page. Where its panels would become too narrow for their text they stand in more rows.

    Args:
        axes: None, or what a caller gives: one ``Axes``, or several in any order that ``plt.subplots`` returns.
        rows: of panels on a page of caelab's own style.
        columns: of panels there.
        of: the name of the analysis, for a sentence.
        size: width and height in inches there.
        count: of the panels, where they are fewer than rows times columns.
        grows: whether the height goes with the width of the panels, with the size of text (of lists), or is the width.
        narrowest: a panel's least width as a multiple of the size of text.
        exact: whether rows, columns and height are those of the style in force already.
        **subplots: keywords of ``Figure.subplots`` for a figure of its own.

    Raises:
        WrongAxes: a ``ValueError``; ``axes`` are none, or not one for each panel.
    """
    block = Block(rows, columns, size[1], count, "exact" if exact else grows, 0.1 if exact else narrowest, subplots)
    if axes is not None:
        given = given_axes(axes, of, len(block), block.shape)
        return Panels(root_figure(given[0]), given, block.shape, own=False, apart=True)
    width = width_of(size[0])
    figure = Figure(figsize=(width, block.high(size[0], width)), layout="constrained")
    return block.made(figure, size[0], width)


def one_panel(axes: Any, *, of: str, size: tuple[float, float]) -> Panels:
    """The axes that a caller gives, or the panel of a figure of its own, of exactly this size in inches.

    Raises:
        WrongAxes: a ``ValueError``; ``axes`` are none, or several.
    """
    if axes is not None:
        return panels(axes, 1, 1, of=of, size=size)
    figure = Figure(figsize=size, layout="constrained")
    return Panels(figure, [figure.add_subplot()], (1, 1), own=True, apart=False)


@dataclass(frozen=True)
class Block:
    """Rows of panels, as they stand on a page of caelab's own style.

    Attributes:
        rows: of panels.
        columns: of panels.
        height: of all rows in inches.
        count: of the panels, where they are fewer than rows times columns.
        grows: whether the height goes with the width of the panels, with the size of text, or is the width.
        narrowest: a panel's least width as a multiple of the size of text.
        subplots: keywords of ``Figure.subplots``.
    """

    rows: int
    columns: int
    height: float
    count: int | None = None
    grows: Literal["width", "text", "square", "exact"] = "width"
    narrowest: float | None = None
    subplots: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.rows * self.columns if self.count is None else self.count

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return self.rows, self.columns

    def fitted(self, page: float, width: float) -> Shape:
        """Rows and columns in a figure of some width that is ``page`` wide in caelab's own style."""
        beside = fitting_columns(self.columns, len(self), page, width, self.narrowest)
        closest = max(1, int(width * 72 / (CLOSEST * TEXT * letters()) + 1e-9))
        while beside < min(self.columns, closest) and self._high(beside, page, width) > TALLEST:
            beside += 1
        return self._lines(beside), beside

    def high(self, page: float, width: float) -> float:
        """The height in inches in a figure of some width."""
        return self._high(self.fitted(page, width)[1], page, width)

    def _lines(self, beside: int) -> int:
        return ceil(len(self) / beside) if beside < self.columns else self.rows

    def _high(self, beside: int, page: float, width: float) -> float:
        row = self.height / self.rows
        return self._lines(beside) * row * _growth(self.grows, page / self.columns, width / beside, row)

    def made(self, figure: Any, page: float, width: float) -> Panels:
        """The panels, in a figure or in a part of one."""
        lines, beside = self.fitted(page, width)
        room = width / beside, self._high(beside, page, width) / lines
        if beside < self.columns:
            found = _rewrapped(figure, (lines, beside), self.columns, len(self), self.subplots)
            return Panels(figure, found, self.shape, own=True, apart=True, room=room)
        grid = [*figure.subplots(lines, beside, **{**self.subplots, "squeeze": False}).ravel()]
        for spare in grid[len(self) :]:
            spare.set_axis_off()
        return Panels(figure, grid[: len(self)], self.shape, own=True, apart=False, spare=grid[len(self) :], room=room)


def stacked_panels(axes: Any, blocks: Sequence[Block], *, of: str, width: float) -> list[Panels]:
    """Blocks of panels below each other, each with a legend of its own; or the axes that a caller gives for them.

    Args:
        axes: None, or what a caller gives: one for each panel of all blocks, in their order.
        blocks: from top to bottom.
        of: the name of the analysis, for a sentence.
        width: in inches on a page of caelab's own style.

    Raises:
        WrongAxes: a ``ValueError``; ``axes`` are none, or not one for each panel.
    """
    ends = [*accumulate(map(len, blocks))]
    if axes is not None:
        given = given_axes(axes, of, ends[-1], (1, ends[-1]))
        parts = zip(blocks, [0, *ends], ends, strict=False)
        return [
            Panels(root_figure(given[0]), given[start:end], block.shape, own=False, apart=True)
            for block, start, end in parts
        ]
    inches = width_of(width)
    heights = [block.high(width, inches) for block in blocks]
    figure = Figure(figsize=(inches, sum(heights)), layout="constrained")
    parts_of: Any = figure.subfigures(len(blocks), 1, height_ratios=heights)
    return [block.made(part, width, inches) for block, part in zip(blocks, parts_of, strict=True)]


def width_of(width: float) -> float:
    """How wide a figure is in the style in force that is so wide in caelab's own."""
    if width in (COLUMN_WIDTH, PAGE_WIDTH):
        return column_width() if width == COLUMN_WIDTH else page_width()
    return width * page_width() / PAGE_WIDTH


def fitting_columns(columns: int, count: int, page: float, width: float, narrowest: float | None = None) -> int:
    """How many panels stand beside each other in a figure, evenly in as many rows as that needs."""
    at_home = page * 72 / TEXT / columns
    least = (narrowest or min(ROOMY, DENSER * at_home)) * TEXT * letters() / 72
    beside = max(1, min(columns, int(width / least + 1e-9)))
    return columns if beside == columns else ceil(count / ceil(count / beside))


def _growth(grows: str, before: float, after: float, height: float) -> float:
    """By how much a row of panels becomes higher, whose panels were so wide and are now."""
    if grows == "exact" or (letters() == 1 and before == after):
        return 1.0
    if grows == "text":
        return letters()
    if grows == "square":
        return (after + points(0.2)) / height
    return max(min(after / before, SLENDER * after / height), 0.75 * letters())


def _rewrapped(figure: Figure, shape: Shape, columns: int, count: int, subplots: Mapping[str, Any]) -> list[Axes]:
    """Panels in other rows than on a page, which share their axes with those that they share them with there."""
    grid = figure.add_gridspec(*shape)
    first: dict[tuple[str, Any], Axes] = {}
    found = []
    for place in range(count):
        row, column = divmod(place, columns)
        groups = {f"share{axis}": _group(subplots.get(f"share{axis}", False), row, column) for axis in "xy"}
        shared = {key: first.get((key, group)) for key, group in groups.items() if group is not None}
        axes = figure.add_subplot(grid[divmod(place, shape[1])], **shared)
        for key, group in groups.items():
            first.setdefault((key, group), axes)
        found.append(axes)
    return found


def _group(shared: Any, row: int, column: int) -> Any:
    """What the panels that share an axis have in common; None where they share none."""
    ways = {True: "all", "all": "all", "row": row, "col": column}
    return ways.get(shared)


def given_axes(axes: Any, of: str, count: int, shape: Shape) -> list[Axes]:
    """The axes that a caller gives as a list, row by row.

    Raises:
        WrongAxes: they are none, not one for each panel, or one stands twice.
    """
    found = [*_flat(axes)]
    shape = shape if count == shape[0] * shape[1] else (1, count)
    remedy = f"give plt.subplots({shape[0]}, {shape[1]})[1]"
    number = f"{count} panel{'s' * (count != 1)}"
    for each in found:
        if not isinstance(each, Axes):
            what = "a Figure" if isinstance(each, FigureBase) else shown(each)
            raise WrongAxes(f"{of} draws {number} onto axes of matplotlib, but {what} came; {remedy}", shape)
    if len(found) != count:
        raise WrongAxes(f"{of} draws {number}, but {len(found)} axes came; {remedy}", shape)
    if len({id(each) for each in found}) < count:
        raise WrongAxes(f"{of} draws {number}, but one axes came twice; {remedy}", shape)
    return found


def _flat(axes: Any) -> Iterable[Any]:
    if isinstance(axes, Mapping):
        axes = [*axes.values()]
    if isinstance(axes, np.ndarray):
        return axes.ravel().tolist()
    if isinstance(axes, list | tuple | Panels):
        return chain.from_iterable(_flat(each) for each in axes)
    return [axes]


def root_figure(axes: Axes) -> Figure:
    """The figure that axes belong to, and not a part of it."""
    found = axes.get_figure(root=True)
    assert found is not None
    return found
