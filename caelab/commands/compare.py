"""``caelab compare``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from caelab.commands.shared import plugin_options, published, use_plugins


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
@click.option("--tune", is_flag=True, help="Choose each recipe's weight on validation, from the grid it carries.")
@click.option("--analyses", default=None, metavar="NAME,NAME,...", help="Only these analyses.")
@click.option("--device", default=None, help="cpu or cuda.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Runs at once. [default: the cores]")
@click.option("--executor", default="processes", show_default=True, help="Where the runs are computed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("compare"),
    show_default=True,
    help="Output folder.",
)
@plugin_options
def compare(
    recipes: tuple[str, ...],
    dataset: str | None,
    seeds: int,
    settings: tuple[str, ...],
    grids: tuple[str, ...],
    tune: bool,
    analyses: str | None,
    device: str | None,
    workers: int | None,
    executor: str,
    out: Path,
    plugins: tuple[Path, ...],
) -> None:
    """Train recipes from several seeds, measure each, and write tables, figures and a report.

    \b
    caelab compare
    caelab compare ae cae --grid contractive.weight=0.1,0.3,1,3 --out frontier
    """
    files = use_plugins(plugins)
    from caelab.comparison import DEFAULT_ANALYSES, DEFAULT_RECIPES, claim, collect, save
    from caelab.executors import usable_cores
    from caelab.plans import parse_grid, plan, tuned

    top: dict[str, Any] = {"dataset": {"kind": dataset}} if dataset else {}
    quick = [f"training.device={device}"] if device else []
    configs = plan(recipes or DEFAULT_RECIPES, [*settings, *quick], dict(map(parse_grid, grids)), **top)
    names = analyses.split(",") if analyses else DEFAULT_ANALYSES
    from caelab.study import Study
    from caelab.terminal import Steps

    how: dict[str, Any] = {"executor": executor, "workers": workers or usable_cores()}
    study = Study(configs, range(seeds), {name: {} for name in names}, out / "runs", files)
    study.check()
    claim(out)
    if tune:
        configs = tuned(configs, range(seeds), out / "runs", **how)
        study = Study(configs, range(seeds), study.analyses, study.out, files)
    with Steps("compare", len(study.jobs())) as steps:
        result = study.run(
            **how, done=lambda outcome: steps.step(f"{outcome.config.label}, seed {outcome.config.seed}")
        )
    save(collect(_words(), configs, range(seeds), result), out)
    published(out)


def _words() -> str:
    return " ".join(["caelab", *sys.argv[1:]])
