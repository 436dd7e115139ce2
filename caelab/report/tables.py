"""Summaries over seeds, as numbers and as tables to read: mean ± half-width, the best marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np
import pandas as pd

from caelab.analysis.plotting import display_name, mean_and_half_width
from caelab.analysis.statistics import by_seed, holm, paired_difference

SIGNIFICANCE = 0.05
NEW_LINE, DOUBLE = "\n", r"\\"
ABOUT = ("model", "seed", "run")
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


@dataclass(frozen=True)
class Column:
    """How a column of the runs is shown.

    Attributes:
        name: the column.
        heading: with its unit, in one line or two.
        factor: what the numbers are multiplied with, 100 for a share shown as a percentage.
        mark: whether the smallest is the best, and marked.
    """

    name: str
    heading: str
    factor: float = 1
    mark: bool = True


MAIN = (
    Column("fine-tuned error", "test error,\nfine-tuned (%)"),
    Column("mean norm", "mean\n‖J‖"),
    Column("mean squared norm", "mean\n‖J‖²"),
    Column("mean squared entry", "mean squared\nentry of J"),
    Column("saturated share", "saturated\n(%)", 100, mark=False),
    Column("reconstruction error", "reconstruction\nerror"),
)
CONTRACTION = (
    Column("effective rank", "effective\nrank of J", mark=False),
    Column("singular values above threshold", "large singular\nvalues", mark=False),
    Column("bump height", "bump\nheight", mark=False),
    Column("bump radius", "bump\nradius", mark=False),
    Column("nearest-to-random ratio", "toward neighbour\n/ random", mark=False),
    Column("tangent share", "tangents\ncaptured (%)", 100, mark=False),
)
FURTHER = (
    Column("linear-probe error", "test error,\nlinear probe (%)"),
    Column("fine-tuned validation error", "validation error,\nfine-tuned (%)"),
)
TERMINAL = (
    Column("fine-tuned error", "test error %", mark=False),
    Column("mean norm", "mean ‖J‖", mark=False),
    Column("saturated share", "saturated %", 100, mark=False),
    Column("reconstruction error", "reconstruction", mark=False),
)
BEST = "Bold: the smallest mean, and all that a paired t test over the seeds (Holm, 5 %) does not tell from it."
NUMBERS = "Mean over seeds ± half-width of the 95 % t interval."


@dataclass(frozen=True)
class Cell:
    """One entry, and whether it is among the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table to read: one row of cells per model, in the order of the models."""

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def summary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model: ``seeds``, and for each numeric column the mean and, under "... ±", its half-width.

    Missing and infinite numbers are left out of a mean; a column without any others stays NaN.
    """
    summaries = [{"model": model, **_summary(of_model)} for model, of_model in rows.groupby("model", sort=False)]
    return pd.DataFrame(summaries)


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {"seeds": rows["seed"].nunique()}
    for column in measured(rows):
        found[column], found[f"{column} ±"] = spread(rows[column])
    return found


def measured(rows: pd.DataFrame) -> list[str]:
    """The numeric columns of the runs."""
    return [str(column) for column in rows.select_dtypes("number") if column not in ABOUT]


def spread(values: pd.Series) -> tuple[float, float]:
    """Mean and half-width of the finite values; NaN where there are none."""
    present = values[np.isfinite(values)]
    return mean_and_half_width(present) if len(present) else (float("nan"), float("nan"))


def table_1(rows: pd.DataFrame) -> Table | None:
    """What the paper's Table 1 shows, and more; None where no column of it was measured."""
    return table_of(rows, "table1", f"Models compared on held-out examples. {NUMBERS} {BEST}", MAIN)


def table_2(rows: pd.DataFrame) -> Table | None:
    """Spectrum, contraction curve and tangents in numbers; None where no column of it was measured."""
    return table_of(rows, "table2", f"What contraction did. {NUMBERS}", CONTRACTION)


