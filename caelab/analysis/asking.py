"""Analyses as a user of Python asks for them: the table of a run, or of several, and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.base import analyse as of_one
from caelab.analysis.base import drawn_onto
from caelab.analysis.several import analyse_together
from caelab.errors import CaelabError, RefusedInput, shown
from caelab.registry.arguments import rows_of
from caelab.runs.run import Run


def analyse(runs: Run | Sequence[Run], name: str, **options: Any) -> pd.DataFrame:
    """The table of an analysis of one run, or of several runs together.

    Args:
        runs: a run that was trained or loaded; or a list of them, different models and seeds, of which the analysis
            measures each, and compares all where it does.
        name: of the analysis, as ``caelab plugins`` lists them.
        options: of the analysis, as ``caelab.analyse(run, "jacobian_spectrum", examples=100)``.

    Returns:
        The tidy table, with the columns ``model`` and ``seed`` in front. A stored run keeps it, so that it is read
        back the next time.

    Raises:
        CaelabError: an unknown analysis or option, or an analysis that fails on these runs.
        NotApplicable: the analysis has no meaning for these runs.
    """
    if isinstance(runs, Run):
        return of_one(runs, name, **options)
    found = rows_of(runs, "runs")
    other = next((each for each in found if not isinstance(each, Run)), None)
    if other is not None or not found:
        raise CaelabError(f"expected a run, or a list of runs, but {shown(runs if not found else other)} came")
    return analyse_together(found, name, **options)


def draw(name: str, table: pd.DataFrame, axes: Any = None) -> Figure:
    """The figure of an analysis, from its table alone.

    A figure of its own has caelab's style, and on top of it what the caller has changed of matplotlib's.

    Args:
        name: of the analysis.
        table: what ``analyse`` returned, of one run or of many.
        axes: one of matplotlib's axes, or as many as the analysis has panels, to draw onto in the caller's style;
            without them a figure is made.

    Returns:
        The figure; with axes the one that they belong to.

    Raises:
        CaelabError: an unknown analysis, or a table that it cannot draw.
        ValueError: another number of axes than the analysis has panels, no table, or one without rows.
    """
    if not isinstance(table, pd.DataFrame) or table.empty:
        came = "one without rows" if isinstance(table, pd.DataFrame) else shown(table)
        raise RefusedInput(f"expected a table of {name!r}, as caelab.analyse returns it, but {came} came")
    return drawn_onto(name, table, axes)
