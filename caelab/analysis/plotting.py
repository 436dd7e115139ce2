"""Figures for a paper: one style, one look for each model in all figures, shared charts, and saving."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from io import BytesIO, StringIO
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caelab.analysis.panels import (
    Block,
    Panels,
    fitting_columns,
    one_panel,
    panels,
    root_figure,
    stacked_panels,
    width_of,
    wrapped_text,
)
from caelab.analysis.statistics import mean_and_half_width
from caelab.analysis.styles import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    STYLE,
    column_width,
    marks,
    page_width,
    palette,
    paper_style,
    plain_look,
    points,
    rc_context,
    strokes,
    style,
)
from caelab.errors import CaelabError, reason
from caelab.registry.catalogue import catalogue
from caelab.runs.recipes import Look, load_recipe, whose_recipe
from caelab.storage.files import write_bytes

__all__ = [
    "COLUMN_WIDTH",
    "DASHES",
    "KINDS",
    "PAGE_WIDTH",
    "STYLE",
    "Block",
    "Look",
    "Panels",
    "band",
    "column_width",
    "curves",
    "display_name",
    "dot_chart",
    "fitting_columns",
    "interval_of_mean",
    "look",
    "marks",
    "one_panel",
    "page_width",
    "panels",
    "paper_style",
    "plain_look",
    "points",
    "root_figure",
    "save_figure",
    "save_picture",
    "settle",
    "show_zero",
    "stacked_panels",
    "strokes",
    "style",
    "svg_of",
    "width_of",
    "wrapped_text",
    "write_figure",
]

DOTS_PER_INCH = 300
KINDS: Mapping[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {}, "svg": {"Date": None}}
"""The kinds of files that figures are written as, and what keeps the date out of each."""

DASHES: Sequence[Any] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 0.7)))

# Tol's "muted" colours, for models without a look of their own: seaborn's "colorblind" has four of the recipes' own.
OTHER_COLORS = ("#332288", "#999933", "#44aa99", "#aa4499", "#ddcc77", "#117733", "#88ccee")
OTHER_MARKERS = ("<", ">", "h", "d", "H", "8", "s", "o", "^", "D", "v")

SYMBOLS = {"weight": "λ", "sigma": "σ", "target": "ρ", "learning_rate": "rate"}


def look(models: Iterable[str]) -> dict[str, Look]:
    """Each model's look, in the order of the models.

    A model has the look of its recipe. The models of a grid (``cae contractive.weight=0.3``) keep their recipe's
    colour, the paler the earlier they stand, with markers and lines of their own. All others get what is left, in their
    order. Where a caller has changed ``axes.prop_cycle``, as a palette of seaborn does, the colours are taken from
    there, in the order of the models; markers and lines stay, so that they are told apart in grey.

    >>> look(["cae"]) == {"cae": look(["ae", "cae", "mine"])["cae"]}
    True
    """
    labels = list(dict.fromkeys(models))
    own = {family: found for family in map(family_of, labels) if (found := known_look(family))}
    grids = Counter(family_of(label) for label in labels if label not in own)
    chosen = _chosen_colors(labels, own)
    own = {family: replace(found, color=chosen.get(family, found.color)) for family, found in own.items()}
    others = zip(cycle(OTHER_COLORS), cycle(OTHER_MARKERS), cycle(DASHES), strict=False)
    seen: Counter[str] = Counter()
    looks = {}
    for label in labels:
        family = family_of(label)
        if label in own:
            looks[label] = own[label]
        elif family in own:
            looks[label] = _shade(own[family], seen[family], grids[family], beside=family in labels)
            seen[family] += 1
        else:
            found = Look(*next(others))
            looks[label] = replace(found, color=chosen.get(label, found.color))
    return looks


_ORDER: ContextVar[tuple[str, ...]] = ContextVar("models in the order of their colours", default=())


@contextmanager
def colors_in_order(models: Iterable[str]) -> Iterator[None]:
    """Within the block the colours of a caller's palette go to models in this order, whichever a figure shows."""
    token = _ORDER.set(tuple(models))
    try:
        yield
    finally:
        _ORDER.reset(token)


def _chosen_colors(labels: Sequence[str], own: Mapping[str, Look]) -> dict[str, str]:
    """The colours of a caller's palette by family, or by label where a family has no look; none without a palette."""
    colors = palette()
    if not colors:
        return {}
    families = {label: family_of(label) if family_of(label) in own else label for label in labels}
    every = dict.fromkeys([*(families.get(label, family_of(label)) for label in _ORDER.get()), *families.values()])
    return {key: to_hex(color) for key, color in zip(every, cycle(colors), strict=False)}


def family_of(label: str) -> str:
    """The recipe of a model: the first word of its label, of which a grid adds others."""
    return label.partition(" ")[0]


