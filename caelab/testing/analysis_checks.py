"""Checks of one analysis: its description, its table, its side effects, its figures, its summary."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from numbers import Real
from typing import Any

import matplotlib
import pandas as pd
import pyarrow
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

from caelab.analysis.base import gather
from caelab.analysis.contract import checked_columns, compares, measures
from caelab.analysis.panels import WrongAxes
from caelab.errors import CaelabError, ContractError
from caelab.registry.reserved import ABOUT_A_RUN, GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.report.pictures import checked_pixels
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.testing.chance import random_states
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.conduct import untouched_random_state


@dataclass(frozen=True, eq=False)
class Subject:
    """An analysis with its options, on runs that suit it, and what the first run was like before it was measured."""

    analysis: Any
    options: Mapping[str, Any]
    runs: tuple[Run, ...]
    before: tuple[Any, ...]

    def table(self, run: Run) -> pd.DataFrame:
        """What it measures, from fresh streams."""
        if not measures(self.analysis):
            return self.between(run)
        found: pd.DataFrame = self.analysis.measure(run, Streams(run.seed), **self._of(self.analysis.measure))
        return found

    def between(self, run: Run) -> pd.DataFrame:
        """What it finds between the runs, in the rows that are about one of them."""
        streams = Streams(min(each.seed for each in self.runs))
        found: pd.DataFrame = self.analysis.compare([*self.runs], streams, **self._of(self.analysis.compare))
        rows = found[(found["model"] == run.label) & (found["seed"] == run.seed)]
        return rows.drop(columns=[*ABOUT_A_RUN]).reset_index(drop=True)

    def _of(self, part: Any) -> dict[str, Any]:
        known = option_fields(part, GIVEN_BY_CORE["analysis"])
        return {key: value for key, value in self.options.items() if key in known}

    @cached_property
    def tables(self) -> list[pd.DataFrame]:
        """One table per run, with the columns that the core adds."""
        found = [named(self.table(run), run) for run in self.runs]
        if measures(self.analysis) and compares(self.analysis):
            found = [
                gather([table, named(self.between(run), run)]) for table, run in zip(found, self.runs, strict=True)
            ]
        return found


def named(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The table with ``model`` and ``seed`` in front."""
    return pd.concat([pd.DataFrame({"model": run.label, "seed": run.seed}, index=table.index), table], axis=1)


def check_description(analysis: Any) -> Iterator[Check]:
    """Check the title, the caption, and the columns of the numbers that the analysis sums up to."""
    said = {key: getattr(analysis, key, "") for key in ("title", "caption")}
    wrong = [f"{key}={text!r}" for key, text in said.items() if not isinstance(text, str)]
    lacking = [f"no {key}" for key, text in said.items() if text == ""]
    remedy = "give title = '...' and caption = '...', one or two sentences on how to read the figure"
    if lacking and not wrong:
        yield Check("title and caption", "reported", "both, as texts", " and ".join(lacking), remedy)
    else:
        found = " and ".join(wrong) or repr(said["title"])
        yield judged("title and caption", not wrong, "both, as texts", found, remedy)
    try:
        columns = checked_columns("analysis", analysis)
    except CaelabError as error:
        yield Check("columns", "failed", "a caelab.Column for each number", str(error), "mend the columns")
        return
    names = ", ".join(column.name for column in columns) or "none"
    yield Check("columns", "reported", "a caelab.Column for each number", names)


def _check_table(subject: Subject) -> Iterator[Check]:
    """Check what ``measure`` returns, and that it can be stored and read back."""
    run = subject.runs[0]
    table = subject.table(run)
    named_well = list(table.columns) == [str(c) for c in table.columns] and table.columns.is_unique
    taken = [column for column in ABOUT_A_RUN if column in table.columns]
    found = f"{len(table)} rows, columns {', '.join(map(str, table.columns))}"
    passed = bool(len(table)) and named_well and not taken
    remedy = f"rows of observations, columns named once, by strings, other than {' and '.join(ABOUT_A_RUN)}"
    yield judged("table", passed, "a tidy table", found, remedy)
    if passed:
        yield _stored(table)


