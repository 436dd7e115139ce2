"""Results of a study as tables that live: one Parquet file per analysis over all runs, tidy, raw per seed and split.

Every table begins with the same columns, whatever was measured:

=========  ======  =============================================
column     type    meaning
=========  ======  =============================================
study      text    name of the study
dataset    text    name of the data
model      text    label of the model
split      int64   seed of the split into training, validation and test examples
seed       int64   seed of the run
run        text    name of the run's folder
=========  ======  =============================================

Behind them stand the columns of the analysis, one row per observation; one that is called as a column above, as
``split``, is called ``split_measured``. ``runs.parquet`` has one row per run, with
every number that analyses sum up. The order of the rows is that of the plan, so that one study always gives one file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from caelab.errors import CaelabError, DamagedFile
from caelab.registry.arguments import path_of
from caelab.storage.checked_files import read_with_checksum
from caelab.storage.files import remove_partial, told_as_storage, written_aside
from caelab.storage.locks import one_writer
from caelab.study.folder import CONVENTIONS, RUNS, Asked, PlannedRun, asked_in, planned_analyses, read_plan
from caelab.study.records import Entry, entries_in

RESULTS = "results"
SCHEMA = "1"  # of the tables; it rises when a column is renamed or changes its meaning
OF_RUNS = "runs"
ABOUT = ("study", "dataset", "model", "split", "seed", "run")
TAKEN = "_measured"  # behind a column of an analysis that is called as one of ours is
AT_ONCE = 200  # tables in memory


def collect(folder: Path) -> dict[str, Path]:
    """Write the results of a study, as far as its runs are there.

    Args:
        folder: of the study.

    Returns:
        By analysis, and for ``runs``, the file.

    Raises:
        CaelabError: the folder holds no study, none of its runs is there, or a table is damaged.
        StorageError: a file cannot be written.
    """
    asked, plan = asked_in(folder), read_plan(folder)
    found = entries_in(folder, [each.run for each in plan], planned_analyses(folder))
    there = [(each, found[each.run]) for each in plan if each.run in found and found[each.run].state != "failed"]
    if not there:
        raise CaelabError(f"no run of the study in {folder} is there yet; carry it out with: caelab study run {folder}")
    with one_writer(folder / RESULTS):
        remove_partial(folder / RESULTS)
        return _collected(folder, asked, there)


def _collected(folder: Path, asked: Asked, there: Sequence[tuple[PlannedRun, Entry]]) -> dict[str, Path]:
    names = dict.fromkeys(name for _, entry in there for name in entry.tables)
    files = {OF_RUNS: folder / RESULTS / f"{OF_RUNS}.parquet"}
    _write(files[OF_RUNS], iter([_table_of_runs(there, asked)]), asked)
    for name in names:
        files[name] = folder / RESULTS / f"{name}.parquet"
        parts = [(each, entry) for each, entry in there if name in entry.tables]
        _write(files[name], _tables(parts, name, runs_of(folder, asked), asked), asked)
    for path in (folder / RESULTS).glob("*.parquet"):
        if path not in files.values():  # of analyses that were asked for at an earlier time
            path.unlink(missing_ok=True)
    return files


def runs_of(folder: Path, asked: Asked) -> Path:
    """The folder of a study's runs."""
    shared = asked.file.get("runs")
    return Path(shared).expanduser() if shared else folder / RUNS


def read_results(folder: str | Path, name: str) -> pd.DataFrame:
    """One table of a study's results.

    Args:
        folder: of the study.
        name: of an analysis, or ``runs``.

    Raises:
        CaelabError: there is none.
    """
    folder = path_of(folder, "the folder of a study")
    path = folder / RESULTS / f"{name}.parquet"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.parquet"))) or "none"
        raise CaelabError(
            f"no results of {name!r} in {folder}; collect them with: caelab study collect {folder}. There are: {known}"
        )
    return pd.read_parquet(path)


def _about(each: PlannedRun, asked: Asked) -> tuple[Any, ...]:
    return (str(asked.file.get("study", "")), each.dataset, each.model, each.split, each.seed, each.run)


def _table_of_runs(there: Sequence[tuple[PlannedRun, Entry]], asked: Asked) -> pa.Table:
    rows = [dict(zip(ABOUT, _about(each, asked), strict=True)) | dict(entry.numbers) for each, entry in there]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _tables(parts: Sequence[tuple[PlannedRun, Entry]], name: str, runs: Path, asked: Asked) -> Iterator[pa.Table]:
    """The tables of one analysis, some runs at a time, all of one schema."""
    schema = pa.unify_schemas(
        [_plain(_schema(_place(runs, entry, name))) for _, entry in parts], promote_options="permissive"
    )
    for first in range(0, len(parts), AT_ONCE):
        some = parts[first : first + AT_ONCE]
        tables = [_with_about(_read(runs, entry, name), each, asked) for each, entry in some]
        whole = pa.concat_tables(tables, promote_options="permissive")
        wanted = pa.schema([*[whole.schema.field(column) for column in ABOUT], *schema])
        yield _of_schema(whole, wanted)


def _of_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of a schema; one that it lacks is empty."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _place(runs: Path, entry: Entry, name: str) -> Path:
    return runs / entry.folder / "tables" / entry.tables[name]


def _read(runs: Path, entry: Entry, name: str) -> pa.Table:
    path = _place(runs, entry, name)
    with _damage_told(path):
        return pq.read_table(BytesIO(read_with_checksum(path, required=True)))


def _schema(path: Path) -> pa.Schema:
    with _damage_told(path):
        return pq.read_schema(path)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Raise what is wrong with a table as one sentence with the way out."""
    try:
        yield
    except (FileNotFoundError, DamagedFile, pa.ArrowException) as error:
        raise CaelabError(
            f"the table {path} is damaged ({' '.join(str(error).split())}); measure it again with: caelab study run, "
            "which finds what was changed"
        ) from error


def _plain(schema: pa.Schema) -> pa.Schema:
    """The columns without what pandas notes beside them; one that is called as ours is gets a name of its own."""
    own = [field.remove_metadata() for field in schema if not field.name.startswith("__index_level_")]
    return pa.schema([field.with_name(f"{field.name}{TAKEN}") if field.name in ABOUT else field for field in own])


def _with_about(table: pa.Table, each: PlannedRun, asked: Asked) -> pa.Table:
    kept = [name for name in table.schema.names if not name.startswith("__index_level_")]
    own = table.select(kept).replace_schema_metadata(None).rename_columns(_plain(table.schema).names)
    for place, (column, value) in enumerate(zip(ABOUT, _about(each, asked), strict=True)):
        own = own.add_column(place, column, pa.array([value] * table.num_rows))
    return own


def _write(path: Path, tables: Iterator[pa.Table], asked: Asked) -> None:
    """Write tables of one schema as one file, with what it means beside its schema."""
    first = next(tables)
    schema = first.schema.with_metadata(_metadata(asked))
    with (
        written_aside(path) as partial,
        told_as_storage(path),
        pq.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        writer.write_table(first.cast(schema))
        for table in tables:
            writer.write_table(table.cast(schema))


def _metadata(asked: Asked) -> Mapping[str, str]:
    facts = {
        "schema": SCHEMA,
        "study": asked.file.get("study", ""),
        "conventions": asked.conventions or dict(CONVENTIONS),
        "data": asked.data,
    }
    return {"caelab": json.dumps(facts, sort_keys=True)}
