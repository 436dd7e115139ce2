"""The command line. Nothing heavy is imported at the top: help and errors come at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import click

from caelab import __version__
from caelab.errors import CaelabError

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """caelab's own subcommands, and those that plugins offer."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, sorted."""
        from caelab.catalogue import catalogue

        return sorted({*super().list_commands(context), *catalogue().names("command")})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """A subcommand by its name."""
        own = super().get_command(context, name)
        if own is not None:
            return own
        from caelab.catalogue import catalogue

        if name in catalogue().names("command"):
            command: click.Command = catalogue().get("command", name)
            return command
        return None

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest name where there is none."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(context), n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise CaelabError(f"unknown command {args[0]!r}{hint} See: caelab --help")
        return super().resolve_command(context, args)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a user's mistake ends in one sentence and status 2, never in a traceback."""
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    if debug:
        args.remove("--debug")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        status = cli.main(args, prog_name="caelab", standalone_mode=False)
    except (CaelabError, click.ClickException) as error:
        if debug:
            raise
        sys.exit(_tell(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; the same command goes on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"error: this is a mistake in caelab: {type(error).__name__}: {error}; --debug shows where",
            err=True,
        )
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _tell(error: Exception) -> int:
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo(f"error: {message}", err=True)
    return 2


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(__version__, prog_name="caelab")
def cli() -> None:
    """A laboratory for regularized auto-encoders.

    Train, mix, measure and draw. Start with: caelab compare. Every command takes --help; --debug shows tracebacks.
    """


def plugin_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option that adds plugin files to any command."""
    option = click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Use a plugin file that is not installed.",
    )
    return option(function)


def use_plugins(files: Sequence[Path]) -> tuple[Path, ...]:
    """Add plugin files to the catalogue."""
    from caelab.catalogue import catalogue

    for path in files:
        catalogue().add_file(path.resolve())
    return tuple(path.resolve() for path in files)


@cli.command()
@click.argument("recipe", required=False)
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
    plugins: tuple[Path, ...],
) -> None:
    """Train one run: a RECIPE, or a config file.

    \b
    caelab train cae --set contractive.weight=0.3 --set training.epochs=10
    caelab train cae --print-config > my.yaml; caelab train --config my.yaml
    """
    use_plugins(plugins)
    config = _asked_config(recipe, config_file, settings, without, dataset, seed, device)
    if print_config:
        click.echo(config.to_yaml(), nl=False)
        return
    from caelab.terminal import EpochProgress
    from caelab.training import train as train_run

    with EpochProgress(config) as progress:
        run = train_run(config, out=out, observers={"progress": progress})
    last = run.history[-1] if run.history else {}
    click.echo("  ".join(f"{name} {value:.4g}" for name, value in last.items()))
    click.echo(f"run: {run.path}")


def _asked_config(
    recipe: str | None,
    file: Path | None,
    settings: Sequence[str],
    without: Sequence[str],
    dataset: str | None,
    seed: int | None,
    device: str | None,
) -> Any:
    from caelab.config import configured, load_config
    from caelab.recipes import recipe_config

    if (recipe is None) == (file is None):
        raise CaelabError(
            "give either a recipe, as in: caelab train cae, or a file, as in: caelab train --config my.yaml"
        )
    top: dict[str, Any] = {} if seed is None else {"seed": seed}
    if dataset:
        top["dataset"] = {"kind": dataset}
    if device:
        settings = [*settings, f"training.device={device}"]
    if recipe is not None:
        return recipe_config(recipe, settings, without=without, **top)
    assert file is not None
    return configured(load_config(file).as_dict(), top, settings, without)


@cli.command()
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
    _publish(out)


def _words() -> str:
    return " ".join(["caelab", *sys.argv[1:]])


def _publish(folder: Path) -> None:
    from caelab.publication import publish_comparison

    for line in publish_comparison(folder):
        click.echo(line)


@cli.command()
@click.argument("analyses", nargs=-1, required=True, metavar="ANALYSIS...")
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A run's folder; may be repeated.")
@click.option("--encoder", help="package:attribute or file.py:attribute, an encoder of your own.")
@click.option("--data", help="The data for --encoder, as npz:x.npz (see caelab data).")
@click.option("--set", "settings", multiple=True, metavar="ANALYSIS.OPTION=VALUE", help="An option of an analysis.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("analysis"), show_default=True)
@plugin_options
def analyse(
    analyses: tuple[str, ...],
    runs: tuple[Path, ...],
    encoder: str | None,
    data: str | None,
    settings: tuple[str, ...],
    out: Path,
    plugins: tuple[Path, ...],
) -> None:
    """Measure trained runs, or any encoder, and draw what was found.

    \b
    caelab analyse jacobian_spectrum tangents --run runs/cae-0123456789ab
    caelab analyse jacobian_spectrum --encoder mypackage:encoder --data npz:x.npz
    """
    use_plugins(plugins)
    if bool(runs) == bool(encoder) or bool(encoder) != bool(data):
        raise CaelabError("give either --run FOLDER (once or more), or --encoder package:attribute with --data NAME")
    from caelab.encoders import encoder_run
    from caelab.runs import load_run
    from caelab.single import analyse_runs

    found = [encoder_run(encoder, data)] if encoder and data else [load_run(path) for path in runs]
    for line in analyse_runs(found, analyses, settings, out):
        click.echo(line)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_options
def figures(folder: Path, plugins: tuple[Path, ...]) -> None:
    """Redraw the figures of a comparison in FOLDER from its tables alone."""
    use_plugins(plugins)
    from caelab.comparison import draw_figures, load_comparison

    drawn, problems = draw_figures(load_comparison(folder), folder)
    for problem in problems:
        click.echo(f"warning: {problem.analysis} {problem.message}", err=True)
    click.echo(f"{len(drawn)} figures: {folder / 'figures'}")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_options
def report(folder: Path, plugins: tuple[Path, ...]) -> None:
    """Write tables, figures and report of a comparison in FOLDER again, from what is stored."""
    use_plugins(plugins)
    _publish(folder)


@cli.command()
@plugin_options
def plugins(plugins: tuple[Path, ...]) -> None:
    """List everything installed: kind, name, options with types, provider, what it is."""
    use_plugins(plugins)
    from caelab.listing import plugin_rows, print_table

    print_table("plugins", ["kind", "name", "options", "provider", "what it is"], plugin_rows())


@cli.command()
def data() -> None:
    """List the data sets: size, shape, and where they come from."""
    from caelab.data import describe
    from caelab.listing import print_table

    rows = describe()
    print_table("data sets", list(rows[0]), [list(row.values()) for row in rows])
