"""The command ``caelab train``, which trains one run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from caelab.cli.commands.shared import plugin_options, track_option, use_plugins
from caelab.errors import CaelabError


@click.command()
@click.argument("recipe", required=False, metavar="[RECIPE|FILE.yaml]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="A run's config (YAML) instead of a recipe.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one key, as contractive.weight=0.3.",
)
@click.option("--without", multiple=True, metavar="NAME", help="Leave a regularizer of the recipe out.")
@click.option("--dataset", help="A data set (see caelab data).")
@click.option("--seed", type=int, help="Fixes splits, initial weights and every random stream.")
@click.option("--device", help="cpu or cuda.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--print-config", is_flag=True, help="Print the config as YAML and stop.")
@click.option(
    "--trace-hooks", is_flag=True, help="Print each kind of call of a hook, with the shapes of its arguments."
)
@track_option
@click.option(
    "--process-timeout",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Under torchrun: how long a process waits for the others.",
)
@plugin_options
def train(
    recipe: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    without: tuple[str, ...],
    dataset: str | None,
    seed: int | None,
    device: str | None,
    out: Path,
    print_config: bool,
    trace_hooks: bool,
    track: tuple[str, ...],
    process_timeout: float,
    plugins: tuple[Path, ...],
) -> None:
    """Train one run: a RECIPE, or the config in a YAML file.

    \b
    caelab train cae --set contractive.weight=0.3 --set training.epochs=10
    caelab train cae --print-config > my.yaml; caelab train my.yaml
    torchrun --nproc-per-node 2 -m caelab train cae
    """
    with ExitStack() as stack:
        first = _is_first(stack, process_timeout)
        use_plugins(plugins)
        config = _asked_config(recipe, config_file, settings, without, dataset, seed, device)
        if print_config:
            click.echo(config.to_yaml(), nl=False) if first else None
            return
        from caelab.runs.run import is_run
        from caelab.storage.folders import refuse_foreign
        from caelab.training import train as train_run
        from caelab.training.tracking import trackers_of

        refuse_foreign(out, is_run, "a folder of runs, or a new one,")
        trackers = trackers_of(track)
        trace = click.echo if trace_hooks else None
        run = train_run(config, out=out, observers=trackers if first else {}, trace=trace, progress=first)
        if not first:
            return
        last = run.metrics[-1] if run.metrics else {}
        click.echo("  ".join(f"{name} {value:.4g}" for name, value in last.items()))
        click.echo(f"run: {run.path}")


def _is_first(stack: ExitStack, timeout: float) -> bool:
    """Whether this process is the one that writes; under torchrun it joins the others until the stack closes."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") in ("", "1"):
        return True
    from caelab.training.processes import joined

    return stack.enter_context(joined(timeout)).rank == 0


def _asked_config(
    recipe: str | None,
    file: Path | None,
    settings: Sequence[str],
    without: Sequence[str],
    dataset: str | None,
    seed: int | None,
    device: str | None,
) -> Any:
    from caelab.runs.config import load_config, names_a_file
    from caelab.runs.recipes import recipe_config
    from caelab.runs.settings import configured

    if recipe is not None and file is None and names_a_file(recipe):
        file, recipe = Path(recipe), None
    if (recipe is None) == (file is None):
        raise CaelabError("give either a recipe, as in: caelab train cae, or a file, as in: caelab train my.yaml")
    top: dict[str, Any] = {} if seed is None else {"seed": seed}
    if dataset is not None:
        top["dataset"] = {"kind": dataset}
    if device is not None:
        settings = [*settings, f"training.device={device}"]
    if recipe is not None:
        return recipe_config(recipe, settings, without=without, **top)
    assert file is not None
    return configured(load_config(file).as_dict(), top, settings, without)
