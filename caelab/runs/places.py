"""Where the folders of runs lie, and which of them holds a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from caelab.data import Dataset
from caelab.runs.config import RunConfig
from caelab.storage.files import PARTIAL

_near: ContextVar[Path | None] = ContextVar("folder of runs", default=None)


def run_folder(out: Path, config: RunConfig, dataset: Dataset) -> Path:
    """Where a run lives: named by its label and by the hash of all that determines it."""
    return out / f"{config.label}-{config.content_hash(dataset.content_hash)}"


def existing_run(out: Path, config: RunConfig, dataset: Dataset) -> Path | None:
    """Where a run lies already, under this label or under another one; None where it does not.

    The label is only a name, so that two studies that call one run differently share it.
    """
    own = run_folder(out, config, dataset)
    if own.is_dir():
        return own
    name = own.name.removeprefix(config.label)
    with suppress(OSError):
        for entry in sorted(os.scandir(out), key=lambda entry: entry.name):
            if entry.name.endswith(name) and not entry.name.startswith(PARTIAL) and entry.is_dir():
                return out / entry.name
    return None


@contextmanager
def near(folder: Path | None) -> Iterator[None]:
    """Within the block, a run that another one is made from is looked for in this folder; None changes nothing."""
    token = _near.set(_near.get() if folder is None else folder)
    try:
        yield
    finally:
        _near.reset(token)


def folder_near() -> Path | None:
    """The folder in which runs are looked for that others are made from."""
    return _near.get()
