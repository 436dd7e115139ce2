"""The command ``caelab check``, which tells whether a plugin is what it says."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import click

from caelab.cli.commands.shared import plugin_options, use_plugins


@click.command()
@click.argument("target", metavar="NAME|FILE.py|FILE.py:FUNCTION")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the plugin.")
@click.option("--claims", metavar="TEXT", help="The known quantity that a penalty is to be, as 'weight decay'.")
@click.option("--activations", metavar="NAME,...", default="", help="Those that a penalty is for, as sigmoid.")
@plugin_options
def check(
    target: str, settings: tuple[str, ...], claims: str | None, activations: str, plugins: tuple[Path, ...]
) -> int:
    """Check a regularizer, an analysis or a claim: an installed one, those of a file, or a penalty of any script.

    \b
    caelab check contractive
    caelab check my_regularizer.py --set weight=0.5
    caelab check old_script.py:penalty --activations sigmoid --claims "squared norm of the encoder's Jacobian"

    Exits with status 1 if a check fails.
    """
    use_plugins(plugins)
    from caelab.cli.tables import print_table
    from caelab.testing.outcome import COLUMNS
    from caelab.testing.side_effects import first_line, hushed

    names = tuple(filter(None, (name.strip() for name in activations.split(","))))
    with hushed(StringIO()) as said:
        reports = _reports_on(target, settings, claims, names)
    if printed := first_line(said):
        click.echo(f"{target} prints where it is imported, {printed}", err=True)
    for report in reports:
        print_table(report.subject, COLUMNS, report.rows())
        click.echo(report.summary())
    return 0 if all(report.passed for report in reports) else 1


def _reports_on(target: str, settings: Sequence[str], claims: str | None, activations: Sequence[str]) -> list[Any]:
    """The reports on everything that a name or a file stands for."""
    from caelab.registry.importing import allow_code_in
    from caelab.runs.settings import parse_setting

    options = dict(map(parse_setting, settings))
    allow_code_in(options)
    if target.rpartition(":")[0].endswith(".py"):
        from caelab.registry.importing import allow_code, load_named
        from caelab.testing import check_penalty

        allow_code(target)
        function = load_named(target, "function")
        return [check_penalty(function, claims, activations=activations, options=options, raises=False)]
    from caelab.testing.scripts import checked_offer, offers_of

    return [checked_offer(offer, options, claims, activations) for offer in offers_of(target)]
