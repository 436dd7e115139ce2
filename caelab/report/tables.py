"""Summaries over seeds, as numbers and as tables to read: mean ± half-width, the best marked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import floor, isfinite, log10

import numpy as np
import pandas as pd

from caelab.analysis.columns import Column, column_of
from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import by_seed, mean_and_half_width, not_told_from_best
from caelab.registry.reserved import ABOUT_A_ROW, SPLIT
from caelab.report.plain_letters import in_ascii

NEW_LINE, DOUBLE = "\n", r"\\"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PLAIN = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "%&_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "‖": r"$\|$",
        "→": r"$\to$",
        "–": "--",
        "−": "$-$",
        "λ": r"$\lambda$",
        "σ": r"$\sigma$",
        "ρ": r"$\rho$",
    }
)


NUMBERS = "Mean over seeds ± half-width of the 95 % t interval."
NAMED = {  # what a column's ``table`` may say: the file's name, and what stands above the table
    "main": ("table1", "Models compared on held-out examples."),
    "contraction": ("table2", "What contraction did."),
    "further": ("table3", "Further numbers."),
}
EXTREMES = {"smaller": "the smallest mean", "larger": "the largest mean"}


@dataclass(frozen=True)
class Cell:
    """One entry, and whether it is among the best of its column.

    Attributes:
        text: what is read.
        best: whether it is among the best of its column.
        value: the number behind the text, by which a page sorts; None where the text says all.
        run: the name of the run's folder that a page leads to; empty where there is none.
    """

    text: str
    best: bool = False
    value: float | None = None
    run: str = ""

    @property
    def number(self) -> str:
        """The value with all its digits; empty where there is none."""
        return "" if self.value is None or not isfinite(self.value) else repr(float(self.value))


@dataclass(frozen=True)
class Table:
    """A table to read: one row of cells per model, in the order of the models."""

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def summary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model: ``seeds``, and of each number NAME the columns ``NAME mean``, ``NAME low``, ``NAME high``.

    Low and high are the ends of the 95 % t interval of the mean, x̄ ± t_{n-1} s / √n (Student 1908). Missing and
    infinite numbers are left out; without any others all three are NaN, and with one the ends are.
    """
    summaries = [{"model": model, **_summary(of_model)} for model, of_model in rows.groupby("model", sort=False)]
    return pd.DataFrame(summaries)


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {"seeds": rows["seed"].nunique()}
    for column in measured(rows):
        mean, half = spread(rows[column])
        found |= {f"{column} mean": mean, f"{column} low": mean - half, f"{column} high": mean + half}
    return found


def spreads(rows: pd.DataFrame, number: str) -> tuple[pd.Series, pd.Series]:
    """Mean and half-width of a number by model, in the order of the models."""
    found = {model: spread(values) for model, values in rows.groupby("model", sort=False)[number]}
    means, halves = zip(*found.values(), strict=True)
    return pd.Series(means, index=[*found], dtype=float), pd.Series(halves, index=[*found], dtype=float)


