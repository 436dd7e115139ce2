"""Analyses of runs outside a comparison: tables and figures into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from caelab.analysing import analyse, gather, load_analysis
from caelab.config import parse_setting
from caelab.errors import CaelabError
from caelab.figures import save_figure
from caelab.files import written_aside
from caelab.runs import Run


def analyse_runs(runs: Sequence[Run], names: Sequence[str], settings: Sequence[str], out: Path) -> Iterator[str]:
    """Measure every run with every analysis; write ``NAME.parquet``, ``NAME.pdf`` and ``NAME.png``.

    Yields:
        One line per analysis that says where its output is.

    Raises:
        CaelabError: an unknown analysis or option, an analysis that fails, or ``out`` is a file.
    """
    options = analysis_options(names, settings)
    if out.is_file():
        raise CaelabError(f"the output {out} is a file; give a folder with --out")
    for name in names:
        table = gather(analyse(run, name, **options[name]) for run in runs)
        with written_aside(out / f"{name}.parquet") as partial:
            table.to_parquet(partial)
        save_figure(load_analysis(name).draw(table), out / name)
        yield f"{name}: {out / name}.pdf, .png, .parquet"


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
        options[name][option] = value
    return options