Appearance = tuple[str, Look | None]
NONE_STORED: Mapping[str, Appearance] = MappingProxyType({})
_STORED: ContextVar[Mapping[str, Appearance]] = ContextVar("stored appearances", default=NONE_STORED)


@contextmanager
def stored_appearances(found: Mapping[str, Appearance]) -> Iterator[None]:
    """Within the block, models whose recipes are not there any more are named and drawn as they were before."""
    token = _STORED.set(found)
    try:
        yield
    finally:
        _STORED.reset(token)


def appearance(family: str) -> Appearance:
    """The display name and the look of a recipe: its own, or what a comparison has stored, or the name and no look."""
    if ("recipe", family) in catalogue().offers:
        with suppress(CaelabError):  # a recipe that cannot be used is told of where it is asked for
            recipe = load_recipe(family)
            return recipe.name or family, recipe.look
    return _STORED.get().get(family, (family, None))


def known_look(family: str) -> Look | None:
    """The look that a recipe gives itself.

    Raises:
        CaelabError: matplotlib has no such colour, marker or line.
    """
    found = appearance(family)[1]
    if found is not None:
        _refuse_undrawable(family, found)
    return found


def _refuse_undrawable(family: str, given: Look) -> None:
    try:
        to_rgb(given.color)
        Line2D([], [], marker=given.marker, linestyle=given.linestyle)
    except (ValueError, TypeError) as error:
        raise CaelabError(
            f"{whose_recipe(family)} has a look that matplotlib cannot draw ({reason(error)}); give its color, marker "
            "and linestyle as in Look('#d55e00', '*', '--')"
        ) from error


def _shade(base: Look, position: int, count: int, *, beside: bool) -> Look:
    """The look of one model of a grid; ``beside`` the plain recipe, which keeps the darkest colour for itself."""
    total, place = count + beside, position + beside
    if total == 1:
        return base
    white = 0.65 * (count - 1 - position + beside) / (total - 1)
    red, green, blue = (white + (1 - white) * part for part in to_rgb(base.color))
    color = to_hex((red, green, blue))
    markers = [base.marker, *(marker for marker in OTHER_MARKERS if marker != base.marker)]
    return replace(base, color=color, marker=markers[place % len(markers)], linestyle=DASHES[place % len(DASHES)])


def display_name(label: str) -> str:
    """A model's name for readers.

    >>> display_name("ae-wd"), display_name("cae contractive.weight=0.3"), display_name("mine")
    ('AE+wd', 'CAE λ=0.3', 'mine')
    """
    family, space, settings = label.partition(" ")
    name = appearance(family)[0]
    if not space:
        return name
    short = re.sub(r"[\w-]+(?:\.[\w-]+)*\.(\w+)=", lambda found: f"{SYMBOLS.get(found[1], found[1])}=", settings)
    keys = re.findall(r"(\w+)=", short)
    return f"{name} {settings if len(set(keys)) < len(keys) else short}"


def interval_of_mean(values: Iterable[float]) -> tuple[float, float]:
    """Both ends of the 95 % t interval of the mean, as ``errorbar`` of seaborn asks for them.

    >>> low, high = interval_of_mean([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    mean, half = mean_and_half_width(values)
    return mean - half, mean + half


def show_zero(axes: Axes) -> None:
    """Widen the vertical axis, and those shared with it, to 0, with matplotlib's margin at the other end.

    ``set_ylim(bottom=0)`` would keep the margin of what is drawn: almost none where that is nearly flat.
    """
    intervals = [each.dataLim.intervaly for each in axes.get_shared_y_axes().get_siblings(axes)]
    low, high = (float(end) for end in (min(0, *(i[0] for i in intervals)), max(0, *(i[1] for i in intervals))))
    margin = mpl.rcParams["axes.ymargin"] * (high - low)
    axes.set_ylim(low - margin * (low < 0), high + margin * (high > 0))


def curves(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    looks: Mapping[str, Look] | None = None,
    named: Callable[[str], str] = display_name,
    markers: int | None = None,
    **line: Any,
) -> None:
    """A line per model, the mean over its seeds at every ``x``, and a band, the 95 % t interval of that mean.

    Args:
        axes: where to draw.
        table: columns ``model``, ``x`` and ``y``, and ``seed``, whose rows at one ``x`` are averaged first.
        x: the column to draw against.
        y: the column to draw.
        looks: of the models; by default of those in the table.
        named: the name of a model in the legend.
        markers: about how many to a line, at other places on each, so that they do not hide each other; by default
            one at every point.
        **line: keywords of ``Axes.plot`` that go before the model's look.

    Raises:
        ValueError: an axis is not linear: seaborn would average logarithms.
    """
    import seaborn

    if scales := {axes.get_xscale(), axes.get_yscale()} - {"linear"}:
        raise ValueError(f"curves average on linear axes, but one is {scales.pop()}; set scales after all curves")
    keys = [key for key in ("model", "seed", x) if key in table]
    of_runs = table.groupby(keys, sort=False, as_index=False)[y].mean()
    looks = looks or look(table["model"])
    for place, (model, rows) in enumerate(of_runs.groupby("model", sort=False)):
        style = looks[str(model)]
        every = max(1, rows[x].nunique() // markers) if markers else 1
        seaborn.lineplot(
            rows,
            x=x,
            y=y,
            errorbar=interval_of_mean if rows[x].duplicated().any() else None,
            err_kws=band(style),
            legend=False,
            ax=axes,
            **style.line
            | {"label": named(str(model)), "markeredgecolor": style.color}
            | {"markevery": (place * every // len(looks), every)}
            | line,
        )


def band(style: Look) -> dict[str, Any]:
    """Keywords of ``Axes.fill_between`` for an interval around a model's line; its edges are told apart in grey."""
    edge = {"edgecolor": (style.color, 0.5), "linewidth": strokes(0.4), "linestyle": style.linestyle}
    return {"facecolor": (style.color, 0.1), "alpha": None, **edge}


