"""The contract of analyses: what they must have, and what the core reads from them instead of keeping a list."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

from caelab.analysis.columns import Column, clash, overlap
from caelab.errors import CaelabError, shown
from caelab.registry.catalogue import catalogue, raise_if_from_file
from caelab.registry.fingerprints import content_of, imported_beside
from caelab.registry.object_fingerprints import fingerprint
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import checked_options, option_fields

log = logging.getLogger(__name__)

NEEDED = "it needs measure(run, streams) or compare(runs, streams), and draw(table)"


def load_analysis(name: str) -> Any:
    """The analysis of that name; its functions are there, and what it says of itself can be used.

    Raises:
        CaelabError: it lacks a function, or says something of itself that is not of the kind that is expected.
    """
    analysis = catalogue().get("analysis", name)
    if not measures(analysis) and not compares(analysis):
        raise CaelabError(f"{whose_analysis(name)} lacks both measure and compare; {NEEDED}")
    if not callable(getattr(analysis, "draw", None)):
        raise CaelabError(f"{whose_analysis(name)} lacks draw; {NEEDED}")
    for key in ("title", "caption"):
        if not isinstance(getattr(analysis, key, ""), str):
            raise CaelabError(
                f"{whose_analysis(name)} has the {key} {shown(getattr(analysis, key))}, but a text is expected"
            )
    if not isinstance(getattr(analysis, "default", False), bool):
        raise CaelabError(
            f"{whose_analysis(name)} has default={shown(analysis.default)}, but True or False is expected"
        )
    checked_columns(name, analysis)
    return analysis


def whose_analysis(name: str) -> str:
    """The analysis and who offers it, for a sentence."""
    offer = catalogue().offers.get(("analysis", name))
    return f"the analysis {name!r}" + (f" of plugin {offer.provider!r}" if offer else "")


def measures(analysis: Any) -> bool:
    """Whether an analysis looks at runs one by one."""
    return callable(getattr(analysis, "measure", None))


def compares(analysis: Any) -> bool:
    """Whether an analysis looks at several runs at once."""
    return callable(getattr(analysis, "compare", None))


def checked_columns(name: str, analysis: Any) -> tuple[Column, ...]:
    """The columns of an analysis.

    Raises:
        CaelabError: they are no columns, one stands twice, or nothing sums up to them.
    """
    columns = getattr(analysis, "columns", ())
    if not isinstance(columns, Sequence) or not all(isinstance(column, Column) for column in columns):
        raise CaelabError(
            f"{whose_analysis(name)} has columns={shown(columns)}, but a list of caelab.Column(name=...) is expected"
        )
    twice = clash(columns)
    if twice:
        raise CaelabError(f"{whose_analysis(name)} has two columns of the name {twice.name!r}; give one another name")
    if columns and not callable(getattr(analysis, "summarise", None)):
        raise CaelabError(
            f"{whose_analysis(name)} has the column {columns[0].name!r}, but nothing sums up to it; add "
            "summarise(table), which returns {name: number}"
        )
    return tuple(columns)


def options_of(name: str, analysis: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checked options of ``measure`` and of ``compare``; each gets those that it names.

    Raises:
        CaelabError: neither has an option of that name, or a value does not fit.
    """
    parts = [getattr(analysis, key, None) for key in ("measure", "compare")]
    known = [option_fields(part, GIVEN_BY_CORE["analysis"]) if callable(part) else {} for part in parts]
    unknown = {key: value for key, value in given.items() if not any(key in fields for fields in known)}
    taken = [{key: value for key, value in given.items() if key in fields} | unknown for fields in known]
    measure, compare = (
        checked_options(part, options, name, GIVEN_BY_CORE["analysis"]) if callable(part) else {}
        for part, options in zip(parts, taken, strict=True)
    )
    return measure, compare


def columns_of(names: Iterable[str]) -> list[Column]:
    """The columns of these analyses, in their order.

    Raises:
        CaelabError: two analyses have a column of one name.
    """
    owned = [(name, column) for name in names for column in checked_columns(name, load_analysis(name))]
    for (first, column), (second, other) in combinations(owned, 2):
        if first != second and overlap(column, other):
            raise CaelabError(
                f"{whose_analysis(first)} and {whose_analysis(second)} both have the column {column.name!r}; leave one "
                "of them out, or ask its author for another name"
            )
    return [column for _, column in owned]


def title_of(name: str) -> str:
    """The heading of an analysis's figure: its own ``title``, or its name as words.

    >>> title_of("filters")
    'Filters'
    """
    return getattr(load_analysis(name), "title", "") or name.replace("_", " ").replace("-", " ").capitalize()


def caption_of(name: str) -> str:
    """How to read an analysis's figure: its own ``caption``, or what its docstring says first."""
    analysis = load_analysis(name)
    lines = (getattr(analysis, "__doc__", None) or "").strip().splitlines()
    return getattr(analysis, "caption", "") or (lines[0] if lines else "")


def default_analyses() -> list[str]:
    """The analyses that a comparison runs unless it is told which, in the order in which they are offered.

    One that cannot be used is told of and left out, so that it keeps no one from comparing models.
    """
    found = []
    for kind, name in catalogue().offers:
        if kind == "analysis" and _runs_by_default(name):
            found.append(name)
    return found


def _runs_by_default(name: str) -> bool:
    try:
        return bool(getattr(load_analysis(name), "default", False))
    except CaelabError as error:
        raise_if_from_file(error, ("analysis", name))
        log.warning("left out: %s", error)
        return False


def source_of(analysis: Any) -> list[str]:
    """Digests of the code that an analysis is made of, so that a change of it measures anew.

    Of a package its own folder counts, subfolders too, and what that imports of its neighbours; so ``shared/`` of the
    built-in analyses counts for those that use it. Of a single module the module counts, and what it imports of the
    files beside it.
    """
    parts = [part for key in ("measure", "compare") if callable(part := getattr(analysis, key, None))]
    modules = dict.fromkeys(inspect.getmodule(part) or analysis for part in parts)
    if any(not getattr(module, "__file__", None) for module in modules):  # of a notebook's cell
        return [fingerprint(part, "the analysis") for part in parts]
    return [digest for module in modules for digest in _digests(module)]


def _digests(module: Any) -> list[str]:
    package = sys.modules.get(getattr(module, "__package__", None) or "")
    if getattr(module, "__name__", "") == "__main__":
        return [inspect.getsource(module)]
    if package is None:
        return [content_of(str(path)) for path in (module.__file__, *imported_beside(module.__file__))]
    own = [path for folder in package.__path__ for path in sorted(Path(folder).resolve().rglob("*.py"))]
    return [content_of(str(path)) for path in dict.fromkeys([*own, *_imported(package, own)])]


def _imported(package: ModuleType, own: Sequence[Path]) -> list[Path]:
    """What files import of the neighbours of their package; its top module, which lists what is offered, does not."""
    top = sys.modules[package.__name__.partition(".")[0]].__file__
    found = {path for each in own for path in imported_beside(str(each))}
    return sorted(path for path in found if str(path) != str(Path(top or "").resolve()))
