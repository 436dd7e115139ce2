"""The comparison as Python's users have it: tables, findings, paired tests, figures, LaTeX and the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.base import drawn_onto, panels_of
from caelab.analysis.columns import Column
from caelab.analysis.plotting import display_name, family_of, stored_appearances
from caelab.errors import CaelabError, RefusedInput, shown, unknown_name
from caelab.registry.arguments import path_of, rows_of, text_of
from caelab.registry.promised import promised
from caelab.registry.reserved import ABOUT_A_ROW
from caelab.report.paired_tests import PairedTest, paired_test
from caelab.report.publish import columns_of_stored, numbers_of
from caelab.report.store import MANIFEST
from caelab.report.store import Comparison as Stored
from caelab.report.store import load_comparison as read_stored
from caelab.report.tables import (
    Table,
    all_tables,
    best_means,
    latex_table,
    measured,
    numbers_told,
    shown_columns,
    spread,
    table_of,
)
from caelab.report.verdicts import verdicts
from caelab.runs.run import Run, load_run
from caelab.storage.files import told_as_storage, write_bytes, write_text

PAGE = "report.html"
PLURALS = {"seed": "seeds", "analysis": "analyses", "finding": "findings"}


def load_comparison(path: Any) -> Comparison:
    """The comparison in a folder that ``caelab compare``, ``caelab.compare`` or a study has written.

    Args:
        path: the folder.

    Raises:
        CaelabError: the folder holds none, one for each of several data sets, one that was not finished, or one that
            was changed after it was written.
    """
    folder = path_of(path, "the folder of a comparison").expanduser()
    inside = [] if (folder / MANIFEST).exists() else sorted(each.parent for each in folder.glob(f"*/{MANIFEST}"))
    if inside:
        raise CaelabError(
            f"{folder} holds a comparison for each data set; load one of them: {', '.join(map(str, inside))}"
        )
    return Comparison(folder, read_stored(folder))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Models that were trained from the same seeds, and measured: all that a paper's tables and figures are made of.

    Attributes:
        path: its folder; a temporary one goes when nothing refers to the comparison any more.
        stored: what is read from there.
    """

    path: Path
    stored: Stored

    @property
    def table(self) -> pd.DataFrame:
        """One row per run: ``model``, ``seed``, every number that the analyses sum up to, and ``run``, its folder."""
        return self.stored.rows.copy()

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """By analysis, its tidy table over all runs."""
        return dict(self.stored.tables)

    @property
    def models(self) -> list[str]:
        """The labels of the models, in their order."""
        return [str(label) for label in self.stored.rows["model"].drop_duplicates()]

    @property
    def numbers(self) -> list[str]:
        """The names of the numbers, as ``test`` and ``to_latex`` take them."""
        return measured(self.stored.rows)

    @property
    def problems(self) -> pd.DataFrame:
        """Runs and analyses that failed (``applies``), or have no meaning for a model, with the reason."""
        names = ["model", "analysis", "message", "applies"]
        return pd.DataFrame([asdict(each) for each in self.stored.problems], columns=names)

    @cached_property
    def columns(self) -> list[Column]:
        """What the analyses say of their numbers: heading, unit, which way is better."""
        return columns_of_stored(self.stored)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per number and model: ``mean`` over the seeds, ``low`` and ``high`` of its 95 % t interval, ``runs``.

        One seed has no interval; missing and infinite values are left out.
        """
        rows = [
            {"number": number, "model": model, **_interval(of_model[number])}
            for number in self.numbers
            for model, of_model in self.stored.rows.groupby("model", sort=False)
        ]
        return pd.DataFrame(rows, columns=["number", "model", "mean", "low", "high", "runs"])

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per claim: ``statement``, ``source``, ``verdict`` and ``evidence``."""
        found, _ = verdicts(numbers_of(self.stored, self.columns), self.stored.claims)
        return pd.DataFrame(map(asdict, found), columns=["statement", "source", "verdict", "evidence"])

    def test(self, first: str, second: str, on: str) -> PairedTest:
        """How two models differ by one number: the mean of first minus second over seeds, and how sure that is.

        Args:
            first: a model, by its label, by the name that figures give it, or by its recipe where only one is of it.
            second: the other.
            on: the number, by its name or by its heading in the tables, as ``"mean norm"``.

        Returns:
            The paired difference with its 95 % t interval, p-values of the t and of the permutation test, and the
            effect size (Cohen's d_z with Hedges' correction) with its interval. The p-values are of this one test;
            those of all pairs, adjusted by Holm, stand in ``statistics.csv``.

        Raises:
            CaelabError: no such model or number, twice the same model, or models of different data.
        """
        number, column = self._number(on)
        pair = [self._model(first), self._model(second)]
        return paired_test(self.stored, pair, number, column)

    def figure(self, name: str, axes: Any = None) -> Figure:
        """The figure of an analysis over all models.

        Args:
            name: of the analysis; ``tables`` has all.
            axes: to draw onto, one for each panel, in the caller's style; without them a figure is made.

        Raises:
            CaelabError: the comparison has no table of that name, or it cannot be drawn.
            ValueError: another number of axes than the analysis has panels.
        """
        if text_of(name, "the name of an analysis") not in self.stored.tables:
            raise RefusedInput(str(unknown_name("analysis of this comparison", name, self.stored.tables)))
        with stored_appearances(self.stored.appearances):
            return drawn_onto(name, self.stored.tables[name], axes, self.models)

    def panels(self, name: str) -> tuple[int, int]:
        """Rows and columns of the panels of a figure, as ``plt.subplots(*comparison.panels("jacobian_norm"))``.

        Args:
            name: of the analysis.

        Raises:
            CaelabError: the comparison has no table of that name, or the analysis draws figures of its own only.
        """
        if text_of(name, "the name of an analysis") not in self.stored.tables:
            raise RefusedInput(str(unknown_name("analysis of this comparison", name, self.stored.tables)))
        return panels_of(name, self.stored.tables[name])

    def to_latex(
        self,
        columns: Sequence[str] | None = None,
        *,
        models: Sequence[str] | None = None,
        caption: str | None = None,
        label: str | None = None,
        path: Any = None,
    ) -> str:
        """A table in LaTeX (booktabs): a row per model, mean ± half-width of the 95 % t interval, the best in bold.

        Args:
            columns: numbers, by their names or headings; by default those of the paper's first table.
            models: as ``test`` takes them; by default all.
            caption: instead of the one that says what the numbers are.
            label: of the table, as ``"tab:models"``.
            path: a file to write it to, too.

        Raises:
            CaelabError: no such model or number, or the file cannot be written.
        """
        text = latex_table(self._latex(columns, models, caption))
        if label is not None:
            text = text.replace(r"\label{tab:chosen}", rf"\label{{{text_of(label, 'the label')}}}")
        if path is not None:
            write_text(path_of(path, "the file of the table"), text)
        return text

    def _latex(self, columns: Sequence[str] | None, models: Sequence[str] | None, caption: str | None) -> Table:
        rows = self.stored.rows
        if models is not None:
            chosen = dict.fromkeys(self._model(each) for each in rows_of(models, "models"))  # each counts once
            if not chosen:
                raise RefusedInput("expected at least one model, but none came; the comparison's models has all")
            rows = pd.concat([rows[rows["model"] == each] for each in chosen])
        with stored_appearances(self.stored.appearances):
            if columns is None:
                (table, *_) = all_tables(rows, self.columns)
                table = _named(table, caption)
            else:
                numbers = [*dict(self._number(each) for each in rows_of(columns, "columns")).items()]
                if not numbers:
                    raise RefusedInput("expected at least one column, but none came; the comparison's numbers has all")
                told = " ".join(filter(None, [numbers_told(rows), best_means(numbers)]))
                table = _named(table_of(rows, "chosen", told, numbers), caption)
        return table

    def report(self, path: Any = None) -> Path:
        """The report page, one file that needs no network; a copy of it where a path is given.

        Raises:
            CaelabError: it cannot be read or written.
        """
        page = self.path / PAGE
        if path is None:
            return page
        target = path_of(path, "the file of the report").expanduser()
        target = target / PAGE if target.is_dir() else target
        with told_as_storage(page, "read"):
            content = page.read_bytes()
        write_bytes(target, content)
        return target

    def run(self, model: str, seed: int) -> Run:
        """One trained run, read back from the comparison's folder.

        Raises:
            CaelabError: there is no such model or seed, or the run's folder is not there any more.
        """
        label = self._model(model)
        rows = self.stored.rows[self.stored.rows["model"] == label]
        found = rows.loc[rows["seed"] == seed, "run"]
        if found.empty:
            seeds = ", ".join(map(str, rows["seed"].unique()))
            raise CaelabError(f"{label!r} has no run of the seed {shown(seed)}, only of {seeds}")
        return load_run(self._runs / str(found.iloc[0]))

    @property
    def runs(self) -> list[Run]:
        """Every run, read back from the comparison's folder: in the order of ``table``."""
        return [load_run(self._runs / str(name)) for name in self.stored.rows["run"]]

    @property
    def _runs(self) -> Path:
        """Where the runs lie: beside the comparisons, where a study has one for each data set."""
        own, beside = self.path / "runs", self.path.parent / "runs"
        return beside if beside.is_dir() and not own.is_dir() else own

    def _model(self, name: Any) -> str:
        """The label of a model that is called by its label, its display name, or its recipe."""
        called = text_of(name, "the name of a model")
        if called in self.models:
            return called
        with stored_appearances(self.stored.appearances):
            ways = [
                [label for label in self.models if display_name(label).casefold() == called.casefold()],
                [label for label in self.models if family_of(label) == called],
            ]
        found = next((way for way in ways if way), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise RefusedInput(f"{called!r} may be {' or '.join(map(repr, found))}; give the whole label")
        raise RefusedInput(str(unknown_name("model of this comparison", called, self.models)))

    def _number(self, name: Any) -> tuple[str, Column]:
        """The number that is called by its name or its heading, and its column."""
        called = text_of(name, "the name of a number")
        shown_ = shown_columns(self.stored.rows, self.columns)
        for spelt in (lambda number, column: number, lambda number, column: _plain(column.heading_of(number))):
            found = [pair for pair in shown_ if _plain(spelt(*pair)) == _plain(called)]
            if found:
                return found[0]
        if called in ABOUT_A_ROW:
            raise RefusedInput(f"{called!r} says which run a row is about; name a number, as {shown_[0][0]!r}")
        raise RefusedInput(str(unknown_name("number of this comparison", called, [number for number, _ in shown_])))

    def __repr__(self) -> str:
        """What is compared, in one line."""
        with stored_appearances(self.stored.appearances):
            names = ", ".join(map(display_name, self.models))
        counts = {
            "seed": self.stored.rows["seed"].nunique(),
            "analysis": len(self.stored.tables),
            "finding": len(self.findings),
        }
        told = (f"{count} {PLURALS[what] if count != 1 else what}" for what, count in counts.items())
        return f"<Comparison of {names}: {', '.join(told)}>"

    def _repr_html_(self) -> str:
        return str(promised("html_of")(self))


def _interval(values: pd.Series) -> dict[str, float]:
    mean, half = spread(values)
    return {"mean": mean, "low": mean - half, "high": mean + half, "runs": int(np.isfinite(values).sum())}


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _named(table: Table | None, caption: str | None) -> Table:
    if table is None:
        raise CaelabError("none of the columns was measured; see the comparison's numbers for those that were")
    return replace(table, name="chosen", caption=table.caption if caption is None else caption)
