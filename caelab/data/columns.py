"""Tables of Arrow's columns as samples: numbers, lists and tensors are inputs, and one column may hold labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from caelab.data.headings import NAMES_OF_LABELS
from caelab.data.labels import labels_of
from caelab.data.memory import check_room
from caelab.data.reading import BLOCK, spread
from caelab.data.samples import Samples
from caelab.errors import CaelabError, unknown_name

MANY = 12  # columns that are listed


@dataclass(frozen=True)
class Rows:
    """A table that is read batch by batch.

    Args:
        where: how to call it in an error.
        schema: of its columns, by pyarrow.
        count: of its rows.
        batches: yields record batches of those columns, of about so many rows, in order.
        class_names: by column, the names of the labels 0, 1, 2, ... that a file states.
        readers: by column, what makes arrays (rows, ...) of an array of Arrow, for columns that are no numbers.
    """

    where: str
    schema: Any
    count: int
    batches: Callable[[list[str], int], Iterator[Any]]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    readers: Mapping[str, Callable[[Any], NDArray[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """Which columns are read, and how.

    Args:
        label: the column of the labels, by its name or place, None for a usual name, False for none.
        inputs: the columns of the inputs, all others by default.
        divisor: of the values; by default 255 for lists and tensors of unsigned bytes, else 1.
        image_shape: of an example.
        examples: reads so many, evenly spread.
    """

    label: str | int | Literal[False] | None = None
    inputs: Sequence[str] | None = None
    divisor: float | None = None
    image_shape: Sequence[int] | None = None
    examples: int | None = None


def samples_of_rows(rows: Rows, asked: Chosen) -> Samples:
    """The samples in a table.

    Raises:
        CaelabError: a column is not there, holds no numbers, misses values or is ragged, or there is no room for them.
    """
    label = label_column(rows.where, rows.schema.names, asked.label)
    names = _input_columns(rows, asked.inputs, label)
    if not rows.count or not names:
        raise CaelabError(f"{rows.where}: expected at least one row with at least one column of inputs, but none came")
    first = next(iter(rows.batches(names, 1)))
    found = [_values(rows, name, first.column(place), 0) for place, name in enumerate(names)]
    width = sum(math.prod(each.shape[1:]) for each in found)
    kept = spread(rows.count, asked.examples)
    check_room(f"{rows.where}, {len(kept)} rows of {width} numbers,", len(kept) * width, np.dtype(np.float32))
    inputs, labels = _read(rows, names, label, kept, width)
    known, called = (None, None) if label is None else _labels(rows, label, labels)
    divisor = _divisor(found) if asked.divisor is None else asked.divisor
    if divisor != 1:
        inputs /= np.float32(divisor)
    shape = asked.image_shape or (_image_shape(found[0].shape[1:]) if len(found) == 1 else None)
    return Samples(inputs, known, tuple(shape) if shape else None, label_names=called)


def label_column(where: str, columns: Sequence[Any], label: str | int | Literal[False] | None) -> Any:
    """The column of the labels: the one that is named, or counted from 0, or one with a usual name; None for none.

    Raises:
        CaelabError: it is not there.
    """
    if label is False:
        return None
    if label is None:
        return next((name for name in columns if str(name).strip().lower() in NAMES_OF_LABELS), None)
    if label in columns:
        return label
    if isinstance(label, int) and 0 <= label < len(columns):
        return columns[label]
    raise CaelabError(f"{where}: {unknown_name('column of labels', str(label), map(str, columns))}")


def _input_columns(rows: Rows, asked: Sequence[str] | None, label: str | None) -> list[str]:
    twins = {name for name in rows.schema.names if rows.schema.names.count(name) > 1}
    if twins:
        raise CaelabError(
            f"{rows.where}: expected one column of each name, but {', '.join(sorted(twins))} stands twice"
        )
    if asked is None:
        pictures = [name for name in rows.readers if name != label]
        return pictures if len(pictures) == 1 else [name for name in rows.schema.names if name != label]
    for name in asked:
        if name not in rows.schema.names:
            raise CaelabError(f"{rows.where}: {unknown_name('column', name, rows.schema.names)}")
        if name == label or list(asked).count(name) > 1:
            raise CaelabError(
                f"{rows.where}: the column {name} is named {'as label, too' if name == label else 'twice'}; name each "
                "column of inputs once"
            )
    return [*asked]


def _read(
    rows: Rows, names: list[str], label: str | None, kept: range | NDArray[np.int64], width: int
) -> tuple[NDArray[np.float32], list[Any]]:
    """The inputs (kept, width) and, batch by batch, the labels of those rows."""
    import pyarrow as pa

    out, labels, start = np.empty((len(kept), width), np.float32), [], 0
    columns = [*dict.fromkeys([*names, *([] if label is None else [label])])]
    for batch in rows.batches(columns, max(1, BLOCK // (4 * width))):
        stop = start + batch.num_rows
        first, last = (int(place) for place in np.searchsorted(kept, (start, stop)))
        if last > first:
            chosen = batch if isinstance(kept, range) else batch.take(pa.array(kept[first:last] - start))
            _fill(rows, names, chosen, out[first:last], start)
            labels += [] if label is None else [chosen.column(columns.index(label))]
        start = stop
    if start != rows.count:
        raise CaelabError(f"{rows.where}: expected {rows.count} rows, as it says, but {start} came; write it again")
    return out, labels


def _fill(rows: Rows, names: list[str], batch: Any, out: NDArray[np.float32], start: int) -> None:
    place = 0
    for number, name in enumerate(names):
        found = _values(rows, name, batch.column(number), start).reshape(len(out), -1)
        if place + found.shape[1] > out.shape[1] or (
            number == len(names) - 1 and place + found.shape[1] != out.shape[1]
        ):
            raise CaelabError(
                f"{rows.where}: expected as many values in each row of the column {name} as in the first, but others "
                f"came from row {start} on; make them of one length"
            )
        out[:, place : place + found.shape[1]] = found
        place += found.shape[1]


def _values(rows: Rows, name: str, column: Any, start: int) -> NDArray[Any]:
    """A column as an array (rows, ...)."""
    if name in rows.readers:
        return rows.readers[name](column)
    array = _plain(column)
    shape: list[int] = [len(array)]
    while _is_list(array.type):
        _refuse_missing(rows.where, name, array, start)
        shape.append(_length(rows.where, name, array))
        array = _plain(array.flatten())
    return _numbers(rows.where, name, array, start).reshape(shape)


def _plain(array: Any) -> Any:
    """Without the types that others laid over Arrow's, and categories of numbers as numbers."""
    import pyarrow as pa

    while isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type) and not _is_text(array.type.value_type):
        array = array.dictionary_decode()
    return array


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _length(where: str, name: str, array: Any) -> int:
    import pyarrow.compute as pc

    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if len(lengths) != 1:
        raise CaelabError(
            f"{where}: expected as many values in each row of the column {name}, but {min(lengths)} and {max(lengths)} "
            "came; make them of one length, or choose other columns by the option inputs"
        )
    return int(lengths[0])


