"""Recognising whether the first row of a table holds the names of its columns or an example."""

from __future__ import annotations

import logging
from pathlib import Path

from caelab.errors import CaelabError

log = logging.getLogger(__name__)

NAMES_OF_LABELS = ("label", "labels", "class", "target", "y")
TRUTH_VALUES = ("true", "false")
MISSING = ("", "na", "n/a", "null", "none", "<na>", "#n/a")


def has_names(file: Path, first: list[str], second: list[str] | None) -> bool:
    """Whether the first row names the columns, in words or, as pandas does by itself, as 0, 1, 2, ...

    An example may hold texts too, its label; so words beside numbers are names only where the numbers count columns
    and no text stands below a word, unless that is a usual name of labels.

    Args:
        file: is named.
        first: the cells of the first row.
        second: the cells of the next one, if there is one.

    Raises:
        CaelabError: it may be either, or there are more fields than names.
    """
    named = _are_names(file, first, second)
    if named and second is not None and len(second) > len(first):
        raise CaelabError(
            f"{file}: expected as many fields in each row as in the first, {len(first)}, but the next row has more "
            f"fields than names, {len(second)}, as where rows have names and their column has none, or where a remark "
            "stands above the table; name each column in the first row, or leave out what is not of the table"
        )
    return named


def _are_names(file: Path, first: list[str], second: list[str] | None) -> bool:
    words = [place for place, cell in enumerate(first) if not _is_value(cell)]
    numbers = [cell for cell in first if is_number(cell)]
    if not first[0] and len(first) > 1 and (words or _counts(first[1:])):
        raise CaelabError(
            f"{file}: expected a name for each column, but the first has none, as where pandas numbers the rows; "
            "write the table with index=False"
        )
    if words and not numbers:
        return True
    if words and not (_counts(numbers) and all(_is_name(first, second, place) for place in words)):
        raise CaelabError(
            f"{file}: expected a first row of names or of numbers, but it holds the text {first[words[0]]!r} and the "
            f"number {numbers[0]}, so it may be an example; write a row of names in words above it"
        )
    counted = bool(words) or first == [str(place) for place in range(max(2, len(first)))]
    if counted:
        log.warning(
            "%s: its first row %s is taken for the names of columns and not for an example; if it is one, write a row "
            "of names in words above it",
            *(file, ",".join(first[:4]) + (",..." if len(first) > 4 else "")),
        )
    return counted


def _is_name(first: list[str], second: list[str] | None, place: int) -> bool:
    below = second[place] if second is not None and place < len(second) else ""
    return first[place].lower() in NAMES_OF_LABELS or _is_value(below)


def _counts(numbers: list[str]) -> bool:
    """Whether they are 0, 1, 2, ... or 1, 2, 3, ..."""
    return numbers in ([str(place + start) for place in range(len(numbers))] for start in (0, 1))


def _is_value(cell: str) -> bool:
    """Whether a cell is no text: a number, true or false, or missing."""
    return is_number(cell) or cell.lower() in (*TRUTH_VALUES, *MISSING)


def is_number(cell: str) -> bool:
    """Whether Python reads it as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
