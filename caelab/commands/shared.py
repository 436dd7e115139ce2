"""What several commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click


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


def published(folder: Path) -> None:
    """Write tables, figures and report of a comparison, and say where they are."""
    from caelab.publication import publish_comparison

    for line in publish_comparison(folder):
        click.echo(line)
