"""The bridge's page, from its stored tables alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from caelab.errors import CaelabError
from caelab.figures import save_figure
from caelab.files import written_aside
from caelab.report import embedded
from caelab_analyses.bridge.parts import PARTS, Step
from caelab_analyses.bridge.study import MARK


def publish(folder: Path) -> Iterator[str]:
    """Draw every step and write ``report.html``.

    Yields:
        Lines for the terminal: what each step found, and where everything is.

    Raises:
        CaelabError: the folder holds no finished study.
    """
    facts, tables = load(folder)
    shown = [(part, [shown_step(step, facts, tables, folder) for step in part.steps]) for part in PARTS]
    with written_aside(folder / "report.html") as partial:
        partial.write_text(render(facts, shown), encoding="utf-8")
    for problem in facts["problems"]:
        yield f"warning: {problem}"
    for _, steps in shown:
        yield from (f"{step['title']}: {step['reading']}" for step in steps)
    yield f"figures:  {folder / 'figures'}"
    yield f"report:   {folder / 'report.html'}"


def load(folder: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The facts and the tables of a study."""
    try:
        facts = json.loads((folder / MARK).read_text(encoding="utf-8"))
        tables = {name: pd.read_parquet(folder / "data" / f"{name}.parquet") for name in facts["tables"]}
    except (OSError, ValueError, KeyError) as error:
        raise CaelabError(
            f"{folder} holds no finished bridge study ({type(error).__name__}); make one with: caelab bridge --out "
            f"{folder}"
        ) from error
    return facts, tables


def shown_step(step: Step, facts: dict[str, Any], tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, Any]:
    """A step's figure, saved and as markup, with its sentences; or why it is left out."""
    told = {"name": step.name, "title": step.title, "statement": step.statement, "markup": ""}
    if step.table not in tables:
        reason = facts.get("left_out", {}).get(step.table, f"the study has no table of {step.table}; run it again")
        return {**told, "reading": f"left out: {reason}"}
    figure = step.draw(tables[step.table])
    save_figure(figure, folder / "figures" / step.name)
    return {**told, "reading": step.reading(tables[step.table]), "markup": embedded(figure, step.name, step.title)}


def render(facts: dict[str, Any], shown: list[tuple[Any, list[dict[str, Any]]]]) -> str:
    """The page as HTML, in the look of the comparison's report."""
    loader = ChoiceLoader([PackageLoader("caelab_analyses"), PackageLoader("caelab")])
    surroundings = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return surroundings.get_template("bridge.html.j2").render(facts=facts, parts=shown)