def _stored(table: pd.DataFrame) -> Check:
    expected, remedy = "the same table", "use plain numbers, strings, booleans and lists of numbers as cells"
    try:
        same = same_table(stored(table), table)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        return Check("stored and read back", "failed", expected, f"{type(error).__name__}: {error}", remedy)
    return judged("stored and read back", same, expected, "so" if same else "another", remedy)


def same_table(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables have the same columns and cells; arrays and lists in cells are alike."""
    return first.to_json(orient="split", double_precision=15, index=False) == second.to_json(
        orient="split", double_precision=15, index=False
    )


def stored(table: pd.DataFrame) -> pd.DataFrame:
    """The table after it was written to Parquet and read back."""
    file = io.BytesIO()
    table.to_parquet(file)
    return pd.read_parquet(io.BytesIO(file.getvalue())).reset_index(drop=True)


def _check_measure(subject: Subject) -> Iterator[Check]:
    """Check that the same streams give the same table, and that the run and the global random state do not change."""
    run = subject.runs[0]
    before = random_states()
    first = subject.table(run)
    yield untouched_random_state(before, random_states())
    changed = snapshot(run) != subject.before
    remedy = "others measure the same run: work on copy.deepcopy(run.model), and on copies of its data"
    found = "changed" if changed else "unchanged"
    yield judged("run left alone", not changed, "unchanged model, mode and data", found, remedy)
    again = same_table(subject.table(run), first)
    remedy = "draw every random number from streams"
    yield judged("same streams, same table", again, "equal tables", "so" if again else "different", remedy)


def snapshot(run: Run) -> tuple[Any, ...]:
    """Everything about a run that an analysis could change."""
    state = [value.tolist() for value in run.model.state_dict().values()]
    modes = [module.training for module in run.model.modules()]
    return state, modes, float(run.dataset.inputs.double().sum()), [p.grad is None for p in run.model.parameters()]


def _check_drawing(subject: Subject) -> Iterator[Check]:
    """Check the figure of one run and of many, drawn from nothing but the stored table; matplotlib must not change."""
    tables = [stored(table) for table in subject.tables]
    several = [("many runs", gather(tables))]
    for what, table in [("one run", tables[0]), *several] if measures(subject.analysis) else several:
        before, style, opened = table.copy(deep=True), dict(matplotlib.rcParams), pyplot.get_fignums()
        figure = subject.analysis.draw(table)
        is_figure = isinstance(figure, Figure)
        remedy = "return a matplotlib.figure.Figure, drawn from the table alone"
        yield judged(f"figure of {what}", is_figure, "a Figure", type(figure).__name__, remedy)
        changes = ["the table"] * (not same_table(table, before)) + ["rcParams"] * (dict(matplotlib.rcParams) != style)
        changes += ["pyplot's figures"] * (pyplot.get_fignums() != opened)
        remedy = "work on a copy of the table, use Figure() instead of pyplot, and rc_context or paper_style"
        found = f"changed: {', '.join(changes)}" if changes else "unchanged"
        yield judged(f"drawing {what} leaves all else alone", not changes, "unchanged", found, remedy)


def _check_given_axes(subject: Subject) -> Iterator[Check]:
    """Check that a figure whose ``draw`` takes axes is drawn onto them, and by the settings that it finds."""
    name = "drawing onto given axes"
    if "axes" not in signature(subject.analysis.draw).parameters:
        found = "draw(table), which makes figures of its own only"
        yield Check(name, "reported", "draw(table, axes=None), for figures of a caller's own", found)
        return
    table = stored(subject.tables[0] if measures(subject.analysis) else gather(subject.tables))
    shape, style, opened = _shape(subject, table), dict(matplotlib.rcParams), pyplot.get_fignums()
    figure = Figure()
    axes = figure.subplots(*shape, squeeze=False)
    returned = subject.analysis.draw(table, axes=axes[0, 0] if shape == (1, 1) else axes)
    wrong = ["another figure is returned"] * (returned is not figure)
    wrong += ["some axes stay empty"] * any(not each.has_data() for each in axes.flat)
    wrong += ["rcParams are changed"] * (dict(matplotlib.rcParams) != style)
    wrong += ["pyplot's figures are changed"] * (pyplot.get_fignums() != opened)
    remedy = "take panels(axes, rows, columns, of=NAME, size=...) of caelab.figures, and return its finished()"
    expected = f"the figure that the {axes.size} axes belong to"
    yield judged(name, not wrong, expected, "; ".join(wrong) or "so", remedy)


def _shape(subject: Subject, table: pd.DataFrame) -> tuple[int, int]:
    """Rows and columns of panels: told where no axes are given, or else as many as a figure of its own has."""
    try:
        subject.analysis.draw(table.copy(), axes=[])
    except WrongAxes as told:
        return told.shape
    except Exception:  # one that does not go by ``panels`` may say anything
        pass
    return 1, len(subject.analysis.draw(table.copy()).axes)


def _check_needs_no_model(subject: Subject) -> Iterator[Check]:
    """Check that the figure of a stored table does not change when the weights of its run do."""
    table = stored(subject.tables[0] if measures(subject.analysis) else gather(subject.tables))
    model = subject.runs[0].model
    first, kept = picture(subject.analysis.draw(table)), {name: v.clone() for name, v in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    try:
        same = picture(subject.analysis.draw(table)) == first
    finally:
        model.load_state_dict(kept)
    remedy = "put all that the figure shows into the table: figures are redrawn from tables alone"
    yield judged("drawn from the table alone", same, "the same picture with other weights", "so" if same else "another",
                 remedy)  # fmt: skip


def picture(figure: Figure) -> bytes:
    """The pixels of a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="raw", dpi=50)
    return file.getvalue()


