"""The commands ``caelab plugins`` and ``caelab data``, which list what is installed."""

from __future__ import annotations

from pathlib import Path

import click

from caelab.cli.commands.shared import plugin_options, use_plugins


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
@plugin_options
def data(plugins: tuple[Path, ...]) -> None:
    """List the data sets: size, shape, and where they come from."""
    use_plugins(plugins)
    from caelab.cli.tables import print_table
    from caelab.data import describe

    rows = describe()
    print_table("data sets", list(rows[0]), [list(row.values()) for row in rows])
