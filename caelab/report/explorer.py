"""The table behind a figure as data for a page: its columns, what a chart first shows of it, and its rows as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from caelab.analysis.columns import Column, column_of
from caelab.registry.reserved import ABOUT_A_ROW, ABOUT_A_RUN
from caelab.report.embedding import fair_share, packed
from caelab.report.run_keys import key_columns

MOST_ROWS = 20_000
MOST_CHOICES = 60  # values of a column that a drop-down can offer
FEW_NUMBERS = 12  # whole numbers that stand for kinds of rows
BUDGET = 3_500_000  # characters of all packed tables of a page


@dataclass(frozen=True)
class Explorer:
    """A table that a page draws in a chart of the reader's own choice.

    Attributes:
        name: of the analysis; the table lies in ``data/NAME.parquet``.
        columns: name, heading, and whether it holds numbers.
        x: the column that a chart first shows from left to right.
        y: the one from bottom to top.
        kind: what it first draws: ``line``, ``points`` or ``box``.
        selectors: by column that a drop-down selects by, its values; ``first`` says which are selected at first.
        first: by such a column the value that is selected at first; of others all are.
        rows: how many rows the table has.
        shown: how many of them the page holds.
        left_out: the columns whose cells are lists, which stand in the file alone.
        data: the rows, as CSV, packed.
    """

    name: str
    columns: Sequence[tuple[str, str, bool]]
    x: str
    y: str
    kind: str
    selectors: Mapping[str, Sequence[str]]
    first: Mapping[str, str]
    rows: int
    shown: int
    left_out: Sequence[str]
    data: str

    @property
    def note(self) -> str:
        """What the page does not hold of the table; empty where it holds all."""
        told = []
        if self.shown < self.rows:
            told.append(
                f"This page holds {self.shown:,} of {self.rows:,} rows, drawn at random, the same of every run. "
                f"Means and charts are of these rows."
            )
        if self.left_out:
            told.append(f"It leaves out lists ({', '.join(self.left_out)}).")
        return " ".join([*told, f"The whole table is data/{self.name}.parquet."] if told else [])

    def described(self) -> dict[str, Any]:
        """What the page's script is told of it."""
        keys = ("name", "columns", "x", "y", "kind", "selectors", "first")
        return {key: getattr(self, key) for key in keys}


def explorers(tables: Mapping[str, pd.DataFrame], runs: pd.DataFrame, columns: Iterable[Column] = ()) -> list[Explorer]:
    """An explorer for each table of which something can be drawn.

    Args:
        tables: by analysis, over all runs.
        runs: one row per run.
        columns: what the analyses say of their numbers.
    """
    described = [*columns]
    whole = (explorer(name, table, runs, described) for name, table in tables.items())
    found = [each for each in whole if each is not None]
    share = fair_share([len(each.data) for each in found], BUDGET)
    return [_within(each, tables[each.name], runs, share) for each in found]


def explorer(name: str, table: pd.DataFrame, runs: pd.DataFrame, columns: Sequence[Column] = ()) -> Explorer | None:
    """The explorer of one table; None where it has no numbers.

    Args:
        name: of the analysis.
        table: over all runs.
        runs: one row per run.
        columns: what the analyses say of their numbers.
    """
    plain, lists = _without_lists(table)
    keys = key_columns(plain, runs)
    about = {*ABOUT_A_ROW, *keys}
    numbers = [str(column) for column in plain if _is_number(plain[column]) and column not in about]
    if not numbers or plain.empty:
        return None
    x, y, kind = first_chart(plain, numbers, keys)
    selectors = {c: v for c in map(str, plain) if c not in (x, y, "model", "run") and (v := _choices(plain[c]))}
    shown = thinned(plain, keys, MOST_ROWS)
    return Explorer(
        name=name,
        columns=[(c, _heading(c, columns), _is_number(plain[c])) for c in map(str, plain)],
        x=x,
        y=y,
        kind=kind,
        selectors=selectors,
        first={
            c: _richest(plain, c, v, x, y)
            for c, v in selectors.items()
            if not _is_number(plain[c]) and _varies_within(plain, c, keys)
        },
        rows=len(table),
        shown=len(shown),
        left_out=lists,
        data=packed(csv_of(shown)),
    )


def _within(whole: Explorer, table: pd.DataFrame, runs: pd.DataFrame, share: float) -> Explorer:
    """The explorer with as many rows as fit."""
    if len(whole.data) <= share:
        return whole
    plain = _without_lists(table)[0]
    shown = thinned(plain, key_columns(plain, runs), int(whole.shown * 0.95 * share / len(whole.data)))
    return replace(whole, shown=len(shown), data=packed(csv_of(shown)))


