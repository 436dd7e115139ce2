"""Numbers that publications print, beside what a comparison measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import pandas as pd

from caelab.analysis.columns import Column, column_of
from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import rank_correlation_interval
from caelab.errors import CaelabError, shown
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.tables import (
    Cell,
    Table,
    decimals,
    number_text,
    power_of_ten,
    spreads,
    times_ten_to,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Numbers of one quantity that a publication prints for several models on one data set.

    Attributes:
        source: who prints them and where, as "Rifai et al. (2011), Table 1, MNIST".
        datasets: the kinds of data sets that they are about, or whose order of models they may be compared with.
        number: the number that caelab measures in their place, as an analysis names it.
        values: by recipe, as printed.
        heading: of their column.
        factor: what caelab's number is multiplied with, so that both have one unit.
        note: what differs between the two, in a sentence.
    """

    source: str
    datasets: Sequence[str]
    number: str
    values: Mapping[str, float]
    heading: str
    factor: float = 1.0
    note: str = ""

    def __post_init__(self) -> None:
        wrong = [name for name, value in self.values.items() if not isinstance(value, int | float)]
        if wrong or not self.values:
            raise CaelabError(
                f"expected the published values as a mapping of recipes to numbers, but {shown(self.values)} came"
            )


def published(dataset: str) -> list[Published]:
    """All published numbers that are about a data set, in the order in which plugins offer them."""
    offers = [offer for offer in catalogue().offers.values() if offer.kind == "published"]
    return [found for offer in offers if (found := _loaded(offer)) is not None and dataset in found.datasets]


def _loaded(offer: Offer) -> Published | None:
    """What a plugin offers; what is none is told of and left out."""
    try:
        found = offer.load()
    except CaelabError as error:
        log.warning("left out: %s", error)
        return None
    if isinstance(found, Published):
        return found
    log.warning(
        "left out: the published numbers %r of plugin %r are %s, but a caelab.Published is expected",
        *(offer.name, offer.provider, shown(found)),
    )
    return None


def published_tables(rows: pd.DataFrame, columns: Sequence[Column], dataset: str) -> Iterator[Table]:
    """A table for each publication that prints numbers which were measured here, on the same or similar data."""
    for each in published(dataset):
        table = _table_of(rows, columns, each)
        if table is not None:
            yield table


def _table_of(rows: pd.DataFrame, columns: Sequence[Column], of: Published) -> Table | None:
    labels = models_of(rows, of)
    if of.number not in rows or not labels:
        return None
    means, halves = (each * of.factor for each in spreads(rows[rows["model"].isin([*labels])], of.number))
    if not means.notna().any():
        return None
    power = power_of_ten(means)
    unit = 10.0**power  # of both columns, so that they can be read beside each other
    places = decimals(means / unit, halves / unit)
    printed = as_printed([of.values[recipe] / unit for recipe in labels.values()])
    cells = tuple(
        (
            Cell(display_name(label)),
            Cell(number_text(means[label] / unit, halves[label] / unit, places), value=means[label]),
            Cell(text, value=of.values[recipe]),
        )
        for (label, recipe), text in zip(labels.items(), printed, strict=True)
    )
    column = column_of(of.number, columns)
    here = column.heading_of(of.number).replace("\n", " ") if column else of.number
    caption = " ".join(filter(None, [f"Beside {of.source}.", of.note, _ranks(means, [*labels.values()], of)]))
    headings = ("model", *(f"{each}{times_ten_to(power)}" for each in (f"here: {here}", f"published: {of.heading}")))
    return Table(f"published-{_name_of(of)}", caption, headings, cells)


def as_printed(values: Sequence[float]) -> list[str]:
    """The numbers of a printed column, all with as many decimals as the one that needs the most.

    >>> as_printed([1.14, 1.3]), as_printed([50.0, 3.0])
    (['1.14', '1.30'], ['50', '3'])
    """
    digits = [np.format_float_positional(value, precision=8, trim="-") for value in values]
    places = max(len(each.partition(".")[2]) for each in digits)
    return [f"{value:.{places}f}" for value in values]


def models_of(rows: pd.DataFrame, of: Published) -> dict[str, str]:
    """The models of a comparison that stand for a recipe with a published number, and that recipe."""
    labels = [str(label) for label in rows["model"].drop_duplicates()]
    return {label: label.partition(" ")[0] for label in labels if label.partition(" ")[0] in of.values}


def _ranks(means: pd.Series, recipes: Sequence[str], of: Published) -> str:
    """How well the order of the models is the published one, in a sentence; empty where there are few of them."""
    pairs = [(mean, of.values[recipe]) for mean, recipe in zip(means, recipes, strict=True) if isfinite(mean)]
    if len(pairs) < 3:
        return ""
    rho = rank_correlation_interval([here for here, _ in pairs], [there for _, there in pairs])
    interval = f" [{rho.low:.2f}, {rho.high:.2f}]" if isfinite(rho.low) else ""
    return f"Spearman's ρ between the two columns: {rho.value:.2f}{interval} over {len(pairs)} models."


def _name_of(of: Published) -> str:
    """A name for the table's file.

    >>> _name_of(Published("", (), "fine-tuned error", {"ae": 1.0}, "error (%)"))
    'fine-tuned-error'
    """
    return "-".join("".join(letter if letter.isalnum() else " " for letter in of.number.lower()).split())
