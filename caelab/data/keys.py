"""Choosing among the named arrays of one file: ``kind:FILE#KEY``, or the one that can only be meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from caelab.errors import CaelabError, unknown_name

INPUTS, LABELS = ("x", "inputs", "X"), ("y", "labels", "label", "target", "targets", "Y")
MANY = 12  # arrays that are listed with their shapes

LabelKey = Annotated[str, Field(min_length=1)] | Literal[False] | None
"""The key of the labels; by default the usual names, and false for none."""


@dataclass(frozen=True)
class Entry:
    """What a file says of one of its arrays: its shape, and its type, None where it holds no numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None

    @property
    def could_be_inputs(self) -> bool:
        """Whether it holds real numbers in more than one dimension, and is no single row or column."""
        kind = None if self.dtype is None else self.dtype.kind
        return kind is not None and kind in "buif" and len(self.shape) in (2, 3, 4) and min(self.shape) > 1

    def __str__(self) -> str:
        return " x ".join(map(str, self.shape)) or "a single value"


def split_key(path: str) -> tuple[Path, str | None]:
    """The file and the key in ``FILE#KEY``; a file whose own name holds # is found as it is.

    >>> split_key("data.h5#train/x")[1], split_key("data.h5")[1]
    ('train/x', None)
    """
    whole = Path(path).expanduser()
    file, mark, key = path.rpartition("#")
    if not mark or whole.exists():
        return whole, None
    if not file or not key:
        raise CaelabError(f"expected a file and the key of an array in it, as in FILE#KEY, but {path!r} came")
    return Path(file).expanduser(), key


def input_key(kind: str, file: Path, key: str | None, entries: Callable[[], Mapping[str, Entry]]) -> str:
    """The key of the inputs: the one that is given, or one with a usual name, or the only one that could be meant.

    Args:
        kind: of the data set, for a sentence.
        file: is named.
        key: as given behind #.
        entries: reads what the file says of its arrays.

    Raises:
        CaelabError: there is no such key, or several could be meant.
    """
    known = entries()
    if key is not None:
        return _known(file, key, known)
    usual = [name for name in known if _last(name) in INPUTS]
    possible = usual or [name for name, entry in known.items() if entry.could_be_inputs and _last(name) not in LABELS]
    if len(possible) == 1:
        return possible[0]
    listed = _listed(known, possible or list(known))
    raise CaelabError(
        f"{file}: expected one array named {' or '.join(INPUTS)}, or one alone that could be the inputs, found "
        f"{listed}; choose one by its key, as in {kind}:{file.name}#{(possible or [*known, 'KEY'])[0]}"
    )


def label_key(file: Path, key: str | Literal[False] | None, inputs: str, known: Mapping[str, Any]) -> str | None:
    """The key of the labels: the one that is given, or a usual name beside the inputs; None where there is none.

    Raises:
        CaelabError: there is no such key, or several could be meant.
    """
    if key is False:
        return None
    if key is not None:
        return _known(file, key, known)
    beside = inputs.rpartition("/")[0]
    found = [name for name in known if name.rpartition("/")[0] == beside and _last(name) in LABELS and name != inputs]
    if len(found) > 1:
        raise CaelabError(
            f"{file}: expected one array of labels, found {', '.join(found)}; choose one by the option labels, as in "
            f"--set dataset.labels={found[0]}, or none by --set dataset.labels=false"
        )
    return found[0] if found else None


def _known(file: Path, key: str, known: Mapping[str, Any]) -> str:
    plain = key.strip("/")
    if plain not in known:
        raise CaelabError(f"{file}: {unknown_name('array', key, known)}")
    return plain


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _listed(known: Mapping[str, Entry], names: Sequence[str]) -> str:
    shown = ", ".join(f"{name} ({known[name]})" for name in names[:MANY]) or "none"
    return f"{shown} and {len(names) - MANY} others" if len(names) > MANY else shown


def library(name: str, extra: str, kind: str) -> Any:
    """A package that only some data sets need.

    Raises:
        CaelabError: it is not installed; it says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise CaelabError(
            f"data set {kind!r} needs the package {package}, which cannot be imported ({error}); install it with: "
            f"pip install 'caelab[{extra}]'"
        ) from error
