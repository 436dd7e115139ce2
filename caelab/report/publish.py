"""Publishing a comparison: CSV and LaTeX tables, figures, the report page, and a summary in the terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysis.columns import Column, column_of
from caelab.analysis.contract import columns_of, load_analysis
from caelab.analysis.plotting import display_name, stored_appearances
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import SPLIT
from caelab.report.claims import VERDICTS, Finding, Numbers
from caelab.report.differences import differences, differences_table, ratios
from caelab.report.explorer import Explorer, explorers
from caelab.report.page import Page, all_pictures, chart_looks, model_settings, render, shared_settings
from caelab.report.published import published_tables
from caelab.report.run_pages import run_pages
from caelab.report.store import (
    MANIFEST,
    OURS,
    Comparison,
    draw_figures,
    kept,
    record_facts,
    refuse_missing,
    refuse_undrawn,
    stored,
    write_data,
)
from caelab.report.tables import (
    Cell,
    Table,
    all_tables,
    every_run,
    in_plain_letters,
    latex_table,
    measured,
    named_apart,
    short_table,
    summary_table,
)
from caelab.report.verdicts import refuse_failed, verdicts
from caelab.storage.files import write_bytes, write_text
from caelab.storage.transactions import change, write_record
from caelab.study.outcomes import Problem

NAMED = 9  # models in the title
FROZEN = "study.yaml"  # the study's file as it was when the study started, where a file made the comparison
PUBLISHED = ("runs.csv", "summary.csv", "statistics.csv", "findings.csv", "tables/*.tex", "report.html")


def publish_comparison(folder: Path, comparison: Comparison | None = None) -> Iterator[str]:
    """Write tables, figures and report of a comparison; all of them change together, or none.

    Args:
        folder: where it lies.
        comparison: a new one, which replaces what is there; without it, the one that is stored.

    Yields:
        Lines for the terminal: warnings first, then the table in short, then where everything is.

    Raises:
        CaelabError: the folder holds no finished comparison; or, once all else is published, none of its figures could
            be drawn, or a claim failed.
        StorageError: something cannot be written; what was there is still there, whole.
    """
    if comparison is None:
        refuse_missing(folder)
    with ExitStack() as stack:
        place = stack.enter_context(change(folder, MANIFEST, OURS))
        if comparison is None:
            comparison, sums = stored(folder)
        else:
            sums = {}
            comparison = replace(comparison, test_to_train=ratios(comparison.configs))
            write_data(comparison, place)
        stack.enter_context(stored_appearances(comparison.appearances))
        figures, undrawn = draw_figures(comparison, place)
        columns = columns_of_stored(comparison)
        tables, (found, failed) = (
            all_tables(comparison.rows, columns),
            verdicts(numbers_of(comparison, columns), comparison.claims),
        )
        unanswered = [Problem("all", each.claim, each.message, applies=True) for each in failed]
        problems = [*comparison.problems, *undrawn, *unanswered]
        pages, unpictured = run_pages(folder, comparison.rows, comparison.tables, problems)
        problems += unpictured
        _write_tables(comparison.rows, tables, place)
        paired = differences(comparison.rows, columns, comparison.configs, comparison.test_to_train)
        if len(paired):
            write_bytes(place / "statistics.csv", in_plain_letters(paired).to_csv(index=False).encode())
        if found:
            write_bytes(place / "findings.csv", pd.DataFrame(map(asdict, found)).to_csv(index=False).encode())
        dataset = numbers_of(comparison, columns).dataset
        beside = named_apart([*published_tables(comparison.rows, columns, dataset)])
        for table in beside:
            write_text(place / "tables" / f"{table.name}.tex", latex_table(table))
        tables = [*tables, *beside, *differences_table(paired, comparison.rows, columns)]
        page = _page_of(comparison, tables, found, figures, problems, folder, place)
        page = replace(page, explorers=_explorers_of(comparison, columns), run_pages=pages)
        _write_report(page, place / "report.html")
        write_record(place, MANIFEST, record_facts(comparison), kept(sums, undrawn, PUBLISHED))
    yield from warnings(problems)
    with stored_appearances(comparison.appearances):
        yield from in_short(comparison.rows, columns)
    if found:
        yield f"findings: {tally(found)}"
    more = {"statistics.csv": len(paired), "findings.csv": len(found)}
    files = ["summary.csv", "runs.csv", *(file for file, rows in more.items() if rows), "tables"]
    yield f"tables:   {', '.join(str(folder / file) for file in files)}"
    yield f"figures:  {folder / 'figures'} ({len(figures)}, as PDF and PNG)"
    yield f"report:   {folder / 'report.html'}"
    refuse_undrawn(comparison, figures)
    refuse_failed(failed)


def columns_of_stored(comparison: Comparison) -> list[Column]:
    """What the analyses of a comparison say of their numbers, and of a number that they do not describe, any other.

    An analysis that is no longer there says what it said when the comparison was made.
    """
    columns = columns_of(filter(_is_usable, comparison.tables))
    columns += [each for name, said in comparison.columns.items() if not _is_usable(name) for each in said]
    if all(column_of(number, columns) for number in measured(comparison.rows)):
        return columns
    others = [name for kind, name in catalogue().offers if kind == "analysis" and name not in comparison.tables]
    return [*columns, *(column for name in filter(_is_usable, others) for column in columns_of([name]))]


def _is_usable(analysis: str) -> bool:
    with suppress(CaelabError):
        return bool(load_analysis(analysis))
    return False


def numbers_of(comparison: Comparison, columns: Sequence[Column]) -> Numbers:
    """What claims are judged by; of the numbers that could select the best of a grid, the first that was measured."""
    numbers = Numbers(
        comparison.rows, comparison.tables, _dataset_name(comparison), test_to_train=comparison.test_to_train
    )
    for column in columns:
        if column.tune and column.name in comparison.rows:
            return replace(numbers, validation=column.name, larger_is_better=column.better == "larger")
    return numbers


def _dataset_name(comparison: Comparison) -> str:
    """The data sets of the models; mostly one."""
    return ", ".join(dict.fromkeys(config["dataset"]["kind"] for config in comparison.configs))


def warnings(problems: Sequence[Problem]) -> Iterator[str]:
    """One line for each analysis or claim that failed, and for each analysis that has no meaning here."""
    models = Counter((problem.analysis, problem.message, problem.applies) for problem in problems)
    for analysis, message, applies in models:
        whose = [p.model for p in problems if (p.analysis, p.message) == (analysis, message)]
        yield f"{'warning' if applies else 'note'}: {analysis} ({', '.join(dict.fromkeys(whose))}): {message}"


def _write_tables(rows: pd.DataFrame, tables: Sequence[Table], folder: Path) -> None:
    """Write ``runs.csv``, ``summary.csv`` and ``tables/*.tex``."""
    for name, frame in (("runs", rows), ("summary", summary_table(rows))):
        write_bytes(folder / f"{name}.csv", in_plain_letters(frame).to_csv(index=False).encode())
    for table in tables:
        write_text(folder / "tables" / f"{table.name}.tex", latex_table(table))


def _write_report(page: Page, target: Path) -> None:
    """Write the page, complete or not at all."""
    write_text(target, render(page))


def _page_of(
    comparison: Comparison,
    tables: Sequence[Table],
    found: Sequence[Finding],
    figures: Mapping[str, Any],
    problems: Sequence[Problem],
    folder: Path,
    place: Path,
) -> Page:
    """The content of the report page for a comparison; what is new already lies in ``place``."""
    return Page(
        title=title_of(comparison),
        facts=facts_of(comparison, folder),
        models=model_settings(comparison.configs),
        shared=shared_settings(comparison.configs),
        tables=[*tables, *_tuning_table(comparison)],
        findings=found,
        pictures=all_pictures(figures, place / "figures"),
        failed=[problem for problem in problems if problem.applies],
        meaningless=[problem for problem in problems if not problem.applies],
        runs=every_run(comparison.rows),
        versions=comparison.versions,
        looks=chart_looks(comparison.rows["model"]),
        study=FROZEN if (folder / FROZEN).is_file() else "",
    )


def _explorers_of(comparison: Comparison, columns: Sequence[Column]) -> list[Explorer]:
    """The tables that charts can be drawn from, that of the runs too."""
    tables = {**comparison.tables, "runs": comparison.rows}
    return explorers(tables, comparison.rows, columns)


def _tuning_table(comparison: Comparison) -> Iterator[Table]:
    """What was chosen on validation examples, among what; nothing where nothing was."""
    if comparison.tuning is None or comparison.tuning.empty:
        return
    caption = (
        f"Chosen on validation examples by the number {comparison.tuning.columns[2]!r}, the mean over all runs of a "
        "candidate. What was given is not chosen."
    )
    rows = [
        tuple(map(Cell, (display_name(model), setting, f"{error:.4g}" if isfinite(error) else "–", choice)))
        for model, setting, error, choice in comparison.tuning.fillna({"choice": ""}).to_numpy()
    ]
    yield Table("tuning", caption, ("model", "setting", comparison.tuning.columns[2], ""), tuple(rows))


def title_of(comparison: Comparison) -> str:
    """The models and the data; of many models only how many."""
    names = [display_name(config["label"]) for config in comparison.configs]
    models = ", ".join(names) if len(names) <= NAMED else f"{len(names)} models"
    return f"{models} on {_dataset_name(comparison)}"


def facts_of(comparison: Comparison, folder: Path) -> dict[str, str]:
    """A few words on what was run."""
    seconds = training_seconds(comparison.rows, folder)
    return {
        "command": comparison.command,
        "data": "; ".join(dict.fromkeys(_data_text(config["dataset"]) for config in comparison.configs)),
        **_splits_told(comparison.rows),
        "seeds": f"{len(comparison.seeds)} per model ({', '.join(map(str, comparison.seeds))}); "
        f"models of one seed share {shared_by_seed(comparison.configs)}",
        **({"training": f"{sum(seconds):.0f} s in {len(seconds)} runs"} if seconds else {}),
    }


def _splits_told(rows: pd.DataFrame) -> dict[str, str]:
    """Which random splits of the data there are, where they are repeated; figures count every pair as a seed."""
    if SPLIT not in rows:
        return {}
    splits = sorted(rows[SPLIT].unique())
    told = f"{len(splits)} of the data ({', '.join(map(str, splits))}), the same for every model"
    return {"splits": f"{told}; below, every pair of a split and a seed counts as a seed"}


def _data_text(block: Mapping[str, Any]) -> str:
    splits = block.get("splits")
    sizes = f", {splits[0]} examples to train, {splits[1]} to validate, {splits[2]} to test" if splits else ""
    return f"{block['kind']}{sizes}"


def shared_by_seed(configs: Sequence[Mapping[str, Any]]) -> str:
    """What the models of one seed have in common, so that their differences are paired."""
    if all(config["dataset"] == configs[0]["dataset"] for config in configs):
        return "splits and initial weights"
    return "splits and initial weights only where their data are the same; numbers on different data cannot be compared"


def training_seconds(rows: pd.DataFrame, folder: Path) -> list[float]:
    """How long each run trained, as far as the runs are still there."""
    found = []
    for name in rows.get("run", ()):
        try:
            facts = json.loads((folder / "runs" / name / "run.json").read_text(encoding="utf-8"))
            found.append(float(facts["record"]["seconds"]))  # without the model, whose code need not be at hand
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def in_short(rows: pd.DataFrame, columns: Sequence[Column]) -> Iterator[str]:
    """The table's main columns, aligned for a terminal."""
    table = short_table(rows, columns)
    if table is None:
        return
    lines = [table.headings, *([cell.text for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        yield "  ".join([first.ljust(widths[0]), *(text.rjust(w) for text, w in zip(rest, widths[1:], strict=True))])


def tally(found: Sequence[Finding]) -> str:
    """How many claims have which verdict."""
    counts = Counter(finding.verdict for finding in found)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
