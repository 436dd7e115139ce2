"""The commands ``caelab figures`` and ``caelab report``, which draw a stored comparison again."""

from __future__ import annotations

from pathlib import Path

import click

from caelab.cli.commands.shared import plugin_options, published, use_plugins


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_options
def figures(folder: Path, plugins: tuple[Path, ...]) -> None:
    """Redraw the figures of a comparison in FOLDER from its tables alone."""
    use_plugins(plugins)
    from caelab.report.store import load_comparison, redraw_figures, refuse_undrawn

    drawn, problems = redraw_figures(folder)
    for problem in problems:
        click.echo(f"warning: {problem.message}; its earlier figure stays", err=True)
    click.echo(f"{len(drawn)} figures: {folder / 'figures'}")
    refuse_undrawn(load_comparison(folder), drawn)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_options
def report(folder: Path, plugins: tuple[Path, ...]) -> None:
    """Write tables, figures and report of a comparison in FOLDER again, from what is stored."""
    use_plugins(plugins)
    published(folder)
