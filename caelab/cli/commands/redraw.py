"""The commands ``caelab figures`` and ``caelab report``, which draw a stored comparison again."""

from __future__ import annotations

from pathlib import Path

import click

from caelab.cli.commands.shared import plugin_options, published, use_plugins


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--style", default=None, metavar="NAME", help="paper, icml, neurips, jmlr or slides. [default: paper]")
@click.option("--width", default=None, metavar="WIDTH", help="Of every figure, as 3.25in, 8.2cm, 82mm or 240pt.")
@click.option("--format", "kinds", multiple=True, metavar="KIND,...", help="svg, pdf, png. [default: pdf,png]")
@click.option("--only", default=None, metavar="NAME,NAME,...", help="Only the figures of these analyses.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="A folder. [default: FOLDER/own-figures]")
@plugin_options
def figures(
    folder: Path,
    style: str | None,
    width: str | None,
    kinds: tuple[str, ...],
    only: str | None,
    out: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Redraw the figures of a comparison in FOLDER from its tables alone.

    With any option the figures are your own: they go into a folder of their own, and those of the report stay.

    \b
    caelab figures compare
    caelab figures compare --style icml --width 3.25in --format svg
    """
    use_plugins(plugins)
    if any(option is not None for option in (style, width, only, out)) or kinds:
        _own(folder, style or "paper", width, kinds or ("pdf,png",), only, out)
        return
    from caelab.report.store import load_comparison, redraw_figures, refuse_undrawn

    drawn, problems = redraw_figures(folder)
    for problem in problems:
        click.echo(f"warning: {problem.message}; its earlier figure stays", err=True)
    click.echo(f"{len(drawn)} figures: {folder / 'figures'}")
    refuse_undrawn(load_comparison(folder), drawn)


def _own(
    folder: Path, style: str, width: str | None, kinds: tuple[str, ...], only: str | None, out: Path | None
) -> None:
    """Draw figures in a style, of a width, as files of some kinds."""
    from caelab.analysis.styles import VENUES
    from caelab.errors import CaelabError, unknown_name
    from caelab.report.own_figures import FOLDER, inches_of, kinds_of, write_own_figures

    if style not in VENUES:
        raise unknown_name("style", style, VENUES)
    inches, wanted = None if width is None else inches_of(width), kinds_of(kinds)
    place = folder / FOLDER if out is None else out
    files, problems = write_own_figures(folder, place, name=style, width=inches, kinds=wanted, only=only)
    for problem in problems:
        click.echo(f"warning: {problem.message}", err=True)
    if problems and not files:
        raise CaelabError("none of the figures could be drawn; the lines above say why")
    click.echo(f"{len(files)} figure{'s' * (len(files) != 1)} as {', '.join(wanted)}: {place}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_options
def report(folder: Path, plugins: tuple[Path, ...]) -> None:
    """Write tables, figures and report of a comparison in FOLDER again, from what is stored."""
    use_plugins(plugins)
    published(folder)
