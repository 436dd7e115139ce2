"""Tables in memory as samples: of Arrow and what exports it (polars), and data sets of Hugging Face's ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from caelab.data.columns import Chosen, Rows, samples_of_rows
from caelab.data.huggingface import samples_of_splits, with_pictures
from caelab.data.samples import Samples
from caelab.errors import CaelabError


def is_of_huggingface(given: object) -> bool:
    """Whether an object is of the package ``datasets``, which need not be imported to tell."""
    return type(given).__module__.partition(".")[0] == "datasets"


def is_arrow(given: object) -> bool:
    """Whether an object is a table of Arrow, or hands one out, as one of polars does."""
    return hasattr(given, "__arrow_c_stream__")


def samples_of_table(given: Any) -> Samples:
    """The samples in a table of Arrow, a column per input, one of them perhaps of labels.

    Raises:
        CaelabError: a column holds no numbers.
    """
    import pyarrow as pa

    table = pa.table(given)

    def batches(columns: list[str], size: int) -> Iterator[Any]:
        yield from table.select(columns).combine_chunks().to_batches(max_chunksize=size)

    return samples_of_rows(Rows("the table", table.schema, table.num_rows, batches), Chosen())


def samples_of_huggingface(given: Any) -> Samples:
    """The samples of a ``datasets.Dataset``, or of the splits of a ``datasets.DatasetDict``.

    Raises:
        CaelabError: it is of another kind, as one that is streamed, or its splits are no parts of one data set.
    """
    splits = dict(given) if isinstance(given, Mapping) else {"all": given}
    for name, each in splits.items():
        if not hasattr(each, "select_columns") or not hasattr(each, "__len__"):
            raise CaelabError(
                f"expected a Dataset or a DatasetDict of the package datasets, but {type(each).__name__} came "
                f"({name}); load it without streaming, or save it by save_to_disk and name it as hf:FOLDER"
            )
    return samples_of_splits({str(name): _rows(str(name), each) for name, each in splits.items()}, Chosen())


def _rows(name: str, given: Any) -> Rows:
    def batches(columns: list[str], size: int) -> Iterator[Any]:
        for part in given.select_columns(columns).with_format("arrow").iter(batch_size=size):
            yield from part.select(columns).combine_chunks().to_batches()

    features: Mapping[str, Any] = given.features
    names = {column: [*each.names] for column, each in features.items() if type(each).__name__ == "ClassLabel"}
    rows = Rows(f"the split {name}", given.features.arrow_schema, len(given), batches, names)
    return with_pictures(rows, [column for column, each in features.items() if type(each).__name__ == "Image"])
