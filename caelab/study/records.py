"""Records of a study: what each run left, one file per run, so that a study survives whatever ends its processes.

``outcomes/RUN.STATE.json`` in the study's folder says of the run RUN what its STATE is: ``done``, with all analyses;
``partly``, where an analysis failed; or ``failed``. A run without a file is still to be carried out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any, Literal, get_args

from caelab.errors import DamagedFile
from caelab.storage.checked_files import HISTORY, RECORD, WEIGHTS
from caelab.storage.checksums import sealed, unsealed
from caelab.storage.files import PARTIAL, aside, remove_partial, told_as_storage, write_text

OUTCOMES = "outcomes"
ENDING = ".json"
State = Literal["done", "partly", "failed"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Entry:
    """What is recorded of a run.

    Attributes:
        run: the name of its folder.
        model: its label.
        dataset: the name of its data.
        split: the seed of the split.
        seed: of the run.
        state: what became of it.
        asked: digest of the analyses that were asked, with their options and code.
        message: why it failed.
        numbers: what sums it up.
        origins: by number, the analysis that it comes from.
        folder: of the run as it was found; it bears another label where another study trained the same run.
        tables: by analysis, the name of its table in the run's folder.
        files: of the run, with size and time of change, by which a later change is noticed.
        problems: analyses that did not work, as plain values.
        spent: seconds of training, bytes on disk, host, process, and the time of the end.
    """

    run: str
    model: str
    dataset: str
    split: int
    seed: int
    state: State
    asked: str
    message: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Mapping[str, Any], ...] = ()
    spent: Mapping[str, Any] = field(default_factory=dict)


def place_of(folder: Path, run: str, state: str) -> Path:
    """Where the record of a run lies."""
    return folder / OUTCOMES / f"{run}.{state}{ENDING}"


def target_of(folder: Path, run: str) -> Path:
    """What a process locks while it carries out a run for this study."""
    return folder / OUTCOMES / run


def write_entry(folder: Path, entry: Entry) -> None:
    """Record what became of a run; an earlier record of it goes.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(place_of(folder, entry.run, entry.state), sealed(asdict(entry)))
    for state in STATES:
        if state != entry.state:
            forget(folder, entry.run, state)


def remove_unfinished(folder: Path, run: str) -> None:
    """Remove records that a killed process left unfinished; only who holds the lock of the run may call this."""
    for state in STATES:
        remove_partial(folder / OUTCOMES, f"-{escape(run)}.{state}{ENDING}")


def forget(folder: Path, run: str, state: str) -> None:
    """Remove a record, so that the run is carried out again."""
    with told_as_storage(folder):
        place_of(folder, run, state).unlink(missing_ok=True)


def read_entry(folder: Path, run: str) -> Entry | None:
    """The record of a run; None where there is none, or a damaged one, which does not count.

    Raises:
        StorageError: it cannot be read.
    """
    for state in STATES:
        found = _read(place_of(folder, run, state))
        if found is not None:
            return found
    return None


def _read(path: Path) -> Entry | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return None
    except OSError:
        with told_as_storage(path, "read"):
            raise
    with suppress(DamagedFile, TypeError, ValueError):
        facts = unsealed(text)
        if f"{facts['run']}.{facts['state']}{ENDING}" == path.name:
            return Entry(**{**facts, "problems": tuple(facts["problems"])})
    return None


def states_in(folder: Path) -> dict[str, str]:
    """The state of every recorded run by its name, from the names of the files alone: quick for very many."""
    found: dict[str, str] = {}
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder / OUTCOMES):
            name, _, state = entry.name.removesuffix(ENDING).rpartition(".")
            if state in STATES and entry.name.endswith(ENDING) and not name.startswith(PARTIAL):
                found[name] = state
    return found


def entries_in(folder: Path, runs: Iterable[str], asked: str = "") -> dict[str, Entry]:
    """The records of those runs that have one, by name.

    Args:
        folder: of the study.
        runs: the names of their folders.
        asked: digest of the analyses; records of others do not count, unless it is empty.
    """
    states = states_in(folder)
    read = {run: _read(place_of(folder, run, states[run])) for run in runs if run in states}
    return {run: entry for run, entry in read.items() if entry is not None and asked in ("", entry.asked)}


def files_of(folder: Path, tables: Iterable[str]) -> dict[str, list[int]]:
    """Size and time of change of a run's files, as far as they are there."""
    found = {}
    for name in (RECORD, WEIGHTS, HISTORY, *(f"tables/{table}" for table in tables)):
        with suppress(OSError):
            status = (folder / name).stat()
            found[name] = [status.st_size, status.st_mtime_ns]
    return found


def is_unchanged(entry: Entry, runs: Path) -> bool:
    """Whether the files of a recorded run are as they were then, and nothing of it is unfinished; reads none."""
    run = runs / entry.folder
    return bool(entry.files) and files_of(run, entry.tables.values()) == dict(entry.files) and not aside(run).exists()


def spent_on(folder: Path, seconds: float | None) -> dict[str, Any]:
    """What a run took, and where it ran; for estimates and for people, never part of a result.

    Args:
        folder: of the run.
        seconds: that its training took.
    """
    with suppress(OSError):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return {"seconds": seconds, "bytes": size, **_where()}
    return {"seconds": seconds, **_where()}


def _where() -> dict[str, Any]:
    return {"host": platform.node(), "process": os.getpid(), "ended": datetime.now(UTC).isoformat(timespec="seconds")}