def dot_chart(axes: Axes, table: pd.DataFrame, value: str, label: str, errorbar: Any = interval_of_mean) -> None:
    """A line per model, top to bottom: its interval, a dot on it for every seed, the model's marker at their mean.

    Args:
        axes: where to draw; on a logarithmic axis the mean is a geometric one.
        table: columns ``model`` and ``value``, one row per model and seed.
        value: the column to draw.
        label: the quantity with its unit, for the axis.
        errorbar: of seaborn: what the bar stands for, by default the 95 % t interval of the mean.
    """
    import seaborn

    looks = look(table["model"])
    mean = {"linestyle": "none", "markersize": marks(5), "markeredgewidth": strokes(0.6), "zorder": 3}
    seed = {"color": "white", "edgecolor": "0.3", "linewidth": strokes(0.5), "s": marks(marks(6)), "zorder": 2.5}
    for model, drawn in looks.items():
        seaborn.pointplot(
            table[table["model"] == model].dropna(subset=value),
            x=value,
            y="model",
            order=[*looks],
            errorbar=errorbar,
            capsize=0.2,
            err_kws={"linewidth": strokes(1), "zorder": 2},
            **drawn.line | mean,
            ax=axes,
        )
    seaborn.scatterplot(table, x=value, y="model", **seed, ax=axes)
    axes.grid(visible=True, axis="y")
    axes.set_yticks(range(len(looks)), [display_name(model) for model in looks])
    axes.set(ylim=(len(looks) - 0.5, -0.5), xlabel=label, ylabel="")


def settle(figure: Figure) -> None:
    """Lay a figure out for good: matplotlib would do so anew for every file, which costs more than the drawing.

    All files of the figure then have one layout, that of the PNG. What is changed in the figure afterwards is drawn,
    but the rest makes no room for it.
    """
    if figure.get_layout_engine() is None:
        return
    dots = figure.dpi
    with paper_style(), rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        figure.set_dpi(DOTS_PER_INCH)
        try:
            figure.draw_without_rendering()
        finally:  # one that cannot be drawn stays as it was
            figure.set_dpi(dots)
        figure.set_layout_engine(None)


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Write ``stem.pdf`` (fonts embedded) and ``stem.png`` (300 dpi); the same figure gives the same bytes.

    The figure is laid out for good, once for both.

    Returns:
        The two files.

    Raises:
        StorageError: one of them cannot be written.
    """
    stem = Path(stem)
    settle(figure)
    return [write_figure(figure, stem.with_name(f"{stem.name}.{kind}")) for kind in ("pdf", "png")]


def save_picture(figure: Figure, file: Path) -> None:
    """Write a figure into one file, whose suffix says whether as PNG (300 dpi) or PDF.

    Raises:
        CaelabError: the suffix is another one, or the file cannot be written.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in ("png", "pdf"):
        raise CaelabError(f"expected a picture named .png or .pdf, but {str(file)!r} came; name it so")
    write_figure(figure, file)


def write_figure(figure: Figure, file: Path) -> Path:
    """Write a figure as what its suffix says, of ``KINDS``; the same figure gives the same bytes, without a date.

    Raises:
        StorageError: the file cannot be written.
    """
    kind = file.suffix.lower().removeprefix(".")
    drawn = BytesIO()
    with paper_style():
        figure.savefig(drawn, format=kind, dpi=DOTS_PER_INCH, metadata=KINDS[kind])
    write_bytes(file, drawn.getvalue())
    return file


def svg_of(figure: Figure) -> str:
    """The figure as an ``<svg>`` element to put into a page; the same figure gives the same text."""
    text = StringIO()
    with plain_look(), paper_style():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
