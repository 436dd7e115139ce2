"""Reading tables as text (.csv): a row for each example, a column for each input, and perhaps one of labels."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from csv import Error as CsvError
from csv import reader
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from caelab.data.headings import NAMES_OF_LABELS, has_names, is_number
from caelab.data.memory import check_room
from caelab.data.reading import BLOCK, refuse_device, spread
from caelab.data.samples import Examples, FilePath, Samples, describes, in_order_of_numbers
from caelab.errors import CaelabError
from caelab.options import Count, Positive

if TYPE_CHECKING:
    import pandas as pd

LONGEST_ROW = 2**24  # bytes
GZIP = b"\x1f\x8b"
READ_AS: dict[str, Any] = {"encoding": "utf-8-sig", "index_col": False, "skip_blank_lines": True}


@describes("as in the file", "as in the file", "a table as text, numbers separated by commas", "FILE")
def csv(
    path: FilePath,
    label: str | int | Literal[False] | None = None,
    divisor: Positive = 1.0,
    image_shape: list[Count] | None = None,
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    examples: Examples = None,
) -> Samples:
    """A text file of comma-separated numbers, gzipped or not, a row per example, divided by ``divisor``; read as UTF-8.

    A first row of words holds the names of the columns; one of 0, 1, 2, ..., as pandas numbers columns, is taken for
    names too, which is told. One of words and other numbers is refused, for it may be an example. ``label`` is the
    column of the labels, by its name or its place (counted from 0); without it, a column called label, labels, class,
    target or y; the others are inputs. Labels that are texts are numbered in their order. ``image_shape`` is (height,
    width) or (height, width, channels). ``examples`` reads so many rows, evenly spread over the file; empty lines are
    no rows.
    """
    file = Path(path).expanduser()
    refuse_device(file)
    with _opened(file):
        table = _table(file, separator, examples)
        column = _label_column(file, table, label)
        inputs = _numbers(file, table if column is None else table.drop(columns=column), separator)
        if column is not None and _is_mixed(table[column]):  # to pandas 01 is 1 where a part of a file has no texts
            table[column] = _table(file, separator, examples, dtype={column: str})[column]
        labels, names = (None, None) if column is None else _labels(file, table[column])
    scaled = inputs if divisor == 1 else inputs / np.float32(divisor)
    return Samples(scaled, labels, tuple(image_shape) if image_shape else None, label_names=names)


@contextmanager
def _opened(file: Path) -> Iterator[None]:
    """What cannot be read inside is told in a sentence."""
    from pandas.errors import ParserWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mixed types in a column: they are refused below, by name
            warnings.simplefilter("error", ParserWarning)  # fields that would be left out
            yield
    except FileNotFoundError as error:
        raise CaelabError(f"no file at {file}; give the path of a text file of comma-separated numbers") from error
    except (
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
        CsvError,
        ParserWarning,
    ) as error:  # of pandas, too
        reason = " ".join(str(error).split())
        raise CaelabError(f"{file} cannot be read ({reason}): expected rows of comma-separated numbers") from error


def _table(file: Path, separator: str, examples: int | None, **options: Any) -> pd.DataFrame:
    """The rows that are kept; ``options`` of pandas come on top of those that every table is read with."""
    first, *others = _first_rows(file, separator)
    named = has_names(file, first, others[0] if others else None)
    if named and not others:
        raise CaelabError(f"{file} holds the names of columns and no rows: expected at least one row of numbers")
    packed = {"compression": "gzip" if _is_packed(file) else None}
    options = {"sep": separator, "header": 0 if named else None, **packed, **READ_AS, **options}
    rows = (_count_lines(file) if examples is None else _count_rows(file, options)) - (named and examples is None)
    kept = spread(rows, examples)
    check_room(f"{file}, {rows} rows of {len(first)} numbers,", len(kept) * len(first), np.dtype(np.float64))
    return _read(file, kept, max(1, BLOCK // len(first)), options)


def _read(file: Path, kept: range | NDArray[np.int64], block: int, options: Mapping[str, Any]) -> pd.DataFrame:
    """Some rows, so many at a time: pandas alone knows where a row ends, and which lines are empty."""
    import pandas as pd

    if isinstance(kept, range):
        whole: pd.DataFrame = pd.read_csv(file, **options)
        return whole
    parts, start = [], 0
    with pd.read_csv(file, chunksize=block, **options) as chunks:
        for chunk in chunks:
            first, last = np.searchsorted(kept, (start, start + len(chunk)))
            if last > first:  # a part without rows has types of its own
                parts.append(chunk.iloc[kept[first:last] - start])
            start += len(chunk)
    return pd.concat(parts, ignore_index=True)


def _first_rows(file: Path, separator: str) -> list[list[str]]:
    """The cells of the first row, and of the second one, if there is one; empty lines are no rows."""
    with io.TextIOWrapper(_bytes(file), encoding="utf-8-sig", newline="") as stream:
        lines = iter(lambda: _line(stream), "")
        rows = (row for row in reader(lines, delimiter=separator) if len(row) > 1 or "".join(row).strip())
        found = [[cell.strip() for cell in row] for row in islice(rows, 2)]
    if not found or "\0" in "".join(found[0]):
        raise ValueError("its first row is empty, or no text")
    return found


def _is_packed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(GZIP)) == GZIP


def _bytes(file: Path) -> IO[bytes]:
    """The text as bytes, unpacked where the file is gzipped, which its first bytes tell."""
    return cast("IO[bytes]", gzip.open(file)) if _is_packed(file) else file.open("rb")


def _line(stream: TextIO) -> str:
    line = stream.readline(LONGEST_ROW)
    if len(line) == LONGEST_ROW:
        raise ValueError(f"its first row is longer than {LONGEST_ROW} bytes")
    return line


def _count_lines(file: Path) -> int:
    """How many lines there are, empty ones among them, so that there are not more rows."""
    with _bytes(file) as stream:
        last, feeds, returns = b"\n", 0, 0
        while block := stream.read(2**20):
            feeds, returns = feeds + block.count(b"\n"), returns + block.count(b"\r")
            last = block[-1:]
    return max(feeds, returns) + (last not in b"\r\n")


def _count_rows(file: Path, options: Mapping[str, Any]) -> int:
    """How many rows pandas finds."""
    import pandas as pd

    with pd.read_csv(file, usecols=[0], chunksize=2**16, **{**options, "dtype": str}) as chunks:
        return sum(len(chunk) for chunk in chunks)


def _label_column(file: Path, table: pd.DataFrame, label: str | int | Literal[False] | None) -> Any:
    columns = list(table.columns)
    if label is False:
        return None
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
            came = next((cell for cell in table[name] if not is_number(str(cell))), table[name].iloc[0])
            raise CaelabError(
                f"{file}: expected numbers separated by {separator!r}, but the column {name} holds {came!r}; "
                "leave that column out, or name it as label"
            )
    return table.to_numpy(np.float32)


def _is_mixed(column: pd.Series[Any]) -> bool:
    """Whether some cells were read as texts and others as numbers."""
    return column.dtype.kind == "O" and len({isinstance(cell, str) for cell in column.dropna()}) > 1


def _labels(file: Path, column: pd.Series[Any]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Whole numbers as they are; texts numbered in their order, with their names."""
    if column.isna().any():
        raise CaelabError(f"{file}: expected a label in each row, but {int(column.isna().sum())} have none")
    if column.dtype.kind in "bui" and column.max() < 2**63:  # greater ones are named, as texts are
        return column.to_numpy(np.int64), None
    if column.dtype.kind == "f":
        raise CaelabError(
            f"{file}: expected labels that are whole numbers or texts, but {column.iloc[0]!r} came; "
            "name another column by the option label"
        )
    names = sorted({str(cell) for cell in column}, key=in_order_of_numbers)
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[str(cell)] for cell in column]), tuple(names)
