"""Measuring a run: an analysis turns it into a tidy table, which is stored before anything is drawn from it."""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.contract import load_analysis, measures, options_of, source_of, whose_analysis
from caelab.analysis.isolation import failure_told, run_left_as_found, undisturbed
from caelab.analysis.panels import WrongAxes
from caelab.analysis.pieces import titled
from caelab.analysis.plotting import colors_in_order, plain_look
from caelab.errors import CaelabError, ContractError, DamagedFile, StorageError
from caelab.progress import hidden
from caelab.registry.reserved import ABOUT_A_RUN
from caelab.runs.record import tables_count
from caelab.runs.run import Run
from caelab.storage.checked_files import has_checksums, read_with_checksum, write_with_checksum
from caelab.storage.files import READ_ONLY, parquet_bytes, remove_partial
from caelab.storage.locks import clear_lock, one_writer
from caelab.streams import Streams

log = logging.getLogger(__name__)

SPLIT_SEED = "split_seed"  # the column of tables over repeated splits
IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY, errno.EISDIR)  # a file for a folder, or a folder for a file


def analyse(run: Run, name: str, **options: Any) -> pd.DataFrame:
    """Measure one run, or read the table back if the run's folder holds it.

    Returns:
        The analysis's table with the columns ``model`` and ``seed`` put in front.

    Raises:
        CaelabError: an unknown analysis or option, or an analysis that fails on this run.
        NotApplicable: the analysis has no meaning for this run.
    """
    if not measures(load_analysis(name)):
        raise CaelabError(
            f"{called(name)} looks at several runs at once; give them to analyse_together(runs, {name!r})"
        )
    return measure_alone(run, name, options)


def measure_alone(run: Run, name: str, options: Mapping[str, Any]) -> pd.DataFrame:
    """What an analysis measures of one run by itself; of its options those count that ``measure`` names."""
    analysis = load_analysis(name)
    options = options_of(name, analysis, options)[0]
    if run.path is None:
        return with_names(_measured(run, name, analysis, options), run.label, run.seed)
    path = _table_path(run.path, name, options, analysis)
    counts, required = tables_count(run.path), has_checksums(run.path)
    table = remembered(
        name,
        path,
        lambda: read_table(path, required) if counts else None,
        lambda: _measured(run, name, analysis, options),
    )
    return with_names(table, run.label, run.seed)


