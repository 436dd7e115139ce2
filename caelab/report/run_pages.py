"""The pages of single runs inside a report: settings, versions, losses and pictures, as data for its script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from caelab.analysis.contract import title_of
from caelab.analysis.plotting import display_name
from caelab.report.pictures import pictures
from caelab.report.run_keys import key_columns
from caelab.storage.checked_files import HISTORY, RECORD
from caelab.study.outcomes import Problem

DIGITS = 6  # of a loss
MOST_NUMBERS = 400_000  # of the losses of all runs
LEAST_EPOCHS = 20
KNOWN = ("seconds", "data_hash", "split_hash")  # what a page says of a run's record beside its versions


def run_pages(
    folder: Path, rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame], problems: Sequence[Problem] = ()
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """What the page says of each run, and the analyses whose pictures failed.

    Args:
        folder: of the comparison; what is missing of a run in it, as where its folder was removed, is left out.
        rows: one row per run.
        tables: by analysis, over all runs.
        problems: what went wrong.
    """
    if "run" not in rows:
        return [], []
    drawn, step, failed = pictures(tables, rows)
    keys = {name: key_columns(tables[name], rows) for name in drawn}
    most = MOST_NUMBERS // max(len(rows), 1)
    found = []
    for row in rows.to_dict("records"):
        place = folder / "runs" / str(row["run"])
        shown = {
            title_of(name): of_runs[key]
            for name, of_runs in drawn.items()
            if (key := tuple(str(row[column]) for column in keys[name])) in of_runs
        }
        told = [f"{each.analysis}: {each.message}" for each in problems if each.model in (row["model"], "all")]
        about = {"name": str(row["run"]), "model": str(row["model"]), "title": _title(row), "problems": told}
        found.append({**about, **_recorded(place), **_losses(place, most), "pictures": shown, "reduced": step})
    return found, failed


def _title(row: Mapping[Any, Any]) -> str:
    others = [f"{key} {row[key]}" for key in ("dataset", "split") if key in row]
    return ", ".join([display_name(str(row["model"])), f"seed {row['seed']}", *others])


def _recorded(place: Path) -> dict[str, Any]:
    """Config, versions and a few facts of a run; what cannot be read is left out."""
    try:
        facts = json.loads((place / RECORD).read_text(encoding="utf-8"))
        record, config = facts["record"], facts["config"]
        known = {key: record[key] for key in KNOWN if key in record}
        return {"config": _without_nan(config), "versions": dict(record.get("versions", {})), "facts": known}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _losses(place: Path, most: int) -> dict[str, Any]:
    """The metrics of the epochs, as lists by name; evenly spaced epochs where they are too many.

    Args:
        place: the run's folder.
        most: how many numbers.
    """
    try:
        table = pd.read_parquet(BytesIO((place / HISTORY).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
    numbers = table.select_dtypes("number")
    epochs = max(most // max(len(numbers.columns), 1), LEAST_EPOCHS)
    if len(numbers) > epochs:
        numbers = numbers.iloc[np.unique(np.linspace(0, len(numbers) - 1, epochs).round().astype(int))]
    return {
        "losses": {str(name): [_short(value) for value in numbers[name].tolist()] for name in numbers},
        "epochs": len(table),
    }


def _short(value: float) -> float | int | None:
    """A number to ``DIGITS`` digits; None where it is not finite, which JSON cannot say."""
    if isinstance(value, int):
        return value
    return float(f"{value:.{DIGITS}g}") if isfinite(value) else None


def _without_nan(value: Any) -> Any:
    """A value with texts in the place of numbers that JSON cannot say."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