def _refuse_missing(where: str, name: str, array: Any, start: int) -> None:
    if array.null_count:
        raise CaelabError(
            f"{where}: the column {name} misses {array.null_count} values from row {start} on (counted from 0); remove "
            "these rows, or impute them"
        )


def _numbers(where: str, name: str, array: Any, start: int) -> NDArray[Any]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        came = array[0].as_py() if len(array) else None
        raise CaelabError(
            f"{where}: expected numbers in the column {name}, but {kind} came, as {str(came)[:40]!r}; choose "
            "columns by the option inputs, as in --set dataset.inputs=[a,b], or name it as label"
        )
    _refuse_missing(where, name, array, start)
    found: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return found


def _divisor(found: Sequence[NDArray[Any]]) -> int:
    """Bytes in lists are arrays, as pictures; a column of bytes is one of a table, whose numbers stay as they are."""
    return 255 if all(each.dtype == np.uint8 and each.ndim > 1 for each in found) else 1


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    return (shape[:2] if len(shape) == 3 and shape[2] == 1 else shape) if len(shape) in (2, 3) else None


def _labels(rows: Rows, name: str, parts: Sequence[Any]) -> tuple[NDArray[np.int64], Sequence[str] | None]:
    import pyarrow as pa

    where = f"{rows.where}, column {name}"
    column = pa.chunked_array(parts).unify_dictionaries()
    if column.null_count:
        raise CaelabError(f"{where}: expected a label in each row, but {column.null_count} have none")
    kind = column.type
    if pa.types.is_dictionary(kind) and kind.ordered and _is_text(kind.value_type):
        numbers = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
        return numbers.astype(np.int64), column.chunk(0).dictionary.to_pylist()
    if pa.types.is_nested(kind):
        raise CaelabError(
            f"{where}: expected labels that are whole numbers or texts, but {kind} came; choose others by the option "
            "label, or none by --set dataset.label=false"
        )
    found, names = labels_of(where, np.array(column.to_pylist()), len(column), "label")
    return found, rows.class_names.get(name, names) if names is None else names