def _check_summary(subject: Subject) -> Iterator[Check]:
    """Check the numbers that sum up one run."""
    if not hasattr(subject.analysis, "summarise"):
        yield Check("summary", "reported", "numbers for the summary table", "no summarise(table); it is not needed")
        return
    found: Any = subject.analysis.summarise(stored(subject.tables[0]))
    passed = isinstance(found, Mapping) and all(
        isinstance(key, str) and isinstance(value, Real) and not math.isinf(value) for key, value in found.items()
    )
    told = ", ".join(f"{key} {value:.4g}" for key, value in found.items()) if passed else repr(found)
    yield judged(
        "summary",
        passed,
        "numbers by name",
        told,
        "return {column: number}; NaN says that it has no meaning for this run",
    )
    if passed:
        yield _described(subject.analysis, [str(key) for key in found])


def _described(analysis: Any, numbers: list[str]) -> Check:
    """Whether every column has a number; numbers without a column are shown as they are."""
    columns = getattr(analysis, "columns", ())
    idle = [c.name for c in columns if not c.optional and not any(c.covers(number) for number in numbers)]
    plain = [number for number in numbers if not any(column.covers(number) for column in columns)]
    found = f"no number for {', '.join(idle)}" if idle else f"without a column: {', '.join(plain) or 'none'}"
    remedy = "give the column the name of the number, or optional=True where some runs have none"
    return judged("columns and numbers", not idle, "a number for each column", found, remedy)


def _check_preview(subject: Subject) -> Iterator[Check]:
    """Check the small picture of one run, which the table gives again, and which leaves the table alone."""
    if not hasattr(subject.analysis, "preview"):
        return
    expected = "numbers from 0 to 1, shape (height, width) or (height, width, 3)"
    remedy = "return an array of few pixels, drawn from the table alone"
    table = stored(subject.tables[0])
    before = table.copy(deep=True)
    try:
        pixels = checked_pixels(subject.analysis.preview(table), "preview")
    except ContractError as error:
        yield Check("preview", "failed", expected, str(error), remedy)
        return
    changed = not same_table(table, before)
    found = "the table changed" if changed else f"{pixels.shape[0]} × {pixels.shape[1]} pixels"
    yield judged("preview", not changed, expected, found, remedy)


CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    _check_table,
    _check_measure,
    _check_drawing,
    _check_given_axes,
    _check_needs_no_model,
    _check_summary,
    _check_preview,
)
