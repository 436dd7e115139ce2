"""Tables as text: a row per example, a column per input, and perhaps one of labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from caelab.data.memory import check_room
from caelab.data.reading import refuse_device, spread
from caelab.data.samples import Examples, FilePath, Samples, describes, in_order_of_numbers
from caelab.errors import CaelabError
from caelab.options import Count, Positive

if TYPE_CHECKING:
    import pandas as pd

NAMES_OF_LABELS = ("label", "labels", "class", "target", "y")
LONGEST_ROW = 2**24  # bytes


@describes("as in the file", "as in the file", "a table as text, numbers separated by commas", "FILE")
def csv(
    path: FilePath,
    label: str | int | None = None,
    divisor: Positive = 1.0,
    image_shape: list[Count] | None = None,
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    examples: Examples = None,
) -> Samples:
    """A text file of comma-separated numbers, a row per example, divided by ``divisor``; read as UTF-8.

    A first row that is not all numbers holds the names of the columns. ``label`` is the column of the labels, by its
    name or its place (counted from 0); without it, a column called label, labels, class, target or y; the others are
    inputs. Labels that are texts are numbered in their order. ``image_shape`` is (height, width) or (height, width,
    channels). ``examples`` reads so many rows, evenly spread over the file.
    """
    file = Path(path).expanduser()
    refuse_device(file)
    with _opened(file):
        table = _table(file, separator, examples)
        column = _label_column(file, table, label)
        inputs = _numbers(file, table if column is None else table.drop(columns=column), separator)
        labels, names = (None, None) if column is None else _labels(file, table[column])
    scaled = inputs if divisor == 1 else inputs / np.float32(divisor)
    return Samples(scaled, labels, tuple(image_shape) if image_shape else None, label_names=names)


@contextmanager
def _opened(file: Path) -> Iterator[None]:
    """What cannot be read inside is told in a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mixed types in a column: they are refused below, by name
            yield
    except FileNotFoundError as error:
        raise CaelabError(f"no file at {file}; give the path of a text file of comma-separated numbers") from error
    except (OSError, ValueError, OverflowError) as error:  # of pandas, too
        reason = " ".join(str(error).split())
        raise CaelabError(f"{file} cannot be read ({reason}): expected rows of comma-separated numbers") from error


def _table(file: Path, separator: str, examples: int | None) -> pd.DataFrame:
    import pandas as pd

    first = [cell.strip().strip('"') for cell in _first_row(file).split(separator)]
    named = _are_names(file, first)
    rows = _count_rows(file) - named
    kept = spread(rows, examples)
    check_room(f"{file}, {rows} rows of {len(first)} numbers,", len(kept) * len(first), np.dtype(np.float64))
    if rows < 1:
        raise CaelabError(f"{file} holds the names of columns and no rows: expected at least one row of numbers")
    left_out: Any = None
    if isinstance(kept, np.ndarray):
        wanted = {int(place) + named for place in kept} | ({0} if named else set())
        left_out = lambda row: row not in wanted  # noqa: E731
    return pd.read_csv(
        file,
        sep=separator,
        header=0 if named else None,
        skiprows=left_out,
        encoding="utf-8-sig",
        compression=None,
        index_col=False,
        skip_blank_lines=True,
    )


def _first_row(file: Path) -> str:
    with file.open("rb") as stream:
        line = stream.readline(LONGEST_ROW)
    if len(line) == LONGEST_ROW:
        raise ValueError(f"its first row is longer than {LONGEST_ROW} bytes")
    row = line.decode("utf-8-sig")
    if "\0" in row or not row.strip():
        raise ValueError("its first row is empty, or no text")
    return row


def _count_rows(file: Path) -> int:
    with file.open("rb") as stream:
        last, count = b"\n", 0
        while block := stream.read(2**20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _are_names(file: Path, first: list[str]) -> bool:
    """Whether the first row names the columns, in words or, as pandas does by itself, as 0, 1, 2, ..."""
    if not first[0] and len(first) > 1:
        raise CaelabError(
            f"{file}: expected a name for each column, but the first has none, as where pandas numbers the rows; "
            "write the table with index=False"
        )
    return not all(_is_number(cell) for cell in first) or first == [str(place) for place in range(max(2, len(first)))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_column(file: Path, table: pd.DataFrame, label: str | int | None) -> Any:
    columns = list(table.columns)
    if label is None:
        return next((name for name in columns if str(name).strip().lower() in NAMES_OF_LABELS), None)
    if label in columns:
        return label
    if isinstance(label, int) and 0 <= label < len(columns):
        return columns[label]
    shown = ", ".join(map(str, columns[:5])) + (", ..." if len(columns) > 5 else "")
    raise CaelabError(f"{file}: expected a column of labels {label!r}, but its {len(columns)} columns are {shown}")


def _numbers(file: Path, table: pd.DataFrame, separator: str) -> NDArray[np.float32]:
    for name in table.columns:
        if table[name].dtype.kind not in "buif":
            came = next((cell for cell in table[name] if not _is_number(str(cell))), table[name].iloc[0])
            raise CaelabError(
                f"{file}: expected numbers separated by {separator!r}, but the column {name} holds {came!r}; "
                "leave that column out, or name it as label"
            )
    return table.to_numpy(np.float32)


def _labels(file: Path, column: pd.Series[Any]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Whole numbers as they are; texts numbered in their order, with their names."""
    if column.isna().any():
        raise CaelabError(f"{file}: expected a label in each row, but {int(column.isna().sum())} have none")
    if column.dtype.kind in "bui":
        return column.to_numpy(np.int64), None
    if column.dtype.kind == "f":
        raise CaelabError(
            f"{file}: expected labels that are whole numbers or texts, but {column.iloc[0]!r} came; "
            "name another column by the option label"
        )
    names = sorted({str(cell) for cell in column}, key=in_order_of_numbers)
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[str(cell)] for cell in column]), tuple(names)
