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
    """Add plugin files to the catalogue; a file that is named twice is used once.

    Raises:
        CaelabError: a file that is no plugin, or one that offers nothing.
    """
    from caelab.catalogue import catalogue
    from caelab.errors import CaelabError

    found = tuple(dict.fromkeys(path.resolve() for path in files))
    for path in found:
        catalogue().add_file(path)
        if not any(offer.provider == str(path) for offer in catalogue()):
            raise CaelabError(f"{path} offers nothing to use; add a register_ hook, as register_regularizers(register)")
    return found


def published(folder: Path) -> None:
    """Write tables, figures and report of a comparison, and say where they are."""
    from caelab.publication import publish_comparison

    for line in publish_comparison(folder):
        click.echo(line)
