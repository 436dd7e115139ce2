"""The commands ``caelab plugins`` and ``caelab data``, which list what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caelab.cli.commands.shared import plugin_options, use_plugins
from caelab.errors import CaelabError

if TYPE_CHECKING:
    from caelab.data import Dataset


@click.command()
@click.option("--hooks", is_flag=True, help="List instead which plugin answers which hook, in the order of the calls.")
@plugin_options
def plugins(hooks: bool, plugins: tuple[Path, ...]) -> None:
    """List everything installed: kind, name, options with types, provider, what it is."""
    use_plugins(plugins)
    from caelab.cli.tables import hook_rows, plugin_rows, print_table

    if hooks:
        print_table("hooks", ["hook", "order", "plugin", "asks for", "provider"], hook_rows())
        return
    print_table("plugins", ["kind", "name", "options", "provider", "what it is"], plugin_rows())


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the data sets.")
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw examples, as FILE.png or .pdf.")
@click.option("--lines", type=click.IntRange(1, 50), default=1, show_default=True, help="Of ten examples, for each.")
@plugin_options
def data(
    names: tuple[str, ...], settings: tuple[str, ...], picture: Path | None, lines: int, plugins: tuple[Path, ...]
) -> None:
    """List the data sets: size, shape, and where they come from; or load those named, and draw examples.

    \b
    caelab data mnist-rot --set source=mnist
    caelab data mnist-rot rect convex --picture examples.png
    """
    use_plugins(plugins)
    from caelab.cli.tables import print_table

    if names:
        from caelab.cli.datasets import load_named, row_of

        datasets = load_named(names, settings)
        rows = [row_of(each) for each in datasets]
        if picture is not None:
            draw(datasets, picture, lines)
    else:
        from caelab.data import describe

        refuse_without_names(settings, picture)
        rows = describe()
    print_table("data sets", list(rows[0]), [list(row.values()) for row in rows])
    if picture is not None:
        click.echo(f"picture: {picture}")


def refuse_without_names(settings: tuple[str, ...], picture: Path | None) -> None:
    """Refuse options of data sets where none is named.

    Raises:
        CaelabError: there are some.
    """
    if settings or picture is not None:
        what = "--set" if settings else "--picture"
        raise CaelabError(f"{what} needs the name of a data set, as in: caelab data mnist5k {what} ...")


def draw(datasets: list[Dataset], picture: Path, lines: int) -> None:
    """Write a sheet of examples into a file."""
    from caelab.analysis.example_sheet import example_sheet
    from caelab.analysis.plotting import plain_look, save_picture

    with plain_look():
        save_picture(example_sheet(datasets, lines), picture)
