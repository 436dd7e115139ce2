"""Analyses of runs outside a comparison: tables and figures into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysis.base import drawn, gather, named_failure, tables_there
from caelab.analysis.contract import columns_of, load_analysis, options_of
from caelab.analysis.plotting import plain_look, save_figure
from caelab.analysis.several import compared_beside, measured_each, summaries
from caelab.errors import CaelabError, DamagedFile
from caelab.registry.importing import allow_code_in
from caelab.runs.run import Run
from caelab.runs.settings import parse_setting
from caelab.storage.checksums import FILES
from caelab.storage.files import parquet_bytes, write_bytes
from caelab.storage.folders import open_folder
from caelab.storage.transactions import Sums, change, read_record, sums_of, write_record

MANIFEST = "analysis.json"


def analyse_runs(runs: Sequence[Run], names: Sequence[str], settings: Sequence[str], out: Path) -> Iterator[str]:
    """Measure every run with every analysis; write ``NAME.parquet``, ``.pdf`` and ``.png``.

    Yields:
        For each analysis a line that says where its output is, and one for each run with what sums it up.

    Raises:
        CaelabError: an unknown analysis or option, an analysis that fails, or ``out`` is a file or not ours.
    """
    options = _analysis_options(names, settings)
    for name in names:
        options_of(name, load_analysis(name), options[name])
    columns_of(names)
    open_folder(out, MANIFEST)
    for name in names:
        with _stored_tables_named(tables_there(runs, name, options[name])):
            measured = measured_each(runs, name, options[name])
            compared = compared_beside(measured, runs, name, options[name])
            write(gather([*measured, *compared]), name, options[name], runs, out)
            found = summaries(name, measured, compared, [(run.label, run.seed) for run in runs])
        yield f"{name}: {out / name}.pdf, .png, .parquet"
        yield from in_short(runs, found)


@contextmanager
def _stored_tables_named(there: Sequence[Path]) -> Iterator[None]:
    """An analysis that fails on a table that it did not measure now may fail on what lies there in its place.

    Raises:
        CaelabError: the same, with what to delete.
    """
    try:
        yield
    except CaelabError as error:
        if not there or type(error) is not CaelabError or error.__cause__ is None:
            raise
        places = " and ".join(map(str, there))
        raise CaelabError(
            f"{error}; what it fails on was stored before: delete {places} to measure it again"
        ) from error


def write(table: pd.DataFrame, name: str, options: Mapping[str, Any], runs: Sequence[Run], out: Path) -> None:
    """Write a table, its figure, and what they were measured from, together.

    Raises:
        CaelabError: the table cannot be stored or drawn, or what the folder says of itself is damaged.
        StorageError: a file cannot be written; the earlier ones are all still there.
    """
    with named_failure(name, "returns a table that cannot be stored as Parquet"):
        content = parquet_bytes(table)
    figure = drawn(name, table)
    with change(out, MANIFEST, files_of([name])) as place:
        facts, kept = _so_far(out, name)
        write_bytes(place / f"{name}.parquet", content)
        with named_failure(name, "could not be drawn"), plain_look():
            save_figure(figure, place / name)
        whose = [str(run.path or run.record.get("encoder", run.label)) for run in runs]
        write_record(place, MANIFEST, {**facts, name: {"options": options, "runs": whose}}, kept)


def _so_far(out: Path, but: str) -> tuple[dict[str, Any], Sums]:
    """What a folder says of itself, and the checksums of its files but those of one analysis."""
    try:
        facts = read_record(out, MANIFEST)
    except (FileNotFoundError, DamagedFile) as error:
        raise CaelabError(f"{out / MANIFEST} is damaged ({error}); give a new folder with --out") from error
    names = [name for name in facts if name not in (FILES, but)]
    sums = sums_of(out, facts, files_of(names))
    return {name: facts[name] for name in names}, sums


def files_of(names: Sequence[str]) -> list[str]:
    """The names of the files that these analyses write."""
    return [f"{name}.{kind}" for name in names for kind in ("parquet", "pdf", "png")]


def in_short(runs: Sequence[Run], numbers: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """The summary of each run as a line of text, as ``  cae: mean norm = 3.914, saturated share = 0.64``."""
    labels = [run.label for run in runs]
    for run, found in zip(runs, numbers, strict=True):
        seed = f", seed {run.seed}" if labels.count(run.label) > 1 else ""
        if found:
            yield f"  {run.label}{seed}: " + ", ".join(f"{name} = {value:.4g}" for name, value in found.items())


def _analysis_options(names: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of each analysis from ``ANALYSIS.OPTION=VALUE``.

    >>> _analysis_options(["tangents"], ["tangents.count=3"])
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
