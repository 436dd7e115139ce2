"""Writing so that nothing is ever found half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"  # how the names of unfinished files and folders begin


def aside(target: Path) -> Path:
    """Where a file or folder grows before it appears under its name."""
    return target.with_name(f"{PARTIAL}{target.name}")


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Write a file beside its place; it appears under its name when complete, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{PARTIAL}{os.getpid()}-{target.name}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, target: Path) -> None:
    """Give a finished folder its name; where another process was first, theirs stays (it holds the same)."""
    try:
        os.replace(partial, target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(partial, ignore_errors=True)
