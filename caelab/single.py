"""Analyses of runs outside a comparison: tables and figures into one folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caelab.analysing import GIVEN_BY_CORE, analyse, drawn, gather, load_analysis, store, summarise
from caelab.comparison import claim
from caelab.config import parse_setting
from caelab.errors import CaelabError
from caelab.figures import save_figure
from caelab.files import written_aside
from caelab.loading import allow_code_in
from caelab.runs import Run
from caelab.schema import checked_options

MARK = "analysis.json"


def analyse_runs(runs: Sequence[Run], names: Sequence[str], settings: Sequence[str], out: Path) -> Iterator[str]:
    """Measure every run with every analysis; write ``NAME.parquet``, ``.pdf`` and ``.png``.

    Yields:
        For each analysis a line that says where its output is, and one for each run with what sums it up.

    Raises:
        CaelabError: an unknown analysis or option, an analysis that fails, or ``out`` is a file or not ours.
    """
    options = analysis_options(names, settings)
    for name in names:
        checked_options(load_analysis(name).measure, options[name], name, GIVEN_BY_CORE)
    claim(out, MARK)
    for name in names:
        tables = [analyse(run, name, **options[name]) for run in runs]
        table = gather(tables)
        store(table, out / f"{name}.parquet", name)
        save_figure(drawn(name, table), out / name)
        note(out, name, options[name], runs)
        yield f"{name}: {out / name}.pdf, .png, .parquet"
        yield from in_short(runs, [summarise(name, each) for each in tables])


def note(out: Path, name: str, options: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Write down beside a table what it was measured from."""
    facts = json.loads((out / MARK).read_text(encoding="utf-8"))
    facts[name] = {"options": options, "runs": [str(run.path or run.record.get("encoder", run.label)) for run in runs]}
    with written_aside(out / MARK) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def in_short(runs: Sequence[Run], numbers: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """What sums each run up, as ``  cae: mean norm = 3.914, saturated share = 0.64``; the seed where needed."""
    labels = [run.label for run in runs]
    for run, found in zip(runs, numbers, strict=True):
        seed = f", seed {run.seed}" if labels.count(run.label) > 1 else ""
        if found:
            yield f"  {run.label}{seed}: " + ", ".join(f"{name} = {value:.4g}" for name, value in found.items())


def analysis_options(names: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of each analysis from ``ANALYSIS.OPTION=VALUE``.

    >>> analysis_options(["tangents"], ["tangents.count=3"])
    {'tangents': {'count': 3}}
    """
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for setting in settings:
        path, value = parse_setting(setting)
        name, _, option = path.partition(".")
        if name not in options or not option:
            raise CaelabError(
                f"expected an option of {', '.join(names)}, as {names[0]}.OPTION=VALUE, but {setting!r} came"
            )
        allow_code_in(value)
        options[name][option] = value
    return options
