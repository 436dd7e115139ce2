"""Data sets of Hugging Face's ``datasets`` from disk, as ``save_to_disk`` writes them; read by pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from caelab.data.columnar_files import Columns, LabelColumn, told
from caelab.data.columns import Chosen, Rows, samples_of_rows
from caelab.data.embedded_pictures import picture_reader
from caelab.data.reading import spread
from caelab.data.samples import Examples, FilePath, Samples, describes
from caelab.errors import CaelabError, unknown_name
from caelab.options import Count, Positive

TRAIN, VALID, TEST = ("train", "training"), ("validation", "valid", "val", "dev"), ("test",)
STATE, OF_SPLITS, INFO = "state.json", "dataset_dict.json", "dataset_info.json"


@describes("as in the folder", "as in the folder", "a folder of save_to_disk, of Hugging Face's datasets", "FOLDER")
def hf(
    path: FilePath,
    examples: Examples = None,
    split: str | None = None,
    label: LabelColumn = None,
    inputs: Columns = None,
    divisor: Positive | None = None,
    image_shape: list[Count] | None = None,
) -> Samples:
    """A ``Dataset`` or a ``DatasetDict`` that ``save_to_disk`` wrote; the package ``datasets`` is not needed.

    Of a ``DatasetDict`` the splits train, validation and test are the parts of the data; where there is no validation,
    test is the official test part. ``split`` reads one alone. The inputs are the column of images, if there is one, or
    else all columns but that of the labels; the names of a ``ClassLabel`` are kept. The other options are those of
    ``parquet``.
    """
    folder = Path(path).expanduser()
    with told(folder, "a folder of datasets"):
        wanted = [inputs] if isinstance(inputs, str) else inputs
        asked = Chosen(label, wanted, divisor, image_shape, examples)
        return samples_of_splits({name: _rows(place) for name, place in _splits(folder, split).items()}, asked)


def samples_of_splits(splits: Mapping[str, Rows], asked: Chosen) -> Samples:
    """The samples of all splits, one after the other, with their parts.

    Raises:
        CaelabError: the splits are no parts of one data set, or differ in their columns.
    """
    names = _in_order([*splits])
    tables = [splits[name] for name in names]
    first = tables[0]
    for name, table in zip(names, tables, strict=True):
        if table.schema.names != first.schema.names:
            raise CaelabError(
                f"{table.where}: expected the columns {', '.join(first.schema.names)}, as in the split {names[0]}, but "
                f"{name} has {', '.join(table.schema.names)}; choose one by the option split"
            )
    count = sum(table.count for table in tables)
    together = replace(
        first, count=count, batches=lambda columns, size: chain(*(table.batches(columns, size) for table in tables))
    )
    found = samples_of_rows(together, asked)
    ends = np.searchsorted(spread(count, asked.examples), np.cumsum([table.count for table in tables]))
    if len(names) == 2:
        return replace(found, official_test=int(ends[1] - ends[0]))
    parts = tuple(np.arange(start, stop) for start, stop in zip((0, *ends[:-1]), ends, strict=True))
    return replace(found, parts=parts) if len(parts) == 3 else found


def _in_order(names: Sequence[str]) -> list[str]:
    """One split, or those that train, perhaps validate, and test, in that order.

    Raises:
        CaelabError: there are others.
    """
    if len(names) == 1:
        return [*names]
    found = [[name for name in names if name.lower() in kind] for kind in (TRAIN, VALID, TEST)]
    train, valid, test = found
    if len(train) != 1 or len(test) != 1 or len(valid) > 1 or len(names) != sum(map(len, found)):
        raise CaelabError(
            f"expected the splits train and test, and perhaps validation, but {', '.join(names) or 'none'} came; "
            f"choose one, as in --set dataset.split={names[0] if names else 'train'}"
        )
    return [*train, *valid, *test]


def _splits(folder: Path, asked: str | None) -> dict[str, Path]:
    """The folder of each split that is read."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CaelabError(f"no folder at {folder}, which {what}; give a folder that save_to_disk of datasets wrote")
    if (folder / OF_SPLITS).is_file():
        there = [str(name) for name in _facts(folder / OF_SPLITS).get("splits", [])]
        if asked is not None and asked not in there:
            raise CaelabError(f"{folder}: {unknown_name('split', asked, there)}")
        return {name: folder / name for name in (there if asked is None else [asked])}
    if not (folder / STATE).is_file():
        raise CaelabError(
            f"{folder} holds neither {STATE} nor {OF_SPLITS}: expected a folder that save_to_disk of datasets wrote, "
            "as in dataset.save_to_disk('mine')"
        )
    split = _facts(folder / STATE).get("_split")
    if asked not in (None, split):
        what = "is not divided into splits" if split is None else f"holds the split {split}"
        raise CaelabError(f"{folder} {what}, but the split {asked} is asked for; leave split out")
    return {str(split): folder}


def _facts(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaelabError(f"{file} cannot be read ({error}); write the folder again with save_to_disk") from error
    if not isinstance(found, dict):
        raise CaelabError(f"{file} holds no facts of a data set; write the folder again with save_to_disk")
    return found


def _rows(folder: Path) -> Rows:
    """The table of one split."""
    state, info = _facts(folder / STATE), _facts(folder / INFO)
    if any(state.get(key) for key in ("_indices_files", "_indices_data_files")):
        raise CaelabError(f"{folder} was written by an old version of datasets; load it there and save it again")
    files = [folder / Path(str(each["filename"])).name for each in state.get("_data_files", [])]
    if not files:
        raise CaelabError(f"{folder}: expected the names of its files in {STATE}, but there are none; write it again")

    def batches(columns: list[str], size: int) -> Iterator[Any]:
        for file in files:
            for batch in _stream(file):
                yield from _slices(batch.select(columns), size)

    count = sum(batch.num_rows for file in files for batch in _stream(file))
    features = info.get("features") or {}
    rows = Rows(str(folder), _stream(files[0]).schema, count, batches, _class_names(features))
    return with_pictures(rows, [name for name, each in features.items() if _kind(each) == "Image"])


def with_pictures(rows: Rows, names: Sequence[str]) -> Rows:
    """The table with what reads the pictures in those columns."""
    return replace(rows, readers={name: picture_reader(rows, name) for name in names})


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: [*map(str, each["names"])] for name, each in features.items() if _kind(each) == "ClassLabel"}


def _kind(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _stream(file: Path) -> Any:
    """The batches of a file in Arrow's streaming format, which stay in it until they are used."""
    import pyarrow as pa

    if not file.is_file():
        raise CaelabError(f"no file at {file}, which {STATE} beside it names; write the folder again with save_to_disk")
    return pa.ipc.open_stream(pa.memory_map(str(file)))


def _slices(batch: Any, size: int) -> Iterator[Any]:
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)
