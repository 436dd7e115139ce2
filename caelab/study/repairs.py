"""Repairs of a study: what failed is forgotten, and what is damaged is put aside, so that both are done again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from caelab.errors import CaelabError
from caelab.runs.run import read_record
from caelab.storage.checked_files import read_files
from caelab.storage.files import told_as_storage
from caelab.study.folder import PlannedRun, asked_in
from caelab.study.records import entries_in, forget, states_in
from caelab.study.results import runs_of

DAMAGED = "damaged"  # the folder of a study for runs that are put aside


def forget_failures(folder: Path, plan: Sequence[PlannedRun]) -> int:
    """Forget which runs of a study failed, and of which an analysis failed; put damaged ones aside.

    Args:
        folder: of the study.
        plan: its runs.

    Returns:
        How many runs will be tried again.

    Raises:
        CaelabError: the folder holds no study.
        StorageError: a file cannot be removed.
    """
    runs, states = runs_of(folder, asked_in(folder)), states_in(folder)
    wrong = [each for each in plan if states.get(each.run) in ("partly", "failed")]
    entries = entries_in(folder, [each.run for each in wrong])
    for each in wrong:
        entry = entries.get(each.run)
        put_aside_if_damaged(runs / (entry.folder or each.run if entry else each.run), folder / DAMAGED)
        forget(folder, each.run, states[each.run])
    return len(wrong)


def put_aside_if_damaged(run: Path, place: Path) -> bool:
    """Move a run whose files are not what was written out of the way; nothing of it is deleted."""
    if not run.is_dir():
        return False
    try:
        read_record(run)
        read_files(run)
    except CaelabError:
        with told_as_storage(place):
            place.mkdir(parents=True, exist_ok=True)
            count = sum(each.name.startswith(run.name) for each in place.iterdir())
            os.replace(run, place / (run.name if not count else f"{run.name}.{count}"))
        return True
    return False
