"""Pages of the reference that list what the catalogue offers, so that none of it can be forgotten.

A line ``<!-- catalogue: regularizers -->`` of a page becomes one section for each of them; ``analyses`` likewise, and
``names MODULE`` becomes one entry for every public name of a module that the page does not document itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- catalogue: (.+?) -->$", re.MULTILINE)
DOCUMENTED = re.compile(r"^\.\. auto\w+:: (\S+)", re.MULTILINE)


def offered(kind: str) -> dict[str, str]:
    """By name, where each plugin of caelab of one kind is defined, as ``module`` or ``module:Class``."""
    from caelab.registry.catalogue import catalogue

    offers = (offer for (of_kind, _), offer in catalogue().offers.items() if of_kind == kind)
    return {offer.name: str(offer.thing) for offer in offers}


def regularizers(docs: Path, text: str) -> Iterator[str]:
    """A section per regularizer: its class, whose docstring begins with the equation, and the pages about it."""
    for name, place in sorted(offered("regularizer").items()):
        yield f"(regularizer-{name})=\n## {name}\n"
        yield _automatic("autoclass", place.replace(":", "."))
        yield from _seen(docs, name)


def analyses(docs: Path, text: str) -> Iterator[str]:
    """A section per analysis: what it says of itself, its options, its table, its numbers, and its figure."""
    for name, place in sorted(offered("analysis").items()):
        module = import_module(place)
        yield f"(analysis-{name})=\n## {name}\n"
        yield _automatic("automodule", place, "   :no-members:", "   :no-index:")
        yield _automatic("autofunction", f"{place}.{'compare' if hasattr(module, 'compare') else 'measure'}")
        yield from _columns(module)
        yield from _seen(docs, name)


def names(docs: Path, text: str, place: str) -> Iterator[str]:
    """An entry per public name of a module that the page has no entry for."""
    module, there = import_module(place), set(DOCUMENTED.findall(text))
    for name in promised(module):
        thing = getattr(module, name)
        if f"caelab.{name}" in there and place != "caelab":
            yield _stated(f"{place}.{name}", f"The same as ``caelab.{name}``.")
        elif f"{place}.{name}" not in there:
            yield _entry(f"{place}.{name}", thing)


def promised(module: ModuleType) -> list[str]:
    """The public names of a module: those of ``__all__``, else what it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(name for name in listed if not name.startswith("_"))
    own = vars(module).items()
    return sorted(n for n, v in own if not n.startswith("_") and getattr(v, "__module__", None) == module.__name__)


def _entry(name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return _automatic("autoexception" if issubclass(thing, Exception) else "autoclass", name, "   :members:")
    if callable(thing):
        return _automatic("autofunction", name)
    return _stated(name, f"Of type ``{type(thing).__name__}``.")


def _stated(name: str, text: str) -> str:
    return _automatic("py:data", name, "", f"   {text}")


def _columns(module: ModuleType) -> Iterator[str]:
    columns = getattr(module, "columns", ())
    if columns:
        yield "| number in the summary | better |\n|---|---|"
        yield "\n".join(f"| {column.name} | {column.better or ''} |" for column in columns) + "\n"


def _seen(docs: Path, name: str) -> Iterator[str]:
    """Links to the pages about a plugin."""
    found = [path for path in sorted((docs / "theory").glob("*.md")) if f"`{name}`" in path.read_text("utf-8")][:4]
    links = [f"[](../theory/{path.name})" for path in found]
    gallery = sorted((docs / "gallery").glob(f"*/plot_*_{name}.rst"))
    links += [f"[its figure](../gallery/{path.parent.name}/{path.name})" for path in gallery]
    if links:
        yield "See also: " + ", ".join(links) + ".\n"


def _automatic(directive: str, name: str, *options: str) -> str:
    return "\n".join(["```{eval-rst}", f".. {directive}:: {name}", *options, "```\n"])


LISTS = {"regularizers": regularizers, "analyses": analyses, "names": names}


def expand(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the sections of the catalogue where a page asks for them."""
    docs = Path(app.srcdir)

    def sections(found: re.Match[str]) -> str:
        what, *rest = found[1].split()
        return "\n".join(LISTS[what](docs, source[0], *rest))

    source[0] = MARK.sub(sections, source[0])


def escape_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Absolute values in docstrings are no substitutions."""
    lines[:] = [escaped(line) for line in lines]


def escaped(text: str) -> str:
    """Text in which bars outside of literals stand for themselves."""
    parts = re.split(r"(``.*?``|`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Expand pages as they are read."""
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", escape_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
