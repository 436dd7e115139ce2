"""Sphinx extension: builds the interactive page of the course, and keeps it until its sources change.

The page stands beside the others as ``course/interactive.html``; as it is no source of Sphinx, pages link to it by
``<a href="interactive.html">``. Trained models are kept too, so that a change of the page's looks trains nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import caelab

SOURCES = "course/interactive"
PAGE = "course/interactive.html"
KEPT = "_build/.interactive"  # below the sources, whatever the builder and its folder


def stamp_of(sources: Path, options: Sequence[str]) -> str:
    """A hash of what the page is made from: its files, the options, and the version of caelab."""
    found = hashlib.sha256("\0".join([caelab.__version__, *options]).encode())
    for path in sorted(each for each in sources.iterdir() if each.is_file()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def is_current(page: Path, stamp: str) -> bool:
    """Whether the page is there and was made from the same."""
    if not page.is_file():
        return False
    with page.open(encoding="utf-8") as file:
        return f'{stamp}">' in file.read(1000)


def kept_page(docs: Path, options: Sequence[str]) -> Path:
    """The page, built where it is missing or older than its sources.

    Raises:
        RuntimeError: it could not be built; the message is the command's.
    """
    page, stamp = docs / KEPT / "page.html", stamp_of(docs / SOURCES, options)
    if not is_current(page, stamp):
        page.parent.mkdir(parents=True, exist_ok=True)
        words = ["--out", str(page), "--runs", str(page.parent / "runs"), "--stamp", stamp, *options]
        done = subprocess.run(
            [sys.executable, str(docs / SOURCES / "build.py"), *words],
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the interactive page could not be built: {done.stderr.strip()}")
    return page


def place(app: Any) -> None:
    """Put the page into the folder of an HTML build."""
    if app.builder.format != "html":
        return
    target = Path(app.outdir) / PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept_page(Path(app.srcdir), app.config.interactive_options), target)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx; ``interactive_options`` are words for ``build.py``, as a smaller grid."""
    app.add_config_value("interactive_options", [], "", [list, tuple])
    app.connect("builder-inited", place)
    return {"version": caelab.__version__, "parallel_read_safe": True, "parallel_write_safe": True}