def _without_lists(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table without the columns whose cells are lists, and these."""
    lists = [str(column) for column in table if _holds_lists(table[column])]
    return table.drop(columns=lists), lists


def _richest(table: pd.DataFrame, column: str, values: Sequence[str], x: str, y: str) -> str:
    """The value of a column for which there is most to draw; the first of those."""
    drawn = table[table[y].notna()]
    counts = drawn.groupby(drawn[column].astype(str))[x].nunique()
    return max(values, key=lambda value: counts.get(value, 0))


def _varies_within(table: pd.DataFrame, column: str, keys: Sequence[str]) -> bool:
    """Whether rows of one run differ in a column, so that it is no property of the run."""
    return column not in keys and (not keys or bool((table.groupby([*keys])[column].nunique() > 1).any()))


def csv_of(table: pd.DataFrame) -> str:
    """The rows as CSV, every number with all its digits."""
    return table.to_csv(index=False, lineterminator="\n")


def thinned(table: pd.DataFrame, keys: Sequence[str], most: int) -> pd.DataFrame:
    """At most so many rows, drawn at random but the same every time; of every run those at the same places.

    Args:
        table: over all runs.
        keys: the columns that say which run a row is about.
        most: how many rows.
    """
    if len(table) <= most:
        return table
    chance = np.random.default_rng(0)
    groups = [*table.groupby([*keys], sort=False).indices.values()] if keys else []
    each = most // len(groups) if groups else 0
    if not each:
        return table.iloc[np.sort(chance.choice(len(table), most, replace=False))]
    order = {size: chance.permutation(size)[:each] for size in sorted({len(group) for group in groups})}
    return table.iloc[np.sort(np.concatenate([group[order[len(group)]] for group in groups]))]


def first_chart(table: pd.DataFrame, numbers: Sequence[str], keys: Sequence[str]) -> tuple[str, str, str]:
    """What a chart first shows of a table: x, y, and how.

    A column that runs over the same numbers for every run (a rank, a radius) is x, and lines are drawn. Without one,
    two numbers that every run has once are points; and of anything else the numbers of each model stand in a box.

    Args:
        table: over all runs.
        numbers: its columns of numbers.
        keys: the columns that say which run a row is about.
    """
    changing = [column for column in numbers if table[column].nunique() > 1] or [*numbers]
    grids = [column for column in changing if _is_grid(table, column, keys)]
    others = [column for column in changing if column not in grids]
    measured = [column for column in others if table[column].dtype.kind == "f"] or others
    if len(grids) > 1 and not measured:
        grids, measured = grids[:1], grids[1:]
    if grids and measured:
        return _finest(table, grids), measured[0], "line"
    runs = table.groupby([*keys]).ngroups if keys else len(table)
    if len(table) == runs and len(changing) > 1:
        return changing[0], changing[1], "points"
    shown = (measured or changing)[0]
    across = "model" if "model" in table else next((c for c in map(str, table) if c not in numbers), changing[-1])
    return across, shown, "box" if across not in numbers else "points"


def _finest(table: pd.DataFrame, grids: Sequence[str]) -> str:
    return max(grids, key=lambda column: table[column].nunique())


def _is_grid(table: pd.DataFrame, column: str, keys: Sequence[str]) -> bool:
    """Whether every run has the same numbers in a column, three or more of them."""
    if not keys or table[column].nunique() < 3:
        return False
    counts = table.groupby([*keys], sort=False)[column].nunique()
    return bool((counts == table[column].nunique()).all())


def _holds_lists(cells: pd.Series) -> bool:
    return any(isinstance(cell, list | tuple | np.ndarray | dict) for cell in cells.head(50))


def _is_number(cells: pd.Series) -> bool:
    return is_numeric_dtype(cells) and not is_bool_dtype(cells)


def _choices(cells: pd.Series) -> list[str]:
    """The values that a drop-down offers for a column, as its CSV has them; none where they are too many, or one."""
    distinct = cells.dropna().drop_duplicates()
    whole = cells.dtype.kind in "iu" and (len(distinct) <= FEW_NUMBERS or cells.name in ABOUT_A_RUN)
    if _is_number(cells) and not whole:
        return []
    return [str(value) for value in distinct] if 1 < len(distinct) <= MOST_CHOICES else []


def _heading(column: str, columns: Sequence[Column]) -> str:
    """What a chart writes at an axis: the heading, where the numbers are shown as they are."""
    said = column_of(column, columns)
    return column if said is None or said.factor != 1 else " ".join(said.heading_of(column).split())
