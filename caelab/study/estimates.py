"""Estimates of what a study will take, from what runs like its own took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from caelab.study.engine import run_names
from caelab.study.jobs import Job
from caelab.study.records import entries_in, states_in


@dataclass(frozen=True)
class Estimate:
    """What is still to be done.

    Attributes:
        runs: of the study.
        there: runs that lie in the folder of runs already.
        finished: runs whose analyses are recorded, too.
        failed: runs that failed.
        seconds: of training that are left, over all runs; None where nothing like them has run.
        size: bytes that the missing runs will take; None where nothing like them has run.
    """

    runs: int
    there: int
    finished: int
    failed: int
    seconds: float | None
    size: float | None


def estimated(jobs: Sequence[Job]) -> Estimate:
    """What is left of a study, from the records of the runs that it has.

    A missing run is taken to last as long as the mean of the recorded runs of its model on its data, or else as the
    mean of all recorded runs.
    """
    names = list(run_names(jobs))
    folder = jobs[0].folder if jobs else None
    there = _hashes_in(jobs[0].out) if jobs else set()
    states = states_in(folder) if folder else {}
    missing = [job for job, name in zip(jobs, names, strict=True) if name.rpartition("-")[2] not in there]
    spent = _spent(folder, names) if folder else {}
    return Estimate(
        len(jobs),
        len(jobs) - len(missing),
        sum(states.get(name) in ("done", "partly") for name in names),
        sum(states.get(name) == "failed" for name in names),
        _total(missing, spent, "seconds"),
        _total(missing, spent, "bytes"),
    )


def _hashes_in(runs: Path) -> set[str]:
    return {path.name.rpartition("-")[2] for path in runs.iterdir()} if runs.is_dir() else set()


def _spent(folder: Path, names: Sequence[str]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """What the recorded runs took, by model and data."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in entries_in(folder, names).values():
        if entry.spent:
            found.setdefault((entry.model, entry.dataset), []).append(entry.spent)
    return found


def _total(
    missing: Sequence[Job], spent: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], what: str
) -> float | None:
    means = {key: fmean(known) for key, each in spent.items() if (known := [s[what] for s in each if s.get(what)])}
    if missing and not means:
        return None
    typical = fmean(means.values()) if means else 0.0
    return sum(means.get((job.config.label, job.dataset), typical) for job in missing)