def in_plain_letters(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns have names of plain ASCII letters, which every program reads and every keyboard has.

    Names that would then be the same are numbered.
    """
    seen: Counter[str] = Counter()
    names = []
    for column in frame.columns:
        plain = "".join(each if each.isascii() else in_ascii(each) for each in str(column))
        seen[plain] += 1
        names.append(plain if seen[plain] == 1 else f"{plain} {seen[plain]}")
    return frame.set_axis(names, axis="columns")


def measured(rows: pd.DataFrame) -> list[str]:
    """The numeric columns of the runs, but those that say which run a row is about."""
    return [str(column) for column in rows.select_dtypes("number") if column not in ABOUT_A_ROW]


def spread(values: pd.Series) -> tuple[float, float]:
    """Mean and half-width of the finite values; NaN where there are none."""
    present = values[np.isfinite(values)]
    return mean_and_half_width(present) if len(present) else (float("nan"), float("nan"))


def all_tables(rows: pd.DataFrame, columns: Sequence[Column]) -> list[Table]:
    """Every table that has columns: those that caelab names first, then those that columns name themselves.

    Args:
        rows: one row per model and seed.
        columns: what the analyses say of their numbers; a number that none of them describes is shown as it is.
    """
    shown = shown_columns(rows, columns)
    titles = dict.fromkeys([*NAMED, *(column.table for _, column in shown)])
    found = (_titled(rows, title, [each for each in shown if each[1].table == title]) for title in titles)
    return named_apart([table for table in found if table is not None])


def named_apart(tables: Sequence[Table]) -> list[Table]:
    """Number the tables whose titles give one name, since each becomes a file."""
    seen: Counter[str] = Counter()
    apart = []
    for table in tables:
        seen[table.name] += 1
        count = seen[table.name]
        apart.append(table if count == 1 else replace(table, name=f"{table.name}-{count}"))
    return apart


def shown_columns(rows: pd.DataFrame, columns: Sequence[Column]) -> list[tuple[str, Column]]:
    """Every number of the runs with its column, in the order in which they are shown."""
    places = {id(column): place for place, column in enumerate(columns)}
    found = [(number, column_of(number, columns) or Column(name=number)) for number in measured(rows)]
    return sorted(found, key=lambda each: (each[1].order, places.get(id(each[1]), len(places))))


def _titled(rows: pd.DataFrame, title: str, columns: Sequence[tuple[str, Column]]) -> Table | None:
    name, caption = NAMED.get(title, (f"table-{_slug(title)}", f"{title.rstrip('.')}."))
    return table_of(rows, name, " ".join(filter(None, [caption, numbers_told(rows), best_means(columns)])), columns)


def numbers_told(rows: pd.DataFrame) -> str:
    """What the numbers of a table are, in a sentence."""
    return NUMBERS.replace("seeds", "splits and seeds", 1) if SPLIT in rows else NUMBERS


def best_means(columns: Sequence[tuple[str, Column]]) -> str:
    """What bold numbers are, for a table's caption; an empty text where none can be bold."""
    ways = {column.better for _, column in columns if column.better}
    if not ways:
        return ""
    extreme = EXTREMES[ways.pop()] if len(ways) == 1 else "the best mean"
    return f"Bold: {extreme}, and all that a paired t test (Holm, 5 %) does not tell from it."


def _slug(title: str) -> str:
    """A title as a part of a file's name.

    >>> _slug("Codes, compared (%)")
    'codes-compared'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "own"


def short_table(rows: pd.DataFrame, columns: Sequence[Column]) -> Table | None:
    """The columns that have a short heading, for a terminal; None where there is none."""
    shown = [(number, column) for number, column in shown_columns(rows, columns) if column.short]
    main = sorted(shown, key=lambda each: [*NAMED, each[1].table].index(each[1].table))
    return table_of(rows, "short", "", [(n, replace(column, heading=column.short, better="")) for n, column in main])


def every_run(rows: pd.DataFrame) -> Table:
    """One row per run, every number as it was measured, three digits and more."""
    columns = [*([SPLIT] if SPLIT in rows else []), "seed", *measured(rows)]
    numbers = [[_exact(value) for value in rows[column].astype(float)] for column in columns]
    names = rows["run"].astype(str) if "run" in rows else [""] * len(rows)
    models = [Cell(display_name(model), run=run) for model, run in zip(rows["model"], names, strict=True)]
    texts = {column: [Cell(str(value)) for value in rows[column]] for column in categories(rows)}
    cells = tuple(zip(models, *texts.values(), *numbers, strict=True))
    return Table("runs", "One row per run.", ("model", *texts, *columns), cells)


def categories(rows: pd.DataFrame) -> list[str]:
    """The columns of the runs that are texts, beside the model and the run's name."""
    texts = rows.select_dtypes(exclude="number")
    return [str(column) for column in texts if column not in ABOUT_A_ROW]


def _exact(value: float) -> Cell:
    return Cell(f"{value:.4g}" if isfinite(value) else "–", value=value)


def table_of(rows: pd.DataFrame, name: str, caption: str, columns: Sequence[tuple[str, Column]]) -> Table | None:
    """The table of those numbers that were measured; None where none was."""
    present = [(number, column) for number, column in columns if rows[number].notna().any()]
    if not present:
        return None
    shown = [list(_shown(rows, number, column)) for number, column in present]
    models = [Cell(display_name(model)) for model in rows["model"].drop_duplicates()]
    headings, cells = zip(*((each[0], each[1:]) for each in shown), strict=True)
    return Table(name, caption, ("model", *headings), tuple(zip(models, *cells, strict=True)))


def _shown(rows: pd.DataFrame, number: str, column: Column) -> Iterator[object]:
    """The heading, then one cell per model."""
    means, halves = (each * column.factor for each in spreads(rows, number))
    power = power_of_ten(means)
    places = decimals(means / 10.0**power, halves / 10.0**power)
    best = best_models(rows, number, column.better) if column.better else set()
    yield column.heading_of(number) + times_ten_to(power)
    shown = zip(means.index, means, means / 10.0**power, halves / 10.0**power, strict=True)
    for model, value, mean, half in shown:
        yield Cell(number_text(mean, half, places), model in best, value)


def times_ten_to(power: int) -> str:
    """What goes on behind a heading whose numbers are divided by that power of ten.

    >>> times_ten_to(-4), times_ten_to(0)
    (' (×10⁻⁴)', '')
    """
    return f" (×10{str(power).translate(SUPERSCRIPTS)})" if power else ""


def power_of_ten(values: pd.Series) -> int:
    """The power that a column is divided by, so that its largest number has one digit before the point; often 0."""
    largest = values.abs().max()
    power = floor(log10(largest)) if largest > 0 else 0
    return 0 if -2 <= power < 5 else power


def decimals(means: pd.Series, halves: pd.Series) -> int:
    """Decimals for a whole column: two digits of the typical half-width, but no more than four of the typical mean.

    >>> decimals(pd.Series([3.9, 11.0]), pd.Series([0.12, 0.5])), decimals(pd.Series([3.9]), pd.Series([np.nan]))
    (2, 2)
    """
    size, width = (values.abs().replace(0, np.nan).median() for values in (means, halves))
    wanted = [digits - 1 - floor(log10(each)) for each, digits in ((size, 4), (width, 2)) if isfinite(each)]
    if len(wanted) == 1:  # one seed: three digits of the mean
        wanted = [wanted[0] - 1]
    return max(min(wanted, default=0), 0)


def number_text(mean: float, half: float, places: int) -> str:
    """A mean with its half-width, or alone where one seed has no interval.

    >>> number_text(3.9, 0.123, 2), number_text(3.9, float("nan"), 1), number_text(float("nan"), 0.1, 1)
    ('3.90 ± 0.12', '3.9', '–')
    """
    if not isfinite(mean):
        return "–"
    text = f"{mean:.{places}f}".replace("-", "−")
    return f"{text} ± {half:.{places}f}" if isfinite(half) else text


def best_models(rows: pd.DataFrame, column: str, better: str = "smaller") -> set[str]:
    """The model with the best mean, the smallest or the largest, and all that do not differ from it significantly.

    Paired t tests over the seeds against the best, adjusted by Holm, at 5 %. One seed allows no test: then only the
    best.
    """
    return {*not_told_from_best(by_seed(rows, column), better)}


def escaped(text: str) -> str:
    r"""Text for LaTeX, its symbols as mathematics.

    >>> print(escaped("CAE λ=0.3, 5 %, a_b, 10⁻⁴"))
    CAE $\lambda$=0.3, 5 \%, a\_b, 10$^{-4}$
    """
    raised = re.sub("[⁻⁰¹²³⁴-⁹]+", lambda found: f"$^{{{found[0].translate(PLAIN)}}}$", text.translate(LATEX))
    return re.sub(r"\$\\\|\$(\w+)\$\\\|\$", r"$\\|\1\\|$", raised).replace("$$", "")  # ‖J‖² is one formula


def latex_table(table: Table) -> str:
    """The table in LaTeX; it needs the package booktabs."""
    headings = [rf"\shortstack[r]{{{escaped(heading).replace(NEW_LINE, DOUBLE)}}}" for heading in table.headings]
    frame = pd.DataFrame([[escaped(cell.text) for cell in row] for row in table.rows], columns=pd.Index(headings))
    bold = [["textbf:--rwrap;" if cell.best else "" for cell in row] for row in table.rows]
    text: str = (
        frame.style.hide(axis="index")
        .apply(lambda shown: pd.DataFrame(bold, shown.index, shown.columns), axis=None)
        .to_latex(
            hrules=True,
            column_format="l" + "r" * (len(headings) - 1),
            caption=escaped(table.caption),
            label=f"tab:{table.name}",
            position_float="centering",
        )
    )
    return text.replace(r"\centering", r"\centering\footnotesize")
