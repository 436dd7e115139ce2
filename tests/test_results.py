"""Pages of results say what their tables hold: every mean and interval, every claim with its verdict."""

import re
from pathlib import Path

import pandas as pd
import pytest

from caelab.analysis.plotting import display_name
from caelab.analysis.statistics import mean_and_half_width

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PAGES = sorted(path.name.removesuffix("-findings.csv") for path in RESULTS.glob("*-findings.csv"))
NUMBER = re.compile(r"^(−?[\d.]+) ± ([\d.]+)$")
FACTORS = (1.0, 100.0, 1e4)  # as it is, in percent, in units of 10⁻⁴


def page_of(name):
    pages = [path for path in RESULTS.glob("*.md") if f"({name}-findings.csv)" in path.read_text(encoding="utf-8")]
    assert pages, f"no page names {name}-findings.csv"
    return pages[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_every_claim_stands_on_the_page_with_its_verdict(name):
    page, findings = page_of(name), pd.read_csv(RESULTS / f"{name}-findings.csv")
    if "dataset" in findings:
        assert verdicts_by_data(page) == {(row.statement, row.dataset): row.verdict for row in findings.itertuples()}
        return
    for found in findings.itertuples():
        assert f"| {found.statement} | **{found.verdict}** |" in page


def verdicts_by_data(page):
    """The table of verdicts of a page on several data sets: a row for each claim, a column for each data set."""
    rows = [line.strip("| \n").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    start = next(place for place, row in enumerate(rows) if row[0] == "claim")
    found = {}
    for row in rows[start + 1 :]:
        if len(row) != len(rows[start]):
            break
        found |= {(row[0], kind): verdict for kind, verdict in zip(rows[start][1:], row[1:], strict=True)}
    return {key: verdict for key, verdict in found.items() if verdict != "–"}


@pytest.mark.parametrize("name", PAGES)
def test_every_mean_and_interval_on_the_page_is_that_of_the_runs(name):
    page = page_of(name)
    known = {f"{mean} ± {half}" for path in tables_named(page) for mean, half in all_numbers(pd.read_csv(path))}
    cells = [cell for line in page.splitlines() if line.startswith("|") for cell in line.strip("| ").split(" | ")[1:]]
    shown = [cell.strip("* ") for cell in cells if NUMBER.match(cell.strip("* "))]
    assert shown
    assert [cell for cell in shown if cell not in known] == []


def tables_named(page):
    return [RESULTS / file for file in sorted({*re.findall(r"\(([\w-]+\.csv)\)", page)}) if "findings" not in file]


def all_numbers(rows):
    """Mean and half-width of each model's numbers as texts, at every number of digits that a page may show."""
    groups = [key for key in ("dataset", "model") if key in rows]
    for _, of_model in rows.groupby(groups):
        for column in of_model.select_dtypes("number").drop(columns=["seed", "split"], errors="ignore"):
            values = of_model[column].dropna()
            if len(values) > 1:
                mean, half = mean_and_half_width(values)
                for factor in FACTORS:
                    for digits in range(4):
                        yield f"{factor * mean:.{digits}f}".replace("-", "−"), f"{factor * half:.{digits}f}"


@pytest.mark.parametrize("name", PAGES)
def test_every_model_of_the_runs_is_on_the_page(name):
    page = page_of(name)
    for model in pd.read_csv(RESULTS / f"{name}.csv")["model"].unique():
        assert f"| {display_name(model)} |" in page or f"{display_name(model)} (" in page