def remembered(
    name: str, path: Path, read: Callable[[], pd.DataFrame | None], make: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The table that lies at a path, or a new one, which is stored there; no two processes make it at once.

    Args:
        name: of the analysis.
        path: where the table is to lie.
        read: gives what lies there; None where there is none, or none that can be relied on.
        make: makes the table.
    """
    if (table := read()) is not None:
        clear_lock(path)
        return table
    with ExitStack() as stack:
        storing = _may_store(path, stack)
        table = read()  # another process may have made it meanwhile
        if table is None:
            table = make()
            if storing:
                _store_if_it_can(table, path, name)
    return table


def read_table(path: Path, required: bool) -> pd.DataFrame | None:
    """The table that was stored before; None where there is none, or one that is damaged.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return pd.read_parquet(BytesIO(read_with_checksum(path, required=required)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, DamagedFile) as error:
        log.warning("%s is damaged and is measured again (%s)", path, " ".join(str(error).split()))
        return None


def _may_store(path: Path, stack: ExitStack) -> bool:
    """Let no one else write the table meanwhile; where nothing can be written, say so and measure all the same."""
    try:
        stack.enter_context(one_writer(path))
    except StorageError as error:
        _refuse_or_warn(error)
        return False
    remove_partial(path.parent, f"-{path.name}")
    return True


def _store_if_it_can(table: pd.DataFrame, path: Path, name: str) -> None:
    """Store a table, unless nothing can be written where it is to lie."""
    try:
        store(table, path, name)
    except StorageError as error:
        _refuse_or_warn(error)


def _refuse_or_warn(error: StorageError) -> None:
    """What lies where a table is to be, and is not ours, stays; a disk that fails, or is full, ends the measuring."""
    if error.errno not in (*READ_ONLY, *IN_THE_WAY):
        raise error
    log.warning("what is measured is not stored with the run: %s", error)


def table_name(name: str, options: Mapping[str, Any]) -> str:
    """The file in ``tables/`` of a run that an analysis with these options writes."""
    analysis = load_analysis(name)
    return f"{_table_name(name, options_of(name, analysis, options)[0], analysis)}.parquet"


def stored_table(run: Path, file: str, model: str, seed: int) -> pd.DataFrame | None:
    """A table that lies with a run, under the names of a model and a seed; None where there is none that is whole."""
    table = read_table(run / "tables" / file, has_checksums(run)) if tables_count(run) else None
    return None if table is None else with_names(table, model, seed)


def tables_there(runs: Sequence[Run], name: str, options: Mapping[str, Any]) -> list[Path]:
    """The tables of an analysis that lie with these runs already, and will be read instead of measured."""
    analysis = load_analysis(name)
    if not measures(analysis):
        return []
    options = options_of(name, analysis, options)[0]
    places = [_table_path(run.path, name, options, analysis) for run in runs if run.path is not None]
    return [place for place in places if place.is_file()]


def _table_path(folder: Path, name: str, options: Mapping[str, Any], analysis: Any) -> Path:
    return folder / "tables" / f"{_table_name(name, options, analysis)}.parquet"


def _table_name(name: str, options: Mapping[str, Any], analysis: Any) -> str:
    digest = hashlib.sha256(json.dumps([options, source_of(analysis)], sort_keys=True, default=str).encode())
    return f"{name}-{digest.hexdigest()[:8]}"


def _measured(run: Run, name: str, analysis: Any, options: Mapping[str, Any]) -> pd.DataFrame:
    with (
        by_itself(name, run.seed),
        run_left_as_found(run, called(name)),
        named_failure(name, f"failed on {run.label!r}"),
        titled(f"{name} of {run.label}"),
    ):
        table = analysis.measure(run, Streams(run.seed), **options)
    if not isinstance(table, pd.DataFrame):
        raise CaelabError(
            f"measure of the analysis {name!r} returns {type(table).__name__}, but a pandas.DataFrame is expected"
        )
    taken = [column for column in ABOUT_A_RUN if column in table.columns]
    if taken:
        raise CaelabError(f"the analysis {name!r} returns the column {taken[0]!r}, which caelab adds itself; rename it")
    return table


def called(name: str) -> str:
    """The name of an analysis as sentences use it."""
    return f"the analysis {name!r}"


@contextmanager
def by_itself(name: str, seed: int = 0) -> Iterator[None]:
    """Isolate an analysis: it sees nothing that another did to this process, and leaves nothing behind.

    What it trains shows no progress of its own.

    Raises:
        CaelabError: it changed a setting that all others share.
    """
    with hidden(), undisturbed(called(name), f"analysis {name}", seed):
        yield


@contextmanager
def named_failure(name: str, what: str) -> Iterator[None]:
    """Raise errors from inside an analysis as a sentence with the analysis's name.

    Raises:
        CaelabError: it raised; the original error is the cause.
    """
    with failure_told(f"{called(name)} {what}"):
        yield


def store(table: pd.DataFrame, path: Path, name: str) -> None:
    """Write the table of an analysis, complete or not at all, and its checksum beside it.

    Raises:
        CaelabError: it holds what a table on disk cannot.
        StorageError: it cannot be written.
    """
    with named_failure(name, "returns a table that cannot be stored as Parquet"):
        content = parquet_bytes(table)
    write_with_checksum(path, content)


def with_names(table: pd.DataFrame, model: str, seed: int) -> pd.DataFrame:
    """A table with the columns ``model`` and ``seed`` in front."""
    front = pd.DataFrame({"model": model, "seed": seed}, index=table.index)
    return pd.concat([front, table], axis=1)


def gather(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put the tables of many runs together into one."""
    return pd.concat(list(tables), ignore_index=True)


def drawn(name: str, table: pd.DataFrame) -> Figure:
    """Draw the figure of an analysis from its table, the same whatever the settings of matplotlib are here.

    Raises:
        CaelabError: it cannot be drawn.
    """
    with plain_look():
        return drawn_onto(name, table)


def drawn_onto(name: str, table: pd.DataFrame, axes: Any = None, models: Iterable[str] = ()) -> Figure:
    """Draw the figure of an analysis from its table as the caller wants it.

    Without axes it is a figure of its own: caelab's style, and on top of it what the caller changed in ``rcParams``, as
    ``caelab.figures.style("icml")``, a theme or a palette of seaborn does. With axes it is drawn onto these, by the
    caller's ``rcParams`` as they are, and the legend stands in the first of them.

    Args:
        name: of the analysis.
        table: of one run or of many, with the columns ``model`` and ``seed``.
        axes: one ``Axes``, or one for each panel as ``plt.subplots`` returns them.
        models: in the order in which the colours of the caller's palette go to them; by default that of the table.

    Returns:
        The figure; with axes the one that they belong to.

    Raises:
        CaelabError: it cannot be drawn, or onto no axes that are given.
        WrongAxes: a ``ValueError``; there is not one of the axes for each panel.
    """
    analysis = load_analysis(name)
    onto = {} if axes is None else _onto(name, analysis, axes)
    plain = _as_plain_text(one_seed_per_run(table))
    with by_itself(name), colors_in_order(models), named_failure(name, "could not be drawn"):
        figure = analysis.draw(plain, **onto)
    if not isinstance(figure, Figure):
        raise CaelabError(
            f"draw of the analysis {name!r} returns {type(figure).__name__}, but a matplotlib Figure is expected"
        )
    return figure


def _onto(name: str, analysis: Any, axes: Any) -> dict[str, Any]:
    """The argument by which an analysis draws onto axes.

    Raises:
        ContractError: its ``draw`` makes figures of its own only.
    """
    try:
        takes = inspect.signature(analysis.draw).parameters
    except (TypeError, ValueError):
        takes = {}  # type: ignore[assignment]
    if "axes" not in takes:
        raise ContractError(
            f"{whose_analysis(name)} draws figures of its own only: its draw(table) takes no axes; leave axes out, or "
            "write draw(table, axes=None) as docs/howto/write-an-analysis.md shows"
        )
    return {"axes": axes}


def panels_of(name: str, table: pd.DataFrame) -> tuple[int, int]:
    """Rows and columns of the panels that an analysis draws of a table, for ``plt.subplots(*panels_of(name, table))``.

    It is asked by giving it no axes, which every figure refuses, and says how many it needs.

    Raises:
        CaelabError: the analysis draws onto no axes.
    """
    try:
        drawn_onto(name, table, [])
    except WrongAxes as error:
        return error.shape
    raise ContractError(f"{whose_analysis(name)} takes no axes for a figure; let its draw call caelab.figures.panels")


def one_seed_per_run(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose column ``seed`` tells runs of one model apart; where splits are repeated, it counts pairs of both.

    Figures average over runs by their column ``seed``, and would else take runs of several splits for one.
    """
    if SPLIT_SEED not in table.columns:
        return table
    return table.assign(seed=table.groupby([SPLIT_SEED, "seed"]).ngroup()).drop(columns=SPLIT_SEED)


def _as_plain_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table with labels of models that matplotlib shows as they are: to it, what stands between two $ is a formula.

    A label with an underscore in front would be left out of every legend; one without width before it is not.
    """
    shown = {label: _shown(str(label)) for label in table.get("model", pd.Series(dtype=str)).unique()}
    if all(label == text for label, text in shown.items()):
        return table.copy()
    return table.assign(model=table["model"].map(shown))


def _shown(label: str) -> str:
    text = label.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def summarise(name: str, table: pd.DataFrame) -> dict[str, float]:
    """What the summary shows of one run's table; nothing where the analysis has no ``summarise``.

    Raises:
        CaelabError: it raised, or returned something else than ``{column: number}``.
    """
    analysis = load_analysis(name)
    if not hasattr(analysis, "summarise"):
        return {}
    with by_itself(name), named_failure(name, "failed in summarise"):
        found = analysis.summarise(table.copy())
    try:
        numbers = {str(column): float(value) for column, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise CaelabError(
            f"summarise of the analysis {name!r} returns {shortened(found)}, but {{column: number}} is expected"
        ) from error
    _refuse_unsummarised(name, analysis, numbers)
    return numbers


def _refuse_unsummarised(name: str, analysis: Any, numbers: Mapping[str, float]) -> None:
    """A column that nothing sums up to is a mistake, mostly of spelling.

    Raises:
        CaelabError: names it, and what is there.
    """
    for column in getattr(analysis, "columns", ()):
        if not column.optional and not any(column.covers(number) for number in numbers):
            raise ContractError(
                f"{whose_analysis(name)} has the column {column.name!r}, but summarise returns no number of that name, "
                f"only {', '.join(map(repr, numbers)) or 'nothing'}; give both one name, or the column optional=True"
            )


def shortened(value: Any, length: int = 60) -> str:
    """A value as Python writes it, on one line of at most so many letters.

    >>> shortened({"a": "high"}), shortened(list(range(99)), 12)
    ("{'a': 'high'}", '[0, 1, 2, 3…')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"
