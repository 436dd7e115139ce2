"""The report page of many runs: how long it takes to build, how large it is, and how soon it opens in a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

import caelab
from caelab.analysis.base import analyse, summarise
from caelab.analysis.contract import default_analyses
from caelab.report import publish
from caelab.report.store import MANIFEST, Comparison
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run, versions
from caelab.storage.folders import open_folder
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.measure import Spread

MODELS, SEEDS = 25, 20
CHROMIUM = "/usr/bin/chromium"
SPREAD = 0.03  # of the invented numbers


def cases() -> list[Case]:
    """The rows, in the table's order; those of the browser only where it is there."""
    what = f"report page of {MODELS * SEEDS} runs"
    built = [
        Case(f"{what}, built from tables and figures", at_most(30, " s"), partial(_found, "page")),
        Case(f"{what}, its figures drawn as PDF and PNG", None, partial(_found, "figures"), " s"),
        Case(f"{what}, size", at_most(15, " MB"), partial(_found, "size")),
    ]
    opened = [
        Case(f"{what}, opened in Chromium", at_most(2, " s"), partial(_opened, False)),
        Case(f"{what}, first chart opened", None, partial(_opened, True), " s"),
    ]
    return [*built, *(opened if which(CHROMIUM) else [])]


def _found(key: str, bench: Bench) -> Spread:
    return Spread.of([published()[key]])


@cache
def published() -> dict[str, Any]:
    """Publish the comparison: seconds of the processor for figures and for all else, its size, and where it lies."""
    place = TemporaryDirectory(prefix="caelab-page-")
    folder = Path(place.name) / "out"  # there until the program ends
    open_folder(folder, MANIFEST)
    comparison = many_runs(folder)
    drawing: list[float] = []
    with mock.patch.object(publish, "draw_figures", timed(publish.draw_figures, drawing)):
        begun = time.process_time()
        list(publish.publish_comparison(folder, comparison))
        whole = time.process_time() - begun
    page = folder / "report.html"
    return {
        "page": whole - drawing[0],
        "figures": drawing[0],
        "size": page.stat().st_size / 1e6,
        "path": page,
        "place": place,
    }


def timed(function: Any, seconds: list[float]) -> Any:
    """The function, which adds the processor seconds that it takes to a list."""

    def call(*arguments: Any) -> Any:
        begun = time.process_time()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.process_time() - begun)

    return call


def many_runs(folder: Path) -> Comparison:
    """One run, trained for an epoch and measured by every default analysis, and all others invented from it."""
    run = caelab.train(recipe_config("cae", ["training.epochs=1"]), out=folder.with_name("one"))
    tables = {name: analyse(run, name) for name in default_analyses()}
    numbers = {key: value for name, table in tables.items() for key, value in summarise(name, table).items()}
    labels = [f"cae contractive.weight={1 + place}" for place in range(MODELS)]
    chance = np.random.default_rng(0)
    places = [(label, seed) for label in labels for seed in range(SEEDS)]
    rows = pd.DataFrame([{"model": label, "seed": seed, **numbers} for label, seed in places])
    rows = shaken(rows, chance).assign(run=[f"cae-{place}" for place in range(len(places))])
    for name in rows["run"]:
        write(run, folder / "runs" / name, chance)
    every = {
        name: pd.concat([shaken(t.assign(model=m, seed=s), chance) for m, s in places], ignore_index=True)
        for name, t in tables.items()
    }
    configs = [{**run.config.as_dict(), "label": label} for label in labels]
    return Comparison("caelab compare", configs, [*range(SEEDS)], [], versions(), rows, every)


def shaken(table: pd.DataFrame, chance: np.random.Generator) -> pd.DataFrame:
    """The table with noise on every measured number; a column of the same places for every run stays."""
    found = table.copy()
    for column in found:
        if column in ("radius", "t"):
            continue
        if found[column].dtype.kind == "f":
            found[column] *= 1 + SPREAD * chance.normal(size=len(found))
        elif column == "pixels":
            found[column] = [np.clip(p + SPREAD * chance.normal(size=len(p)), min(p), max(p)) for p in found[column]]
    return found


def write(run: Run, place: Path, chance: np.random.Generator) -> None:
    """A run's folder, as far as the page reads it, with thirty epochs."""
    place.mkdir(parents=True)
    facts = {"config": run.config.as_dict(), "record": dict(run.record)}
    (place / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    history = shaken(pd.concat([run.history_table().astype(float)] * 30, ignore_index=True), chance)
    history.assign(epoch=range(1, 31)).to_parquet(place / "history.parquet")


def _opened(with_chart: bool, bench: Bench) -> Spread:
    """Seconds from the address to a page that can be used; or from the click to the first chart."""
    seconds = []
    for _ in range(3):
        with page() as shown:
            begun = time.perf_counter()
            shown.goto(published()["path"].as_uri())
            shown.locator(".theme").wait_for()
            if with_chart:
                begun = time.perf_counter()
                shown.locator("details.explorer summary").first.click()
                shown.locator(".chart .main-svg").first.wait_for()
            seconds.append(time.perf_counter() - begun)
    return Spread.of(seconds)


@contextmanager
def page() -> Iterator[Any]:
    """An empty page of a browser that was just started."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()
