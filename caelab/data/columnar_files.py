"""Reading Parquet and Feather (Arrow) files, by pyarrow; a folder of parts is one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from caelab.data.columns import Chosen, Rows, samples_of_rows
from caelab.data.reading import refuse_device
from caelab.data.samples import Examples, FilePath, Samples, describes, in_order_of_numbers
from caelab.errors import CaelabError, reason
from caelab.options import Count, Positive

SUFFIXES = {"parquet": (".parquet", ".pq"), "feather": (".feather", ".arrow")}

LabelColumn = str | int | Literal[False] | None
"""The column of the labels by its name or place, counted from 0; by default a usual name, and false for none."""

Columns = list[str] | Annotated[str, Field(min_length=1)] | None
"""The columns of the inputs, one or several; all but that of the labels by default."""


@describes("as in the file", "as in the file", "a table of Parquet, or a folder of its parts", "FILE")
def parquet(
    path: FilePath,
    examples: Examples = None,
    label: LabelColumn = None,
    inputs: Columns = None,
    divisor: Positive | None = None,
    image_shape: list[Count] | None = None,
) -> Samples:
    """A table of Parquet, a row per example; a folder of .parquet files is one table, in the order of their names.

    ``label`` is the column of the labels, by its name or its place (counted from 0); by default a column called label,
    labels, class, target or y, and false for none. Labels that are texts are numbered in their order, those of an
    ordered categorical in its own. ``inputs`` are the columns of the inputs, all others by default: numbers, or lists
    or tensors of as many numbers in each row. Numbers are divided by ``divisor``, by default 255 for lists and tensors
    of unsigned bytes and 1 for all else. ``image_shape`` is (height, width) or (height, width, channels). ``examples``
    reads so many rows, evenly spread. An index of pandas is no input.
    """
    return _read("parquet", path, Chosen(label, _listed(inputs), divisor, image_shape, examples))


@describes(
    "as in the file", "as in the file", "a table of Feather, the Arrow file format, or a folder of parts", "FILE"
)
def feather(
    path: FilePath,
    examples: Examples = None,
    label: LabelColumn = None,
    inputs: Columns = None,
    divisor: Positive | None = None,
    image_shape: list[Count] | None = None,
) -> Samples:
    """A table of Feather (version 2, the Arrow file format), a row per example; read like one of ``parquet``."""
    return _read("feather", path, Chosen(label, _listed(inputs), divisor, image_shape, examples))


def _listed(columns: Columns) -> list[str] | None:
    return [columns] if isinstance(columns, str) else columns


def _read(kind: str, path: str, asked: Chosen) -> Samples:
    place = Path(path).expanduser()
    with told(place, kind):
        return samples_of_rows(_rows(place, kind), asked)


@contextmanager
def told(place: Path, kind: str) -> Iterator[None]:
    """What pyarrow cannot read is told in a sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise CaelabError(
            f"{place} cannot be read as {kind} ({reason(error)}); it may be truncated, encrypted or of another kind: "
            "write it again"
        ) from error


def _rows(place: Path, kind: str) -> Rows:
    from pyarrow import dataset as parts

    files, folder = _files(place, kind)
    found = parts.dataset(files, format=kind, filesystem=folder, partitioning="hive")
    own = set(found.schema.names)
    for fragment in found.get_fragments():
        missing = set(fragment.physical_schema.names) ^ own
        inside = {
            part.partition("=")[0] for part in fragment.path.split("/") if "=" in part
        }  # columns that folders name
        if missing - inside:
            raise CaelabError(
                f"{place}: expected the same columns in each part, but {fragment.path} differs by "
                f"{', '.join(sorted(missing - inside))}; write the parts from one table"
            )
    schema = _without_index(found.schema)

    def batches(columns: list[str], size: int) -> Iterator[Any]:
        for fragment in found.get_fragments():
            yield from fragment.to_batches(schema=found.schema, columns=columns, batch_size=size)

    return Rows(str(place), schema, found.count_rows(), batches)


def _files(place: Path, kind: str) -> tuple[list[str], Any]:
    """The files of a table, relative to a folder, and the folder as pyarrow opens it."""
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    if not place.is_dir():
        refuse_device(place)
        if not place.exists():
            raise CaelabError(f"no file at {place}; give the path of a .{kind} file, or of a folder of such files")
        return [place.name], SubTreeFileSystem(str(place.absolute().parent), LocalFileSystem())
    inside = [each.relative_to(place).as_posix() for each in place.rglob("*") if each.suffix in SUFFIXES[kind]]
    files = [name for name in inside if not any(part.startswith((".", "_")) for part in name.split("/"))]
    if not files:
        raise CaelabError(
            f"{place} is a folder without {' or '.join(SUFFIXES[kind])} files; give one with the parts of a table"
        )
    return sorted(files, key=in_order_of_numbers), SubTreeFileSystem(str(place.absolute()), LocalFileSystem())


def _without_index(schema: Any) -> Any:
    """The columns without those in which pandas keeps the names of rows."""
    told = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = {name for name in told.get("index_columns", []) if isinstance(name, str)}
    for name in index & set(schema.names):
        schema = schema.remove(schema.get_field_index(name))
    return schema
