"""The notebooks of the course: scripts in git, executed once, and kept with what they were made from.

``docs/course/1-*.py`` becomes ``docs/course/1-*.executed.ipynb``, which git ignores. It is executed again only where
the script, its exercises or caelab's own code have changed since; so the tests and the pages share one execution.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
COURSE = DOCS / "course"
SUFFIX = ".executed.ipynb"
SECONDS = 1500  # for one cell, and for the kernel to start, on any machine: ends a notebook that hangs
CODE = ("caelab", "plugins", "analyses")


def scripts() -> list[Path]:
    """The scripts of the notebooks, in their order."""
    return sorted(COURSE.glob("[0-9]-*.py"))


@cache
def _digest_of_code() -> str:
    """SHA-256 of everything that a notebook may run beside its own cells."""
    digest = hashlib.sha256()
    places = [DOCS.parent / name for name in CODE] + [COURSE / "exercises"]
    files = [COURSE / "grade.py", COURSE / "expected.py", *(path for place in places for path in place.rglob("*.py"))]
    for path in sorted(files):
        digest.update(str(path.relative_to(DOCS.parent)).encode() + path.read_bytes())
    return digest.hexdigest()


def made_from(script: Path) -> str:
    """What the outputs of a notebook depend on, as one digest."""
    return hashlib.sha256(script.read_bytes() + _digest_of_code().encode()).hexdigest()


def executed(script: Path) -> Any:
    """The notebook of a script with the outputs of its cells; read back where nothing has changed since.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails; nothing is kept.
    """
    import jupytext
    import nbformat

    path, digest = script.with_suffix(SUFFIX), made_from(script)
    if path.is_file():
        kept = nbformat.read(path, as_version=4)
        if kept.metadata.get("made_from") == digest:
            return kept
    notebook = jupytext.read(script)
    _execute(notebook)
    notebook.metadata["made_from"] = digest
    aside = path.with_suffix(f".{os.getpid()}")
    nbformat.write(notebook, aside)
    aside.replace(path)
    return notebook


def _execute(notebook: Any) -> None:
    """Execute in a copy of the course's folder, so that a notebook leaves nothing behind."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory(prefix="caelab-") as folder:
        place = Path(folder) / "course"
        shutil.copytree(COURSE, place, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__", "interactive"))
        where = {"metadata": {"path": str(place)}}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNDEFAULTENCODING"}
        limits = {"timeout": SECONDS, "startup_timeout": SECONDS}
        NotebookClient(notebook, kernel_name="python3", resources=where, **limits).execute(env=environment)
