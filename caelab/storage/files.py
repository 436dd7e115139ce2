"""Atomic writes: a file appears under its name only when it is complete; an error says why it could not be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from caelab.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd

PARTIAL = ".partial-"  # how the names of unfinished files and folders begin
GOES_ON = "the same command then goes on from what is stored"
REASONS = {
    errno.ENOSPC: f"the disk is full: {{path}} cannot be {{done}}; make room, {GOES_ON}",
    errno.EDQUOT: f"your quota on this disk is used up: {{path}} cannot be {{done}}; make room, {GOES_ON}",
    errno.EFBIG: f"{{path}} would be larger than a file may be here (see: ulimit -f); raise that limit, {GOES_ON}",
    errno.EROFS: "{path} cannot be {done}: its file system is read-only; give another place",
    errno.EACCES: "{path} may not be {done} (Permission denied); change its permissions, or give another place",
    errno.EPERM: "{path} may not be {done} (Operation not permitted); change its permissions, or give another place",
    errno.ENAMETOOLONG: "the name of {path} is longer than the file system allows; give a shorter name",
    errno.EIO: f"the disk failed (Input/output error): {{path}} cannot be {{done}}; mend the disk, {GOES_ON}",
    errno.EMFILE: f"{{path}} cannot be {{done}}: too many files are open (see: ulimit -n); raise that limit, {GOES_ON}",
    errno.ENFILE: f"{{path}} cannot be {{done}}: too many files are open on this machine; close some, {GOES_ON}",
}
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)  # what may still be read, though nothing may be written


def storage_error(error: OSError, path: Path | str | None = None, done: str = "written") -> StorageError:
    """The sentence for a file that the system refused to write or to read.

    Args:
        error: what the system said.
        path: the file as its user knows it; without it, the one that the error names.
        done: what was to be done with it: ``written`` or ``read``.
    """
    if isinstance(error, StorageError):
        return error
    path = path if path is not None else error.filename or "a file"
    told = f"{path} cannot be used: {error.strerror or error}; give another place, or make room"
    return StorageError(REASONS.get(error.errno or 0, told).format(path=path, done=done), error.errno)


@contextmanager
def told_as_storage(path: Path | str, done: str = "written") -> Iterator[None]:
    """Raise errors of the system within this block as one sentence, which names ``path``.

    Raises:
        StorageError: an ``OSError`` came, which is the cause.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, done) from error


def aside(target: Path) -> Path:
    """The path at which a file or folder is written before it is renamed."""
    return target.with_name(f"{PARTIAL}{target.name}")


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it when it is complete.

    Raises:
        StorageError: it cannot be written; what was there before is still there.
    """
    partial = target.with_name(f"{PARTIAL}{os.getpid()}-{token_hex(4)}-{target.name}")
    with told_as_storage(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file, complete or not at all, with the rights that the user's umask gives.

    Raises:
        StorageError: it cannot be written.
    """
    with written_aside(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, text: str) -> None:
    """Write a text in UTF-8, complete or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(target, text.encode())


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as the content of a Parquet file; it is made in memory, so that what fails is the table, not the disk."""
    content = BytesIO()
    table.to_parquet(content)
    return content.getvalue()


def publish(partial: Path, target: Path) -> None:
    """Give a finished folder its name; where another process was first, theirs stays (it holds the same).

    Raises:
        StorageError: the folder cannot have that name.
    """
    try:
        os.replace(partial, target)
    except OSError as error:
        if not target.is_dir():
            raise storage_error(error, target) from error
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path, ending: str = "") -> None:
    """Remove what a killed process left unfinished in a folder: only its one writer may call this.

    Args:
        folder: where to look.
        ending: only names with this ending.
    """
    for path in folder.glob(f"{PARTIAL}*{ending}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