def table_3(rows: pd.DataFrame) -> Table | None:
    """Further errors, and whatever other analyses summarise; None where there is nothing more."""
    known = {column.name for column in (*MAIN, *CONTRACTION, *FURTHER)}
    others = [Column(name, name, mark=False) for name in measured(rows) if name not in known]
    return table_of(rows, "table3", f"Further numbers. {NUMBERS} {BEST}", [*FURTHER, *others])


def all_tables(rows: pd.DataFrame) -> list[Table]:
    """Every table that has columns."""
    return [table for make in (table_1, table_2, table_3) if (table := make(rows)) is not None]


def every_run(rows: pd.DataFrame) -> Table:
    """One row per run, every number as it was measured, three digits and more."""
    columns = ["seed", *measured(rows)]
    texts = [[f"{value:.4g}" if isfinite(value) else "–" for value in rows[column].astype(float)] for column in columns]
    cells = [tuple(map(Cell, row)) for row in zip(map(display_name, rows["model"]), *texts, strict=True)]
    return Table("runs", "One row per model and seed.", ("model", *columns), tuple(cells))


def table_of(rows: pd.DataFrame, name: str, caption: str, columns: Sequence[Column]) -> Table | None:
    """The table with those of the columns that were measured; None where none was."""
    present = [column for column in columns if column.name in measured(rows) and rows[column.name].notna().any()]
    if not present:
        return None
    shown = [list(_shown(rows, column)) for column in present]
    models = [Cell(display_name(model)) for model in rows["model"].drop_duplicates()]
    headings, cells = zip(*((each[0], each[1:]) for each in shown), strict=True)
    return Table(name, caption, ("model", *headings), tuple(zip(models, *cells, strict=True)))


def _shown(rows: pd.DataFrame, column: Column) -> Iterator[object]:
    """The heading, then one cell per model."""
    summary = summary_table(rows)
    means, halves = summary[column.name] * column.factor, summary[f"{column.name} ±"] * column.factor
    power = power_of_ten(means)
    places = decimals(means / 10.0**power, halves / 10.0**power)
    best = best_models(rows, column.name) if column.mark else set()
    yield column.heading + (f" (×10{str(power).translate(SUPERSCRIPTS)})" if power else "")
    for model, mean, half in zip(summary["model"], means / 10.0**power, halves / 10.0**power, strict=True):
        yield Cell(number(mean, half, places), model in best)


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


def number(mean: float, half: float, places: int) -> str:
    """A mean with its half-width, or alone where one seed has no interval.

    >>> number(3.9, 0.123, 2), number(3.9, float("nan"), 1), number(float("nan"), 0.1, 1)
    ('3.90 ± 0.12', '3.9', '–')
    """
    if not isfinite(mean):
        return "–"
    text = f"{mean:.{places}f}".replace("-", "−")
    return f"{text} ± {half:.{places}f}" if isfinite(half) else text


def best_models(rows: pd.DataFrame, column: str) -> set[str]:
    """The model with the smallest mean, and all that do not differ from it significantly.

    Paired t tests over the seeds against the smallest, adjusted by Holm, at 5 %. One seed allows no test: then only
    the smallest.
    """
    numbers = by_seed(rows, column).dropna(axis="columns", how="all")
    best = str(numbers.mean().idxmin())
    others = [str(model) for model in numbers.columns if model != best]
    p_values = [paired_difference(numbers[model], numbers[best]).p_value for model in others]
    return {best, *(m for m, p in zip(others, holm(p_values), strict=True) if p >= SIGNIFICANCE)}


def escaped(text: str) -> str:
    r"""Text for LaTeX, its symbols as mathematics.

    >>> print(escaped("CAE λ=0.3, 5 %, a_b, 10⁻⁴"))
    CAE $\lambda$=0.3, 5 \%, a\_b, 10$^{-4}$
    """
    return re.sub("[⁻⁰¹²³⁴-⁹]+", lambda found: f"$^{{{found[0].translate(PLAIN)}}}$", text.translate(LATEX))


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
