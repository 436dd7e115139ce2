"""Paths given in place of a data set's name: each gets the name of its kind of file, or is refused."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.registry.arguments import path_of

KINDS_OF_FILES = {
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mat": "mat",
}
"""By the end of a file's name, the data set that reads it."""

FOLDERS_OF = {"hf": ("state.json", "dataset_dict.json"), "parquet": ("*.parquet", "*/*.parquet")}
"""By data set, the files by which a folder of its is known; other folders are of images, or of IDX files."""

SUFFIXES_OF_DATA = (  # of files that hold data; caelab reads none of these by itself
    ".7z .arff .bmp .bz2 .dat .data .bin .gif .gz .jpeg .jpg .json .jsonl .pickle .pkl .png .pt .pth .rds .safetensors "
    ".svmlight .tar .tgz .tif .tiff .tsv .txt .webp .xls .xlsx .xz .zip "
)


def kind_of_file(name: str) -> str | None:
    """The data set that reads a file of that name, perhaps with the key of an array behind it; None where none does.

    >>> kind_of_file("mine.parquet"), kind_of_file("runs/codes.h5#train/x"), kind_of_file("mnist5k")
    ('parquet', 'hdf5', None)
    """
    file = name if Path(name).exists() else name.partition("#")[0]
    return next((kind for end, kind in KINDS_OF_FILES.items() if file.lower().endswith(end)), None)


def resolved(name: str, known: Collection[str]) -> str:
    """The name of a data set; of a file whose kind its own name tells, that kind and the path.

    >>> resolved("mine.npz", ["npz", "digits"]), resolved("digits", ["npz", "digits"])
    ('npz:mine.npz', 'digits')

    Raises:
        CaelabError: it is a path to something else.
    """
    if name.partition(":")[0] in known:
        return name
    kind = kind_of_file(name)
    if kind is not None and not Path(name).is_dir():
        return f"{kind}:{name}"
    refuse_path(name)
    return name


def as_name(path: Any) -> str:
    """The name of the data set at a path that was given as one: that of a kind of files and the path.

    >>> as_name(Path("mine.npz"))
    'npz:mine.npz'

    Raises:
        CaelabError: its kind cannot be told from its name.
    """
    place = path_of(path, "a path")
    kind = kind_of_file(str(place))
    if not kind or place.is_dir():
        refuse_path(str(place))
        names = " or ".join(KINDS_OF_FILES)
        raise CaelabError(f"expected a file of data, but the name of {str(place)!r} does not end in {names}")
    return f"{kind}:{place}"


def _kinds_of_folder(path: Path) -> list[str]:
    found = [kind for kind, marks in FOLDERS_OF.items() if any(any(path.glob(mark)) for mark in marks)]
    return found or ["images", "idx"]


def refuse_path(name: str) -> None:
    """A path in place of a data set's name lacks the kind in front of it, or is of a kind that is not read.

    Raises:
        CaelabError: it is one.
    """
    path = Path(name)
    suffix = path.suffix.lower()
    if path.is_dir():
        raise CaelabError(
            f"expected the name of a data set, but {name!r} is a path; say what it holds, as "
            f"{' or '.join(f'{kind}:{name}' for kind in _kinds_of_folder(path))}"
        )
    if path.exists() or "/" in name or (suffix and f"{suffix} " in SUFFIXES_OF_DATA):
        what = "a path" if path.exists() else "a path, at which there is nothing"
        raise CaelabError(
            f"expected the name of a data set, but {name!r} is {what}; caelab reads csv:FILE, parquet:FILE, "
            "feather:FILE, hdf5:FILE, mat:FILE, npz:FILE, npy:FILE, memmap:FILE, hf:FOLDER, idx:FOLDER and "
            "images:FOLDER: say which it is, or convert it, as in numpy.savez('mine.npz', x=inputs, y=labels)"
        )
