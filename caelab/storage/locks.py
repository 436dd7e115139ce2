"""Locks for one writer at a time; a lock ends with the process that holds it, and leaves no harmful file."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caelab.storage.files import PARTIAL, told_as_storage

log = logging.getLogger(__name__)

WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # what a file system without locks says
PAUSE = 0.1  # seconds between two tries, where the system cannot wait by itself

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(file: int) -> None:
        while not _try_lock(file):
            time.sleep(PAUSE)
else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


def lock_file(target: Path) -> Path:
    """The file that whoever writes ``target`` holds locked; it is there only meanwhile, and it is empty."""
    return target.with_name(f"{PARTIAL}{target.name}.lock")


@contextmanager
def one_writer(target: Path) -> Iterator[None]:
    """Within this block no other process, and no other thread, is in the block of the same target; the others wait.

    The lock belongs to an open file, so it ends with its holder, however that ends; a file that a killed process left
    is taken over. The file is removed before it is released, and who then gets the lock of a removed file tries anew.
    On a file system that has no locks a warning is given, and everything goes on without.

    Raises:
        StorageError: the lock's file cannot be made.
    """
    path = lock_file(target)
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    with told_as_storage(target):
        file = _acquired(path, target)
    try:
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):  # what was made for the lock alone goes with it; a folder that holds anything stays
                for folder in missing:
                    folder.rmdir()
        finally:
            os.close(file)


def clear_lock(target: Path) -> None:
    """Remove the lock's file of a process that was killed after it had written ``target``; a held lock stays.

    A process that finds ``target`` complete takes no lock, so nothing else would remove that file.
    """
    path = lock_file(target)
    with suppress(OSError):
        file = os.open(path, os.O_RDWR)
        try:
            if _try_lock(file) and _is_at(path, file):
                path.unlink()
        finally:
            os.close(file)


def is_being_written(target: Path) -> bool:
    """Whether another holds the lock of ``target`` now; by the time of the answer it may have let go."""
    try:
        file = os.open(lock_file(target), os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(file)
    except OSError:
        return False
    finally:
        os.close(file)


def _acquired(path: Path, target: Path) -> int:
    told = False
    while True:
        file = _opened(path)
        try:
            if not _try_lock(file):
                if not told:
                    log.warning("waiting for another process, which is writing %s", target)
                told = True
                _wait_for_lock(file)
            if _is_at(path, file):
                return file
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                log.warning("%s lies where files cannot be locked: let only one process write there", target)
                return file
            os.close(file)
            raise
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _opened(path: Path) -> int:
    """Another user's file may be read only, and can be locked all the same (but on NFS)."""
    for _ in range(100):
        with suppress(FileNotFoundError):  # who held the lock before has just taken the empty folder away again
            path.parent.mkdir(parents=True, exist_ok=True)
            return _open_or_read(path)
    return _open_or_read(path)


def _open_or_read(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY)
        raise


def _is_at(path: Path, file: int) -> bool:
    """Whether the open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file))
    return False
