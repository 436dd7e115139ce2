"""Files and folders as words that a shell completes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

MOST = 500  # entries of one folder: no shell shows more

Wanted = Callable[[Path], bool]


def files(begun: str, endings: Collection[str] = ()) -> list[str]:
    """Files whose names continue a word, and folders, each with a slash behind it.

    Args:
        begun: the word so far.
        endings: of the files that are wanted, as ``.yaml``; all files where it is empty.
    """
    return _entries(begun, lambda path: not path.is_dir() and (not endings or path.suffix.lower() in endings))


def folders(begun: str, of_a_kind: str = "", endings: Collection[str] = ()) -> list[str]:
    """Folders whose names continue a word; one that holds a file of this name is a word that ends there.

    Args:
        begun: the word so far.
        of_a_kind: the file.
        endings: of files that may stand there, too.
    """
    return _entries(begun, lambda path: path.suffix in endings or bool(of_a_kind and (path / of_a_kind).is_file()))


def runs(begun: str) -> list[str]:
    """Folders that are runs, or may hold some; at the beginning of a word also the runs in the folder ``runs``."""
    stored = _entries("runs/", _is_run) if not begun or "runs/".startswith(begun) else []
    return [*folders(begun, "run.json"), *(each for each in stored if not each.endswith("/"))]


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def _entries(begun: str, is_wanted: Wanted) -> list[str]:
    """What continues a word: what is wanted as it is, and any other folder with a slash behind it."""
    parent, slash, start = begun.rpartition("/")
    place = Path(f"{parent}{slash}" or ".").expanduser()
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    found = []
    for name in [name for name in names if name.startswith(start) and (start or not name.startswith("."))][:MOST]:
        path = place / name
        if is_wanted(path):
            found.append(f"{parent}{slash}{name}")
        elif path.is_dir():
            found.append(f"{parent}{slash}{name}/")
    return found
