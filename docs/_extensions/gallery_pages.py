"""The gallery: one page for the figure of every analysis, drawn by sphinx-gallery from a stored comparison."""

from __future__ import annotations

import inspect
import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from catalogue_pages import escaped
from gallery_comparisons import COMPARISONS, home_of, make, sections
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

FOLDER = Path("_build") / ".gallery"  # what sphinx-gallery reads, and the comparisons; below docs/
HEADER = "GALLERY_HEADER.rst"
WELCOME = """\
Gallery
=======

Every analysis of caelab, drawn from four comparisons that are small enough to be trained in every build of these pages:
auto-encoders of 60 and 100 units on handwritten digits, and smaller ones on two densities whose truth is known. Each
page shows the command that trains the models and draws the figure, and the code that draws it again from the stored
tables. The two seeds of the digits give very wide intervals, some of which reach below an error of zero; numbers of
models of a useful size are on the pages of :doc:`Results </results/index>`.

"""
PAGE = '''\
r"""
{title}
{rule}

{caption}

{about}

{made}

A figure of a comparison that is there is drawn again with ``caelab figures {home}``, or in Python:
"""

import caelab

comparison = caelab.load_comparison("{home}")
figure = comparison.figure("{name}")

# %%
# The figure is drawn from this table alone; these are its first rows.

comparison.tables["{name}"].head()

# %%
# {links}
'''


def analyses() -> list[str]:
    """The analyses that caelab itself offers."""
    from caelab.registry.catalogue import catalogue

    offers = catalogue().offers
    return sorted(name for kind, name in offers if kind == "analysis")


def module_of(name: str) -> Any:
    """The module of an analysis."""
    return import_module(f"caelab_analyses.{name}")


def source_of(name: str, docs: Path) -> str:
    """The file that sphinx-gallery runs for one analysis."""
    module, home = module_of(name), home_of(name)
    title = str(module.title)
    about = inspect.getdoc(module) or ""
    return PAGE.format(
        name=name,
        home=home,
        title=title,
        rule="=" * len(title),
        caption=escaped(module.caption),
        about=escaped(about),
        made=made_by(name),
        links=links_of(name, docs),
    )


def made_by(name: str) -> str:
    """How the comparison comes into being: a command, or a call where the analysis has options."""
    home = home_of(name)
    asked = COMPARISONS[home]
    if name in asked.options:
        return "The models are trained and measured by\n\n.. code-block:: python\n\n" + _indented(
            asked.call(name, home)
        )
    return "The models are trained and measured by\n\n.. code-block:: console\n\n" + _indented(
        "$ " + asked.command(name, home)
    )


def links_of(name: str, docs: Path) -> str:
    """The pages about an analysis: concepts and results that name it, and its entry in the reference."""
    found = [
        path for room in ("theory", "results") for path in sorted((docs / room).glob("*.md")) if _names(path, name)
    ]
    pages = [f":doc:`/{path.relative_to(docs).with_suffix('')}`" for path in found[:4]]
    links = [*pages, f":ref:`options and columns of {name} <analysis-{name}>`"]
    return "See also: " + ",\n# ".join(links) + "."


def _names(path: Path, name: str) -> bool:
    return re.search(rf"`{name}`|gallery/{name}\b", path.read_text(encoding="utf-8")) is not None


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def write_sources(app: Sphinx) -> None:
    """Train the comparisons, and write the files that sphinx-gallery turns into pages."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    docs, names = Path(app.srcdir), analyses()
    folder = docs / FOLDER
    for name in COMPARISONS:
        make(name, names, folder)
    write(folder / HEADER, WELCOME)
    for key, (title, text, named) in sections(names).items():
        write(folder / key / HEADER, f"{title}\n{'-' * len(title)}\n\n{text}\n")
        for number, name in enumerate(named):
            write(folder / key / f"plot_{number:02}_{name}.py", source_of(name, docs))
        for home in COMPARISONS:
            link = folder / key / home
            if not link.exists():
                link.symlink_to(Path("..") / home)


def write(path: Path, text: str) -> None:
    """Write a file unless it says the same already, so that an unchanged page is not made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def figures_of(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """sphinx-gallery's scraper: the figure that a page's code has made, which pyplot does not know."""
    named = [value for value in variables["example_globals"].values() if isinstance(value, Figure)]
    if not named or "figure = " not in block[1]:
        return ""
    path = next(variables["image_path_iterator"])
    named[-1].savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    return str(figure_rst([path], settings["src_dir"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the sources before sphinx-gallery reads them."""
    app.connect("builder-inited", write_sources, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
