"""The command ``caelab compare``, which trains, measures and reports several models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caelab.cli.commands.shared import (
    chosen_executor,
    executor_options,
    plugin_options,
    track_option,
    use_plugins,
)

if TYPE_CHECKING:
    from caelab.study.specification import StudyFile


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
    use_plugins(plugins)
    from caelab.cli.commands.shared import with_progress
    from caelab.report.studies import Undertaking, carry_out_study
    from caelab.study.plan import parse_grid

    quick = [f"training.device={device}"] if device is not None else []
    file = comparison_file(
        recipes, dataset, seeds, [*settings, *quick], dict(map(parse_grid, grids)), tune or bool(tune_by), tune_by
    )
    names = [*dict.fromkeys(name.strip() for name in analyses.split(","))] if analyses else None
    file = file.model_copy(
        update={
            "analyses": None if names is None else {name: {} for name in names},
            "plugins": [str(path) for path in plugins],
            "out": str(out),
        }
    )
    how = chosen_executor(executor, workers, address, executor_settings)
    study = Undertaking(file, "", out, command=_words(), how=how, watch=with_progress, track=track)
    for line in carry_out_study(study):
        click.echo(line)


def comparison_file(
    recipes: Sequence[str],
    dataset: str | None,
    seeds: int,
    settings: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    tune: bool,
    tune_by: str | None,
) -> StudyFile:
    """The words of the command line as a study file says them."""
    from caelab.runs.recipes import default_recipes
    from caelab.runs.settings import parse_setting
    from caelab.study.specification import study_file

    return study_file(
        {
            "study": "comparison",
            "models": list(recipes) or default_recipes(),
            "set": dict(map(parse_setting, settings)),
            "grid": {key: list(values) for key, values in grid.items()},
            "datasets": [] if dataset is None else [dataset],
            "seeds": seeds,
            "selection": {"by": tune_by, "recipes": True} if tune else None,
            "out": "comparison",
        }
    )


def _words() -> str:
    return " ".join(["caelab", *sys.argv[1:]])
