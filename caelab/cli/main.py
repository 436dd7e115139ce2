"""The entry point of the command line; it imports nothing heavy at its top, so that help and errors come at once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from caelab.cli.commands import COMMANDS
from caelab.cli.signs import print_whatever_comes
from caelab.errors import CaelabError, ToldElsewhere, reason
from caelab.process.exits import is_the_users, listening
from caelab.version import __version__

COMPLETE = "_CAELAB_COMPLETE"  # set by a shell that asks how a command line goes on
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _loaded(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


class Commands(click.Group):
    """caelab's own subcommands, and those that plugins offer."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        from caelab.registry.catalogue import catalogue

        return sorted({*COMMANDS, *catalogue().names("command")})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """A subcommand by its name."""
        found = self._found(name)
        if found is None or not context.resilient_parsing:
            return found
        from caelab.cli.completion.names import completing

        return completing(found)

    def _found(self, name: str) -> click.Command | None:
        if name in COMMANDS:
            return _loaded(COMMANDS[name])
        from caelab.registry.catalogue import catalogue

        return catalogue().get("command", name) if name in catalogue().names("command") else None

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Find a command as click does; for an unknown one the error names the nearest."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(context), n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise CaelabError(f"unknown command {args[0]!r}{hint} See: caelab --help")
        return super().resolve_command(context, args)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a user's mistake ends in one sentence and status 2, never in a traceback."""
    if asked := os.environ.get(COMPLETE):
        from caelab.cli.completion.shells import answer

        sys.exit(answer(cli, asked))
    print_whatever_comes()
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    if debug:
        args.remove("--debug")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("caelab").setLevel(
        logging.DEBUG if debug else logging.NOTSET
    )  # of other libraries, only warnings
    with listening():
        sys.exit(_status(args, debug))


def _status(args: list[str], debug: bool) -> int:
    try:
        status = cli.main(args, prog_name="caelab", standalone_mode=False)
    except (CaelabError, click.ClickException) as error:
        if debug:
            raise
        return _tell(error)
    except (KeyboardInterrupt, click.Abort) as error:  # click makes the second of the first
        if isinstance(error.__cause__ or error, KeyboardInterrupt) and not is_the_users():
            return _tell(CaelabError("code that is not caelab's raises KeyboardInterrupt; let it raise another error"))
        click.echo("interrupted; the same command goes on from here", err=True)
        return 130
    except BrokenPipeError:
        return 141
    except SystemExit:
        raise
    except BaseException as error:
        if debug:
            raise
        return _tell(_unforeseen(error))
    return status if isinstance(status, int) else 0


def _tell(error: Exception) -> int:
    if isinstance(error, ToldElsewhere):
        return 2
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo(f"error: {_shown_as_it_stands(message)}", err=True)
    return 2


def _shown_as_it_stands(text: str) -> str:
    """A text in which what would steer a terminal is written out.

    >>> print(_shown_as_it_stands("no data set \x1b[2J"))
    no data set \\x1b[2J
    """
    return "".join(c if (c >= " " and not "\x7f" <= c < "\xa0") or c in "\n\t" else repr(c)[1:-1] for c in text)


def _unforeseen(error: BaseException) -> CaelabError:
    from caelab.storage.files import storage_error

    if isinstance(error, OSError) and error.errno is not None:
        return storage_error(error)
    if reason(error).startswith("not enough memory"):
        return CaelabError(
            f"{reason(error)}; take fewer examples, smaller batches, a smaller model, or fewer --workers"
        )
    return CaelabError(f"this is a mistake in caelab: {type(error).__name__}: {error}; --debug shows where")


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(__version__, prog_name="caelab")
def cli() -> None:
    """A laboratory for regularized auto-encoders.

    Train, mix, measure and draw. Start with: caelab compare. Every command takes --help; --debug shows tracebacks.
    """
