"""The HTML page of the bridge, written from stored tables alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from caelab.analysis.plotting import plain_look, save_figure
from caelab.errors import CaelabError, DamagedFile
from caelab.report.page import embedded
from caelab.storage.checksums import FILES, check_file
from caelab.storage.files import write_text
from caelab.storage.transactions import Sums, change, is_ours, read_record, sums_of, write_record
from caelab_analyses.bridge.parts import PARTS, Step
from caelab_analyses.bridge.study import DATA, MANIFEST, OURS


def publish(folder: Path) -> Iterator[str]:
    """Draw every step and write ``report.html``; all files change together.

    Yields:
        Lines for the terminal: what each step found, and where everything is.

    Raises:
        CaelabError: the folder holds no finished study.
    """
    if not (folder / MANIFEST).exists():
        raise unfinished(folder, f"{MANIFEST} is missing")
    with change(folder, MANIFEST, OURS) as place:
        facts, tables, sums = load(folder)
        shown = [(part, [_shown_step(step, facts, tables, place) for step in part.steps]) for part in PARTS]
        write_text(place / "report.html", render(facts, shown))
        kept = {name: sum_ for name, sum_ in sums.items() if is_ours(name, DATA)}
        write_record(place, MANIFEST, {name: fact for name, fact in facts.items() if name != FILES}, kept)
    for problem in facts["problems"]:
        yield f"warning: {problem}"
    for _, steps in shown:
        yield from (f"{step['title']}: {step['reading']}" for step in steps)
    yield f"figures:  {folder / 'figures'}"
    yield f"report:   {folder / 'report.html'}"


def load(folder: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame], Sums]:
    """The facts and the tables of a study, and the checksums of all that belongs to it.

    Raises:
        CaelabError: the folder holds no finished study, or one that was changed after it was written.
    """
    name = MANIFEST
    try:
        facts = read_record(folder, MANIFEST)
        sums, tables = sums_of(folder, facts, OURS), {}
        for table in facts["tables"]:
            name = f"data/{table}.parquet"
            check_file(folder / name, sums[name])
            tables[table] = pd.read_parquet(folder / name)
    except (OSError, ValueError, KeyError, TypeError, DamagedFile) as error:
        raise unfinished(folder, f"{name} is missing or damaged ({' '.join(str(error).split())})") from error
    return facts, tables, sums


def unfinished(folder: Path, what: str) -> CaelabError:
    """The error for a folder without a study that can be relied on."""
    return CaelabError(f"{folder} holds no finished bridge study: {what}; make one with: caelab bridge --out {folder}")


def _shown_step(step: Step, facts: dict[str, Any], tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, Any]:
    """A step's figure, saved and as markup, with its sentences; or why it is left out."""
    told = {"name": step.name, "title": step.title, "statement": step.statement, "markup": ""}
    if step.table not in tables:
        reason = facts.get("left_out", {}).get(step.table, f"the study has no table of {step.table}; run it again")
        return {**told, "reading": f"left out: {reason}"}
    with plain_look():
        figure = step.draw(tables[step.table])
        save_figure(figure, folder / "figures" / step.name)
    return {**told, "reading": step.reading(tables[step.table]), "markup": embedded(figure, step.name, step.title)}


def render(facts: dict[str, Any], shown: list[tuple[Any, list[dict[str, Any]]]]) -> str:
    """The page as HTML, in the look of the comparison's report."""
    loader = ChoiceLoader([PackageLoader("caelab_analyses"), PackageLoader("caelab.report")])
    surroundings = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return surroundings.get_template("bridge.html.j2").render(facts=facts, parts=shown)
