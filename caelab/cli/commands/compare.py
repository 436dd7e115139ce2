"""The command ``caelab compare``, which trains, measures and reports several models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caelab.cli.commands.shared import (
    chosen_executor,
    executor_options,
    plugin_options,
    published,
    track_option,
    use_plugins,
)
from caelab.errors import CaelabError

if TYPE_CHECKING:
    import pandas as pd

    from caelab.runs.config import RunConfig
    from caelab.study.outcomes import StudyResult
    from caelab.study.study import Study
    from caelab.study.tuning import Choice, Measure


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE|FILE.yaml]...")
@click.option("--dataset", default=None, help="A data set (see caelab data). [default: mnist5k]")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="How many seeds per model.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key in every recipe that has it.",
)
@click.option("--grid", "grids", multiple=True, metavar="KEY=V,V,...", help="One model per value.")
@click.option("--tune", is_flag=True, help="Choose on validation the weight of each recipe that you give none.")
@click.option("--tune-by", metavar="NUMBER", help="Tune by this number, where analyses mark several.")
@click.option("--analyses", default=None, metavar="NAME,NAME,...", help="Only these analyses.")
@click.option("--device", default=None, help="cpu or cuda.")
@executor_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("compare"),
    show_default=True,
    help="Output folder.",
)
@track_option
@plugin_options
def compare(
    recipes: tuple[str, ...],
    dataset: str | None,
    seeds: int,
    settings: tuple[str, ...],
    grids: tuple[str, ...],
    tune: bool,
    tune_by: str | None,
    analyses: str | None,
    device: str | None,
    workers: int | None,
    executor: str,
    address: str | None,
    executor_settings: tuple[str, ...],
    out: Path,
    track: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Train recipes from several seeds, measure each, and write tables, figures and a report.

    \b
    caelab compare
    caelab compare ae cae --grid contractive.weight=0.1,0.3,1,3 --out frontier
    """
    files = use_plugins(plugins)
    from caelab.analysis.contract import default_analyses
    from caelab.report.store import MANIFEST, collect
    from caelab.runs.recipes import default_recipes
    from caelab.storage.folders import open_folder
    from caelab.study.plan import parse_grid, plan
    from caelab.study.study import Study
    from caelab.study.tuning import checked_choices, measure_of

    top: dict[str, Any] = {"dataset": {"kind": dataset}} if dataset is not None else {}
    quick = [f"training.device={device}"] if device is not None else []
    grid = dict(map(parse_grid, grids))
    models = plan(recipes or default_recipes(), [*settings, *quick], grid, **top)
    configs = [model.config for model in models]
    names = [*dict.fromkeys(name.strip() for name in analyses.split(","))] if analyses else default_analyses()
    chosen = chosen_executor(executor, workers, address, executor_settings)
    how: dict[str, Any] = {"executor": executor, "workers": chosen["workers"], **chosen["options"]}
    study = Study(configs, range(seeds), {name: {} for name in names}, out / "runs", files, track)
    study.check()
    measure = measure_of(names, tune_by) if tune or tune_by else None
    found = checked_choices(models, settings, grid, measure) if measure else []
    open_folder(out, MANIFEST)
    tuning = None
    if measure:
        configs, tuning = _tuned(found, study, how, measure)
        study = replace(study, configs=configs)
    result = _with_progress("compare", study, how)
    published(out, collect(_words(), configs, range(seeds), result, tuning))
    if not result.tables():
        raise CaelabError(f"none of the analyses worked ({', '.join(names)}); the lines above say why")


def _tuned(
    found: Sequence[Choice], study: Study, how: Mapping[str, Any], measure: Measure
) -> tuple[list[RunConfig], pd.DataFrame]:
    """Try every candidate, say what was chosen among what, and go on with it."""
    from caelab.study.outcomes import StudyResult
    from caelab.study.tuning import decided, told, tuning_study

    trial = tuning_study(found, study.seeds, study.out, study.plugin_files, measure)
    result = _with_progress("tune", trial, how) if trial.configs else StudyResult([])
    configs, table = decided(found, len(study.seeds), result, measure)
    for line in told(table):
        click.echo(f"tuned: {line}")
    return configs, table


def _with_progress(title: str, study: Study, how: Mapping[str, Any]) -> StudyResult:
    from caelab.cli.progress import Steps

    with Steps(title, len(study.jobs())) as steps:
        return study.run(**how, done=lambda outcome: steps.step(str(outcome)))


def _words() -> str:
    return " ".join(["caelab", *sys.argv[1:]])
