"""Paths given in place of a data set's name: each gets the name of its kind of file, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.registry.arguments import path_of

KINDS_OF_FILES = {".npz": "npz", ".npy": "npy", ".csv": "csv"}


SUFFIXES_OF_DATA = (  # of files that hold data; caelab reads none of these by itself
    ".7z .arff .arrow .bmp .bz2 .dat .data .feather .gif .gz .h5 .hdf5 .jpeg .jpg .json .jsonl .mat .parquet .pickle "
    ".pkl .png .pt .pth .safetensors .svmlight .tar .tgz .tif .tiff .tsv .txt .webp .xls .xlsx .xz .zip "
)


def as_name(path: Any) -> str:
    """The name of the data set at a path that was given as one: that of a kind of files and the path.

    >>> as_name(Path("mine.npz"))
    'npz:mine.npz'

    Raises:
        CaelabError: its kind cannot be told from its name.
    """
    place = path_of(path, "a path")
    kind = KINDS_OF_FILES.get(place.suffix.lower())
    if not kind or place.is_dir():
        refuse_path(str(place))
        names = " or ".join(KINDS_OF_FILES)
        raise CaelabError(f"expected a file of data, but the name of {str(place)!r} does not end in {names}")
    return f"{kind}:{place}"


def refuse_path(name: str) -> None:
    """A path in place of a data set's name lacks the kind in front of it, or is of a kind that is not read.

    Raises:
        CaelabError: it is one.
    """
    path = Path(name)
    suffix = path.suffix.lower()
    kinds = ["images", "idx"] if path.is_dir() else [KINDS_OF_FILES[suffix]] if suffix in KINDS_OF_FILES else []
    if kinds:
        raise CaelabError(
            f"expected the name of a data set, but {name!r} is a path; say what it holds, as "
            f"{' or '.join(f'{kind}:{name}' for kind in kinds)}"
        )
    if path.exists() or "/" in name or (suffix and f"{suffix} " in SUFFIXES_OF_DATA):
        what = "a path" if path.exists() else "a path, at which there is nothing"
        raise CaelabError(
            f"expected the name of a data set, but {name!r} is {what}; caelab reads npz:FILE, npy:FILE, csv:FILE, "
            "idx:FOLDER and images:FOLDER: convert it, as in numpy.savez('mine.npz', x=inputs, y=labels)"
        )
