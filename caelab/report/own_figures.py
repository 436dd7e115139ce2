"""Figures of a stored comparison as a paper or a talk needs them: in a style, of a width, as files of some kind."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from caelab.analysis.base import drawn_onto, named_failure
from caelab.analysis.plotting import KINDS, plain_look, settle, stored_appearances, style, write_figure
from caelab.analysis.styles import every_width
from caelab.errors import CaelabError, StorageError, unknown_name
from caelab.report.store import Comparison, load_comparison, refuse_missing
from caelab.study.outcomes import Problem

log = logging.getLogger(__name__)

FOLDER = "own-figures"
INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}  # TeX's point, which \the\textwidth tells
NARROWEST, WIDEST = 1.0, 40.0  # inches


def inches_of(width: str) -> float:
    """A width as inches: a number and ``in``, ``cm``, ``mm`` or ``pt`` (TeX's, 72.27 to an inch).

    >>> inches_of("3.25in"), round(inches_of("84 mm"), 3), round(inches_of("487.8225pt"), 3)
    (3.25, 3.307, 6.75)

    Raises:
        CaelabError: it is none, or one that nothing could be drawn on.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]+)\s*", width, re.IGNORECASE)
    if not found or found[2].lower() not in INCHES:
        raise CaelabError(f"expected a width as 3.25in, 8.2cm, 82mm or 240pt, but {width!r} came")
    inches = float(found[1]) * INCHES[found[2].lower()]
    if not NARROWEST <= inches <= WIDEST:
        raise CaelabError(
            f"expected a width from {NARROWEST:g} to {WIDEST:g} inches, but {width} are {inches:.3g}; check its unit"
        )
    return inches


def kinds_of(asked: Sequence[str]) -> list[str]:
    """The kinds of files, each once, as ``svg`` or ``pdf,png`` name them.

    Raises:
        CaelabError: one is none of those that can be written.
    """
    kinds = [part.strip().lower().removeprefix(".") for each in asked for part in each.split(",")]
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("format", kind, KINDS)
    return list(dict.fromkeys(kinds))


def chosen_names(comparison: Comparison, only: str | None) -> list[str]:
    """The analyses whose figures are asked for, by names with commas between them.

    Raises:
        CaelabError: there is no table of one of them.
    """
    names = [*comparison.tables] if only is None else [part.strip() for part in only.split(",")]
    for name in names:
        if name not in comparison.tables:
            raise unknown_name("figure of this comparison", name, comparison.tables)
    return list(dict.fromkeys(names))


@contextmanager
def asked_style(name: str, width: float | None) -> Iterator[None]:
    """Draw in a style, and every figure of one width; nothing else on this machine has a say."""
    with ExitStack() as stack:
        stack.enter_context(plain_look())
        stack.enter_context(style(name))
        if width is not None:
            stack.enter_context(every_width(width))
        yield


def write_own_figures(
    folder: Path, out: Path, *, name: str, width: float | None, kinds: Sequence[str], only: str | None
) -> tuple[dict[str, list[Path]], list[Problem]]:
    """Draw figures of a stored comparison from its tables into a folder; those of the comparison stay as they are.

    Args:
        folder: of the comparison.
        out: where the figures go.
        name: of the style.
        width: of every figure in inches; None leaves it to the style.
        kinds: of files.
        only: the analyses, with commas between their names; None takes all.

    Returns:
        The files by analysis, and the analyses that could not be drawn.

    Raises:
        CaelabError: the folder holds no finished comparison, or no table of an analysis that is asked for.
        StorageError: a file cannot be written.
    """
    refuse_missing(folder)
    if out.resolve() == (folder / "figures").resolve():
        raise CaelabError(f"{out} holds the figures of the report, which stay; give another folder to --out")
    comparison = load_comparison(folder)
    files: dict[str, list[Path]] = {}
    problems = []
    with asked_style(name, width), stored_appearances(comparison.appearances):
        for analysis in chosen_names(comparison, only):
            try:
                files[analysis] = _drawn(analysis, comparison.tables[analysis], out, width, kinds)
            except StorageError:
                raise
            except CaelabError as error:  # the others go on
                log.debug("drawing %s", analysis, exc_info=True)
                problems.append(Problem("all", analysis, str(error), applies=True))
    return files, problems


def _drawn(analysis: str, table: Any, out: Path, width: float | None, kinds: Sequence[str]) -> list[Path]:
    figure = drawn_onto(analysis, table)
    if width is not None and abs(figure.get_figwidth() - width) > 1e-9:  # one that goes by no style
        figure.set_size_inches(width, figure.get_figheight() * width / figure.get_figwidth())
    with named_failure(analysis, "could not be drawn"):
        settle(figure)
        return [write_figure(figure, out / f"{analysis}.{kind}") for kind in kinds]
