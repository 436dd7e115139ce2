"""How models of a comparison differ: ``statistics.csv`` with all pairs, and a table of each against the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from json import dumps
from math import isfinite
from typing import Any

import pandas as pd
import torch

from caelab.analysis.columns import Column
from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import by_seed, comparisons, power_note
from caelab.data import Dataset
from caelab.data.splits import draw_splits
from caelab.errors import CaelabError
from caelab.report.claims import short
from caelab.report.tables import Cell, Table, shown_columns
from caelab.runs.config import GIVEN, make_config
from caelab.runs.run import dataset_of

MOST = 200  # rows of the table on the page; all pairs are in the file
NAMED = 4  # numbers in the sentence on power
HEADINGS = (
    "number",
    "model",
    "against\nthe best",
    "difference\n[95 % t]",
    "[corrected\nfor splits]",
    "p, t test\n(Holm)",
    "p, permutation\n(Holm)",
    "effect size\n[95 %]",
    "pairs\nwon",
    "smallest\nvisible",
)
CAPTION = (
    "Each model minus the best of a number, paired by the seed, and by the split where splits are repeated: the mean "
    "difference with its t interval; the interval corrected for splits of one data set that share examples (Nadeau "
    "and Bengio 2003); p-values after Holm's correction over all pairs of models; the effect size (Cohen's d_z with "
    "Hedges' correction); the pairs that the model wins; and the smallest true difference that 80 % of such "
    "comparisons would find. All pairs are in statistics.csv."
)


def differences(
    rows: pd.DataFrame,
    columns: Sequence[Column],
    configs: Sequence[Mapping[str, Any]],
    test_to_train: Mapping[str, float],
) -> pd.DataFrame:
    """Every pair of models that have the same data, by every number of which it is known what is better.

    Args:
        rows: one row per model and seed, or per model, split and seed.
        columns: what the analyses say of their numbers.
        configs: one per model.
        test_to_train: by model, as ``ratios`` finds it.
    """
    parts = [
        comparisons(rows[rows["model"].isin(models)], number, column.better, test_to_train=test_to_train.get(models[0]))
        for number, column in judged(rows, columns)
        for models in of_one_data_set(configs)
    ]
    return pd.concat([part for part in parts if len(part)] or [comparisons(rows[:0].assign(x=0.0), "x")])


def judged(rows: pd.DataFrame, columns: Sequence[Column]) -> list[tuple[str, Column]]:
    """The numbers of which smaller or larger ones are better."""
    return [(number, column) for number, column in shown_columns(rows, columns) if column.better]


def of_one_data_set(configs: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The models of each data set."""
    groups: dict[str, list[str]] = {}
    for config in configs:
        groups.setdefault(dumps(config["dataset"], sort_keys=True, default=str), []).append(config["label"])
    yield from groups.values()


def ratios(configs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By model, how many examples test for each one that trains, where each split draws both from one pool.

    Where the test examples are the data's own, or the data are not there, there is no such number: the correction for
    what splits share does not hold then.
    """
    first = {config["label"]: config for config in configs}
    found: dict[str, float] = {}
    for models in of_one_data_set(configs):
        with suppress(CaelabError):  # the data are not there
            config = first[models[0]]
            if config["dataset"]["kind"] != GIVEN and (ratio := _ratio(dataset_of(make_config(config)), config)):
                found |= dict.fromkeys(models, ratio)
    return found


def _ratio(dataset: Dataset, config: Mapping[str, Any]) -> float | None:
    """Test over training examples, where the split of the config is one that is drawn from all examples alike."""
    sizes = [len(part) for part in (dataset.train, dataset.valid, dataset.test)]
    drawn = draw_splits(dataset.name, len(dataset.inputs), sizes, make_config(config).split)
    return sizes[2] / sizes[0] if torch.equal(drawn[2], dataset.test) else None


def differences_table(found: pd.DataFrame, rows: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """The table of each model against the best; nothing where no two models can be compared."""
    if found.empty:
        return
    numbers = judged(rows, columns)
    cells = [cell for number, column in numbers for cell in _against_best(found, rows, number, column)]
    if cells:
        names = {number: (_in_one_line(column, number), column.factor) for number, column in numbers[:NAMED]}
        note = [CAPTION, _least_p(found), power_note(found, names)]
        cut = [f"The first {MOST} of {len(cells)} rows."] if len(cells) > MOST else []
        yield Table("differences", " ".join(filter(None, [*note, *cut])), HEADINGS, tuple(cells[:MOST]))


def _in_one_line(column: Column, number: str) -> str:
    return " ".join(column.heading_of(number).split())


def _least_p(found: pd.DataFrame) -> str:
    pairs = int(found["pairs"].max())
    least = 2.0 ** (1 - pairs)
    return f"With {pairs} pairs no permutation test can fall below p = {least:.2g}." if 0.05 < least <= 0.5 else ""


def _against_best(found: pd.DataFrame, rows: pd.DataFrame, number: str, column: Column) -> Iterator[tuple[Cell, ...]]:
    """One row per model that can be compared with the best of its data set."""
    means = by_seed(rows, number).mean()
    of_number = found[found["number"] == number]
    for best in _best_of_groups(of_number, means, column.better):
        for side, sign in (("first", 1.0), ("second", -1.0)):
            other = "second" if side == "first" else "first"
            for row in of_number[of_number[other] == best].to_dict("records"):
                if row["pairs"]:
                    texts = (_in_one_line(column, number), display_name(row[side]), display_name(best))
                    yield (*map(Cell, texts), *_numbers(row, sign, column.factor, side))


def _best_of_groups(of_number: pd.DataFrame, means: pd.Series, better: str) -> list[str]:
    """The best model of each group that is compared with one another, one group per data set."""
    left, found = means.dropna().sort_values(ascending=better != "larger", kind="stable"), []
    while len(left):
        best = left.index[0]
        near = of_number[(of_number["first"] == best) | (of_number["second"] == best)]
        left = left.drop(
            labels=[best, *(model for model in left.index[1:] if model in {*near["first"], *near["second"]})]
        )
        found.append(str(best))
    return found


def _numbers(row: Mapping[Any, Any], sign: float, factor: float, side: str) -> Iterator[Cell]:
    """The cells of numbers of one row; ``sign`` turns the difference so that the model stands first."""
    turned = sign * factor
    difference, effect = row["difference"] * turned, row["effect size"] * sign
    yield Cell(f"{_text(difference)}{_interval(row, 't', turned)}", value=difference)
    yield Cell(_interval(row, "corrected", turned).strip() or "–")
    for key in ("t p Holm", "permutation p Holm"):
        yield Cell(f"{row[key]:.2g}" if isfinite(row[key]) else "–", value=row[key])
    yield Cell(f"{_text(effect)}{_interval(row, 'effect', sign)}", value=effect)
    won = row["share won"] if side == "first" else 1 - row["share won"]
    missing = f" ({row['missing']} missing)" if row["missing"] else ""
    yield Cell(f"{won * row['pairs']:g} of {row['pairs']}{missing}", value=won)
    smallest = row["smallest difference"] * factor
    yield Cell(_text(smallest), value=smallest)


def _interval(row: Mapping[Any, Any], name: str, factor: float) -> str:
    low, high = sorted((row[f"{name} low"] * factor, row[f"{name} high"] * factor))
    return f" [{short(low)}, {short(high)}]" if isfinite(low) and isfinite(high) else ""


def _text(value: float) -> str:
    return short(value) if isfinite(value) else "–"
