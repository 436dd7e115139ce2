"""Checksums (SHA-256) of files, and of the records that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caelab.errors import DamagedFile
from caelab.storage.files import told_as_storage

SEAL = "checksum"  # a record's key for the checksum of all its other keys
FILES = "files"  # a record's key for the checksums of the files that belong to it


def checksum(content: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def checksum_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read.
    """
    if path.is_dir():
        raise DamagedFile(f"{path.name} is a folder, where a file was written")
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing")
    with told_as_storage(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, expected: str | None) -> None:
    """Refuse a file that changed after it was written; without an expected checksum it need only be a file.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it holds something else, or is a folder.
        StorageError: it cannot be read.
    """
    found = checksum_of(path)
    if expected is not None and found != expected:
        raise DamagedFile(f"its content is not what was written: SHA-256 {expected[:12]} expected, {found[:12]} came")


def sealed(facts: Mapping[str, Any]) -> str:
    """A record as JSON text, with the checksum of its content in it."""
    plain = json.loads(json.dumps(facts))  # as it will be read: keys are text, tuples are lists
    return json.dumps({**plain, SEAL: _digest(plain)}, indent=2) + "\n"


def unsealed(text: str) -> dict[str, Any]:
    """The content of a record; one that was written before there were checksums is taken as it is.

    Raises:
        DamagedFile: it is no record, or was changed after it was written.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"it is not JSON: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise DamagedFile(f"a JSON object is expected, but a {type(found).__name__} came")
    seal = found.pop(SEAL, None)
    if seal is None and FILES not in found:
        return found
    if seal != _digest(found):
        raise DamagedFile("its content is not what was written: its checksum is another")
    return found


def _digest(facts: Mapping[str, Any]) -> str:
    return checksum(json.dumps(facts, sort_keys=True).encode())
