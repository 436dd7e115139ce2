"""The files of a run folder, read with a check that they hold what was written.

A run's folder::

    run.json              config and record, and the SHA-256 of the two files below and of its own content
    weights.safetensors   the trained model
    history.parquet       the metrics of every epoch
    tables/               what analyses measured, each table with its SHA-256 in a file beside it
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caelab.errors import CaelabError, DamagedFile
from caelab.storage.checksums import FILES, check_file, checksum, sealed, unsealed
from caelab.storage.files import parquet_bytes, storage_error, told_as_storage, write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

WEIGHTS = "weights.safetensors"
HISTORY = "history.parquet"
RECORD = "run.json"
SUM = ".sha256"  # the ending of the file beside a table
NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # damage; other reasons are the disk's


def write_files(folder: Path, weights: Mapping[str, Tensor], history: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    """Write a run into a folder that exists; the record comes last and holds the checksums of the others.

    Args:
        folder: of the run.
        weights: the model's tensors by name.
        history: one row per epoch.
        facts: what ``run.json`` is to hold, ``config`` and ``record``.

    Raises:
        StorageError: a file cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().contiguous().clone() for name, value in weights.items()}  # none shares its memory
    contents = {WEIGHTS: save(tensors), HISTORY: parquet_bytes(history)}
    for name, content in contents.items():
        write_bytes(folder / name, content)
    sums = {name: checksum(content) for name, content in contents.items()}
    write_text(folder / RECORD, sealed({**facts, FILES: sums}))


def stored_facts(folder: Path) -> dict[str, Any]:
    """The content of ``run.json``.

    Raises:
        CaelabError: the folder is no run, or ``run.json`` was changed after it was written.
        StorageError: it cannot be read.
    """
    try:
        return unsealed((folder / RECORD).read_text(encoding="utf-8"))
    except NOT_THERE as error:
        if (folder / WEIGHTS).exists():
            raise damaged(folder / RECORD, error) from error
        raise CaelabError(
            f"{folder} is not a run: expected a folder with run.json, as caelab train makes ({type(error).__name__})"
        ) from error
    except OSError as error:
        raise storage_error(error, folder / RECORD, "read") from error
    except (ValueError, DamagedFile) as error:
        raise damaged(folder / RECORD, error) from error


def read_files(folder: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and history of a run, once it is sure that they are what was written.

    Raises:
        CaelabError: names the file that is damaged.
        StorageError: a file cannot be read.
    """
    import pandas as pd
    from safetensors import SafetensorError
    from safetensors.torch import load

    _check_files(folder)
    try:
        weights = load((folder / WEIGHTS).read_bytes())  # by its path only where that is text in UTF-8
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(folder / WEIGHTS, error) from error
    try:
        history: Any = pd.read_parquet(BytesIO((folder / HISTORY).read_bytes())).to_dict("records")
    except (OSError, ValueError) as error:
        raise damaged(folder / HISTORY, error) from error
    return weights, history


def _check_files(folder: Path) -> None:
    """Refuse weights or a history that are not what was written; of a run without checksums, only what is missing.

    Raises:
        CaelabError: names the file.
        StorageError: it cannot be read.
    """
    sums = stored_facts(folder).get(FILES, {})
    if not isinstance(sums, dict):
        raise damaged(folder / RECORD, DamagedFile(f"{FILES} is not an object but a {type(sums).__name__}"))
    for name in (WEIGHTS, HISTORY):
        try:
            check_file(folder / name, sums.get(name))
        except (FileNotFoundError, DamagedFile) as error:
            raise damaged(folder / name, error) from error


def has_checksums(folder: Path | None) -> bool:
    """Whether a run was written with checksums; the tables of an older one may lack them."""
    return folder is not None and FILES in stored_facts(folder)


def write_with_checksum(path: Path, content: bytes) -> None:
    """Write a file that comes to a run later, and its SHA-256 beside it, first the latter.

    Raises:
        StorageError: it cannot be written.
    """
    for place in (path, path.with_suffix(SUM)):
        if place.is_dir():
            with told_as_storage(place):
                place.rmdir()  # an empty folder in its place; one that holds something is not ours to remove
    write_text(path.with_suffix(SUM), checksum(content) + "\n")
    write_bytes(path, content)


def read_with_checksum(path: Path, *, required: bool) -> bytes:
    """The content of a file that was written so.

    Args:
        path: the file.
        required: whether one without a checksum is refused.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it is not what was written.
        StorageError: it cannot be read.
    """
    if path.is_dir():
        raise DamagedFile("it is a folder")
    if not path.exists():
        raise FileNotFoundError(path)
    with told_as_storage(path, "read"):
        content = path.read_bytes()
        beside = path.with_suffix(SUM)
        expected = beside.read_bytes().strip() if beside.is_file() else None
    if expected is None and required:
        raise DamagedFile("it has no checksum")
    if expected not in (None, checksum(content).encode()):
        raise DamagedFile("its content is not what was written")
    return content


def damaged(path: Path, error: Exception) -> CaelabError:
    """The error for a run, or one of its files, that cannot be used, with the way out."""
    folder = path.parent if path.name in (WEIGHTS, HISTORY, RECORD) else path
    return CaelabError(
        f"the run {folder} is damaged ({path.name}: {' '.join(str(error).split())}); delete {folder} to train it again"
    )
