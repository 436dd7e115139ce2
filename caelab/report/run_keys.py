"""Which run a row of a table is about: the same columns say so in the table of all runs and in that of an analysis."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from caelab.registry.reserved import ABOUT_A_RUN

RunKey = tuple[str, ...]

PLACES = (*ABOUT_A_RUN, "dataset", "split")
"""The columns that tell runs apart, where the table of all runs has them."""


def key_columns(table: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """The columns of an analysis's table that say which run a row is about; one of the analysis's own is none."""
    return [column for column in PLACES if column in table and column in runs]


def by_run(table: pd.DataFrame, runs: pd.DataFrame) -> Iterator[tuple[RunKey, pd.DataFrame]]:
    """The rows of each run, in the table's order, numbered from 0; nothing where no column says whose they are."""
    columns = key_columns(table, runs)
    if not {*ABOUT_A_RUN} <= {*columns}:
        return
    for key, rows in table.groupby(columns, sort=False):
        yield tuple(map(str, key)), rows.reset_index(drop=True)
