"""Styles of figures: caelab's own for papers, those of venues, and what a caller changed in ``rcParams``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

import matplotlib as mpl

from caelab.errors import CaelabError, shown

COLUMN_WIDTH = 3.25  # inches, of the two-column papers of this field
PAGE_WIDTH = 6.75
TEXT = 7.0  # points, to which the sizes and the heights of figures are made

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same everywhere
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.6,
    "image.interpolation": "none",
    "pdf.fonttype": 42,  # TrueType, embedded: what publishers accept
    "svg.fonttype": "path",
    "svg.hashsalt": "caelab",
}

SIZES = tuple(key for key in STYLE if key.endswith(("size", "width")))  # all of them in points
FRAME = ("axes.linewidth", "axes.spines.", "axes.grid", "axes.axisbelow", "grid.", "xtick.m", "ytick.m")
THEMES = (*FRAME, "axes.facecolor", "axes.edgecolor", "xtick.color", "ytick.color", "xtick.direction")

SERIF = {  # like Times; both come with matplotlib, so that a figure is the same everywhere
    "font.family": ["STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
}
PLAIN = {"mathtext.fontset": "dejavusans", "figure.figsize": [6.4, 4.8]}  # as matplotlib has them: no earlier style
VENUES: dict[str, tuple[float, float, Mapping[str, Any]]] = {  # width and text: inches and points
    "paper": (PAGE_WIDTH, TEXT, {}),
    "icml": (6.75, 8.0, SERIF),
    "neurips": (5.5, 8.0, SERIF),
    "jmlr": (6.0, 9.0, SERIF),
    "slides": (12.0, 16.0, {}),
}

Draw = TypeVar("Draw", bound=Callable[..., Any])

rcParams: Any = mpl.rcParams
rcParamsDefault: Any = mpl.rcParamsDefault
rc_context: Any = mpl.rc_context


class UnknownStyle(CaelabError, ValueError):
    """There is no style of that name, or matplotlib has no such setting or value."""


@contextmanager
def plain_look() -> Iterator[None]:
    """Draw by matplotlib's own defaults: a ``matplotlibrc`` in the working folder may have come from anyone.

    It could have texts set by LaTeX, which runs what a preamble says.
    """
    defaults = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    with rc_context(defaults):
        yield


class paper_style:
    """Draw in caelab's style, on top of which stands what the caller changed.

    ``with paper_style(): ...``, or ``@paper_style()`` above a function that draws. Where such a function is given
    ``axes`` to draw onto, the caller's settings hold as they are.

    What a caller changed is what differs from ``matplotlib.rcParamsDefault``: a theme of seaborn, a style sheet,
    ``plt.rcParams["font.size"] = 9``. Sizes that the caller left alone grow with ``font.size``; where the caller gave
    axes another look (their colours, spines, grid or ticks), caelab's look of axes does not stand beside it. After
    ``style(...)`` all settings are the caller's.
    """

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def __enter__(self) -> None:
        context = rc_context(_beside(_changed()) if not _styled() else {})
        context.__enter__()
        self._entered.append(context)

    def __exit__(self, *error: object) -> None:
        self._entered.pop().__exit__(*error)

    def __call__(self, draw: Draw) -> Draw:
        """The function, drawing in this style unless it is given ``axes``."""
        names = list(inspect.signature(draw).parameters)
        place = names.index("axes") if "axes" in names else None

        @wraps(draw)
        def styled(*given: Any, **named: Any) -> Any:
            onto = named.get("axes", given[place] if place is not None and place < len(given) else None)
            if place is not None and onto is not None:
                return draw(*given, **named)
            with paper_style():
                return draw(*given, **named)

        return styled  # type: ignore[return-value]


def _styled() -> bool:
    """Whether caelab's style is in force already, or a style that stands on it."""
    return bool(rcParams["svg.hashsalt"] == STYLE["svg.hashsalt"])


def _changed() -> dict[str, Any]:
    """The settings that are not matplotlib's defaults."""
    keys = [key for key in rcParamsDefault if not key.startswith("backend") and key in rcParams]
    return {key: rcParams[key] for key in keys if rcParams[key] != rcParamsDefault[key]}


def _beside(changed: Mapping[str, Any]) -> dict[str, Any]:
    """What of caelab's style goes with what a caller changed."""
    themed = any(key.startswith(THEMES) for key in changed)
    chosen = {*changed, *(["font.family"] if "font.sans-serif" in changed else [])}
    text = float(changed["font.size"]) if "font.size" in changed else TEXT
    return {
        key: value for key, value in sized(text).items() if key not in chosen and not (themed and key.startswith(FRAME))
    }


def sized(text: float) -> dict[str, Any]:
    """caelab's style with text of so many points, and all else in proportion."""
    factor = text / TEXT
    return {key: value * factor if key in SIZES and factor != 1 else value for key, value in STYLE.items()}


