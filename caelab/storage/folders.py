"""Output folders: recognising one that caelab made, and beginning a new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from caelab.errors import CaelabError
from caelab.storage.files import PARTIAL, told_as_storage, write_text
from caelab.storage.locks import one_writer


def open_folder(folder: Path, manifest: str) -> None:
    """Begin an output folder, or continue one that caelab made, which its manifest tells.

    Args:
        folder: where it is to lie.
        manifest: the name of the file that says what the folder holds.

    Raises:
        CaelabError: it is a file, or a folder with something else in it.
        StorageError: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise CaelabError(f"the output {folder} is a file; give a folder that is new, empty, or an earlier one")
    with told_as_storage(folder):
        refuse_foreign(folder, lambda entry: entry.name == manifest and entry.is_file(), "a new folder")
    with one_writer(folder / manifest):
        if not (folder / manifest).is_file():
            write_text(folder / manifest, "{}\n")


def refuse_foreign(folder: Path, is_ours: Callable[[Path], bool], instead: str) -> None:
    """Refuse an output folder that cannot be made, or that holds files of which caelab made none.

    Args:
        folder: where the output is to lie.
        is_ours: whether caelab made an entry of the folder.
        instead: which folder to give in its place.

    Raises:
        CaelabError: it holds something else.
        OSError: it, or what it is to lie in, is a file or may not be written.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(PARTIAL)] if folder.is_dir() else []
    if entries and not any(map(is_ours, entries)):
        raise CaelabError(
            f"the output folder {folder} holds files that caelab did not make, as {min(entries).name}; "
            f"give {instead} with --out"
        )
