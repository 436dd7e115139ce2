"""Made-up comparisons, with which claims are tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from caelab.analysis.columns import Column
from caelab.analysis.contract import columns_of
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import ABOUT_A_RUN
from caelab.report.claims import Numbers
from caelab.report.verdicts import copied

POWERS = (-3.0, 3.0)  # of ten, between which the means lie


def made_up(place: int, spread: float = 0.01) -> Numbers:
    """A comparison of every recipe that is offered, from three seeds; all its numbers are drawn.

    Args:
        place: another comparison for every number.
        spread: standard deviation over the seeds, as a share of the mean; the means are drawn log-uniformly.
    """
    models, names = recipes(), columns()
    means = 10 ** np.random.default_rng(place).uniform(*POWERS, (len(models), len(names)))
    rows = [dict(zip(names, of_recipe, strict=True)) for of_recipe in means]
    return Numbers.made_up(dict(zip(models, rows, strict=True)), spread=spread)


def recipes() -> list[str]:
    """Every recipe that is offered."""
    return catalogue().names("recipe")


def columns() -> list[str]:
    """Every number that an analysis says it sums up to, but those whose names have a star."""
    found = (column for name in catalogue().names("analysis") for column in _of(name))
    return [*dict.fromkeys(column.name for column in found if not column.is_pattern)]


def _of(name: str) -> list[Column]:
    try:
        return columns_of([name])
    except CaelabError:  # a plugin that cannot be used is told of where it is asked for
        return []


def first_seed(numbers: Numbers) -> Numbers:
    """The same comparison from one seed."""
    rows = numbers.rows
    return replace(numbers, rows=rows[rows["seed"] == rows["seed"].min()].reset_index(drop=True))


def shuffled(numbers: Numbers, order: int) -> Numbers:
    """The same numbers with all rows in another order; the first order is the reverse."""

    def mixed(table: pd.DataFrame) -> pd.DataFrame:
        places = np.random.default_rng(order).permutation(len(table)) if order else np.arange(len(table))[::-1]
        return table.iloc[places].reset_index(drop=True)

    tables = {name: mixed(table) for name, table in copied(numbers).tables.items()}
    return replace(numbers, rows=mixed(numbers.rows), tables=tables)


def poorer(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    """The same comparison without something, by what it lacks."""
    rows = numbers.rows
    yield "columns", replace(copied(numbers), rows=rows[[*ABOUT_A_RUN]].copy())
    yield "all models but one", replace(copied(numbers), rows=rows[rows["model"] == rows["model"].iloc[0]].copy())
    nothing = {str(column): np.nan for column in rows if column not in ABOUT_A_RUN}
    yield "any number in the rows", replace(copied(numbers), rows=rows.assign(**nothing))
    if numbers.tables:
        yield "tables", replace(copied(numbers), tables={})
        empty = pd.DataFrame({name: [] for name in ABOUT_A_RUN})
        yield "columns of tables", replace(copied(numbers), tables={name: empty.copy() for name in numbers.tables})