class Styled:
    """Settings that are in force; as a context manager it puts the earlier ones back at the end of the block."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._before = {key: value for key, value in _all_settings().items() if value != settings.get(key)}
        rcParams.update(settings)

    def __repr__(self) -> str:
        """That the settings are in force, as a cell shows it that ends in ``caelab.figures.style("icml")``."""
        width, _ = rcParams["figure.figsize"]
        return f"<style of figures in force: {width:g} in wide, text of {rcParams['font.size']:g} pt>"

    def __enter__(self) -> None:
        """The settings are in force already."""

    def __exit__(self, *error: object) -> None:
        rcParams.update(self._before)


def _all_settings() -> dict[str, Any]:
    return {key: rcParams[key] for key in rcParamsDefault if not key.startswith("backend") and key in rcParams}


def style(given: str | Mapping[str, Any]) -> Styled:
    r"""Set the style of figures, caelab's and your own; ``with style(...):`` for one block only.

    ================ ========== ========= =======================================================================
    name             full width text      source
    ================ ========== ========= =======================================================================
    ``"paper"``      6.75 in    7 pt      caelab's own: a page of two columns, sans serif
    ``"icml"``       6.75 in    8 pt      ``icml2025.sty``: ``\textwidth`` 6.75in, columns of 3.25in, text 10 pt,
                                          captions 9 pt, Times
    ``"neurips"``    5.5 in     8 pt      ``neurips_2024.sty``: ``\textwidth`` 5.5in, one column, text 10 pt, Times
    ``"jmlr"``       6.0 in     9 pt      ``jmlr2e.sty``: ``\textwidth`` 6.0 true in, one column, text 11 pt
    ``"slides"``     12 in      16 pt     a slide of 13.33 by 7.5 inches with margins, sans serif
    ================ ========== ========= =======================================================================

    The serif fonts are STIX, which is like Times, and DejaVu: both come with matplotlib. A style sets
    ``figure.figsize`` too: figures over the whole page are as wide as that says, others as a column. Afterwards every
    setting is yours: what ``plt.rcParams`` says is what figures are drawn with.

    Args:
        given: the name of a style, or settings of matplotlib that go before those of caelab's own style.

    Returns:
        What ends the style at the end of a ``with`` block; without one it stays.

    Raises:
        ValueError: there is no such style or setting, or matplotlib does not take the value; nothing is changed.

    >>> with style("icml"):
    ...     rcParams["font.size"], rcParams["figure.figsize"]
    (8.0, [6.75, 4.17])
    """
    return Styled(settings_of(given))


def settings_of(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a style: matplotlib's defaults are not among them.

    Raises:
        ValueError: there is no such style or setting, or matplotlib does not take the value.
    """
    if isinstance(given, str):
        width, text, further = _venue(given)
        return {**sized(text), **PLAIN, "figure.figsize": [width, round(0.618 * width, 2)], **further}
    if not isinstance(given, Mapping):
        raise UnknownStyle(f"a style is one of {', '.join(VENUES)}, or settings of matplotlib, but {shown(given)} came")
    checked = _checked(given)
    return {**sized(checked.get("font.size", TEXT)), **PLAIN, **checked}


def _venue(name: str) -> tuple[float, float, Mapping[str, Any]]:
    if name in VENUES:
        return VENUES[name]
    near = get_close_matches(name.lower(), VENUES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise UnknownStyle(
        f"unknown style {name!r}; {hint}: {', '.join(VENUES)}; or give settings of matplotlib, as {{'font.size': 9}}"
    )


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that matplotlib knows, with values as it keeps them."""
    for key in given:
        if key not in rcParamsDefault:
            near = get_close_matches(str(key), [*rcParamsDefault], n=1)
            raise UnknownStyle(f"matplotlib has no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    try:
        checked: Any = mpl.RcParams(given)
        return dict(checked)
    except (ValueError, TypeError) as error:
        raise UnknownStyle(f"matplotlib does not take these settings: {' '.join(str(error).split())}") from error


_WIDTH: ContextVar[float | None] = ContextVar("width of every figure", default=None)


@contextmanager
def every_width(inches: float) -> Iterator[None]:
    """Within the block every figure is so wide, over the page or in a column."""
    token = _WIDTH.set(inches)
    try:
        yield
    finally:
        _WIDTH.reset(token)


def page_width() -> float:
    """The width in inches of a figure over the whole page: that of ``figure.figsize`` where it was changed."""
    if (asked := _WIDTH.get()) is not None:
        return asked
    size = list(rcParams["figure.figsize"])
    return PAGE_WIDTH if size == list(rcParamsDefault["figure.figsize"]) else float(size[0])


def column_width() -> float:
    """The width in inches of a figure in one column: 3.25, of narrower pages all, of wider ones the same share."""
    if (asked := _WIDTH.get()) is not None:
        return asked
    page = page_width()
    return min(page, COLUMN_WIDTH) if page <= PAGE_WIDTH else page * COLUMN_WIDTH / PAGE_WIDTH


def letters() -> float:
    """The size of text in force, as a multiple of that of caelab's own style."""
    return float(rcParams["font.size"]) / TEXT


def points(size: float) -> float:
    """A size of text in points in caelab's own style, with the text in force."""
    return size if letters() == 1 else size * letters()


def marks(size: float) -> float:
    """A size of markers in caelab's own style, with the markers in force."""
    factor = float(rcParams["lines.markersize"]) / float(STYLE["lines.markersize"])
    return size if factor == 1 else size * factor


def strokes(width: float) -> float:
    """A width of lines in points in caelab's own style, with the lines in force."""
    factor = float(rcParams["lines.linewidth"]) / float(STYLE["lines.linewidth"])
    return width if factor == 1 else width * factor


def palette() -> list[str] | None:
    """The colours of the caller's ``axes.prop_cycle``; None where it is matplotlib's own."""
    cycle = rcParams["axes.prop_cycle"]
    if cycle == rcParamsDefault["axes.prop_cycle"]:
        return None
    return cycle.by_key().get("color") or None
