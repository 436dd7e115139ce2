"""Transactions: files of a folder that belong together change together, or none of them does.

New files are written beside the old ones, and the last of them is a record that names every file that belongs to the
folder then, with its SHA-256. When that is complete it gets another name at one stroke; from then on the new files are
what counts, and all that is left is to move them to their places. Whatever interrupts the moves, the next process that
reads or writes the folder ends them. What interrupts the writing leaves the old files as they were.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from caelab.errors import DamagedFile, StorageError
from caelab.storage.checksums import FILES, check_file, checksum_of, sealed, unsealed
from caelab.storage.files import PARTIAL, READ_ONLY, told_as_storage, write_text
from caelab.storage.locks import one_writer

log = logging.getLogger(__name__)

NEXT = f"{PARTIAL}next"  # where new files grow
READY = f"{PARTIAL}ready"  # the same folder, once it is complete

Sums = Mapping[str, str]  # SHA-256 of files by their places in the folder


@contextmanager
def change(folder: Path, manifest: str, ours: Sequence[str]) -> Iterator[Path]:
    """Change files of a folder together, while no other process does.

    Args:
        folder: what they are part of.
        manifest: the name of its record, which ``write_record`` must have written at the end of the block.
        ours: patterns of all that may belong to it, as ``data/*.parquet``; what the new record does not name goes.

    Yields:
        Where to write the new files, each as it will lie in the folder.

    Raises:
        StorageError: a file cannot be written; all files are as they were, or will be the new ones.
    """
    with one_writer(folder / manifest):
        _end_interrupted(folder, manifest, ours)
        place = folder / NEXT
        try:
            with told_as_storage(folder):
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
            yield place
            with told_as_storage(folder):
                os.replace(place, folder / READY)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        _end_interrupted(folder, manifest, ours)


@contextmanager
def unchanging(folder: Path, manifest: str, ours: Sequence[str]) -> Iterator[None]:
    """Read files of a folder while no process changes them; where nothing can be written, nobody does."""
    with ExitStack() as stack:
        if folder.is_dir():
            try:
                stack.enter_context(one_writer(folder / manifest))
            except StorageError as error:
                if error.errno not in READ_ONLY:
                    raise
            else:
                _end_interrupted(folder, manifest, ours)
        yield


def write_record(place: Path, manifest: str, facts: Mapping[str, Any], kept: Sums) -> None:
    """Write the record of what belongs together: the files in ``place``, and those of before that are kept."""
    new = {name: checksum_of(path) for name, path in _files_in(place).items()}
    write_text(place / manifest, sealed({**facts, FILES: {**kept, **new}}))


def read_record(folder: Path, manifest: str) -> dict[str, Any]:
    """The record of a folder.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is no record, or was changed after it was written.
        StorageError: it cannot be read.
    """
    check_file(folder / manifest, None)
    try:
        with told_as_storage(folder / manifest, "read"):
            return unsealed((folder / manifest).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DamagedFile("it is not text") from error


def sums_of(folder: Path, facts: Mapping[str, Any], ours: Sequence[str]) -> dict[str, str]:
    """The checksums that a record states; of one from before there were any, those of the files that are there."""
    if FILES not in facts:
        return {name: checksum_of(folder / name) for name in _matching(folder, ours)}
    return {name: str(sum_) for name, sum_ in dict(facts[FILES]).items() if is_ours(name, ours)}


def is_ours(name: str, ours: Sequence[str]) -> bool:
    """Whether the name of a file fits a pattern, folder by folder; nothing outside the folder does.

    >>> is_ours("data/a.parquet", ["data/*.parquet"]), is_ours("data/../../a.parquet", ["data/*.parquet"])
    (True, False)
    """
    parts = name.split("/")
    if {"", ".", ".."} & {*parts}:
        return False
    split = [pattern.split("/") for pattern in ours]
    return any(len(each) == len(parts) and all(map(fnmatchcase, parts, each)) for each in split)


def _end_interrupted(folder: Path, manifest: str, ours: Sequence[str]) -> None:
    """Move complete new files to their places, if there are any; only who holds the lock may call this.

    Raises:
        StorageError: a file cannot be moved; the next call goes on.
    """
    ready = folder / READY
    if not ready.is_dir():
        return
    try:
        coming = dict(read_record(ready, manifest)[FILES])
    except FileNotFoundError:
        coming = None  # it was moved last: only empty folders are left
    except (DamagedFile, KeyError) as error:
        log.warning("new files of %s are damaged and left out: %s", folder, error)
        coming = None
    if coming is not None:
        _move(ready, folder, manifest, [name for name in _belonging(folder, manifest, ours) if name not in coming])
    shutil.rmtree(ready, ignore_errors=True)


def _move(ready: Path, folder: Path, manifest: str, stale: Sequence[str]) -> None:
    """Every file to its place, the record last."""
    for name, path in _files_in(ready).items():
        if name != manifest:
            _move_file(path, folder / name)
    for name in stale:
        with told_as_storage(folder / name):
            (folder / name).unlink(missing_ok=True)
    _move_file(ready / manifest, folder / manifest)


def _move_file(path: Path, target: Path) -> None:
    with told_as_storage(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            target.rmdir()  # an empty folder in its place; one that holds something is not ours to remove
        os.replace(path, target)


def _belonging(folder: Path, manifest: str, ours: Sequence[str]) -> list[str]:
    """The files that belong to a folder now: those its record names, or where it names none, those that fit."""
    try:
        facts = read_record(folder, manifest)
    except (FileNotFoundError, DamagedFile):
        facts = {}
    return [*sums_of(folder, facts, ours)] if FILES in facts else _matching(folder, ours)


def _matching(folder: Path, ours: Sequence[str]) -> list[str]:
    found = [path for pattern in ours for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in found if not path.name.startswith(PARTIAL)]


def _files_in(place: Path) -> dict[str, Path]:
    return {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
