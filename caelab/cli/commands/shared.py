"""Options and steps that several commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from caelab.report.store import Comparison


class RenamedOptions(click.Command):
    """A command that takes the earlier names of its options too, with a note on stderr.

    Args:
        renamed: ``{earlier name: name}``.
    """

    def __init__(self, *args: Any, renamed: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.renamed = renamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the command line, each earlier name as the name of today."""
        return super().parse_args(ctx, [self._current(word) for word in args])

    def _current(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self.renamed:
            return word
        click.echo(f"note: {name} is now {self.renamed[name]}", err=True)
        return f"{self.renamed[name]}{equals}{value}"


def plugin_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of any command that say which code of others it may run."""
    files = click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Use a plugin file that is not installed.",
    )
    code = click.option(
        "--allow-code",
        multiple=True,
        metavar="MODULE:NAME",
        help="Import this code where a config or a run names it, as mypackage:Net.",
        expose_value=False,
        callback=_allow_code,
    )
    return files(code(function))


def track_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option of any command that trains which says where runs are tracked, as ``track``."""
    return click.option(
        "--track",
        multiple=True,
        metavar="NAME:TARGET",
        help="Write the metrics of every epoch there too, as tensorboard:logs or mlflow:sqlite:///mlruns.db.",
        callback=_settled,
    )(function)


def _settled(context: click.Context, option: click.Parameter, asked: Sequence[str]) -> tuple[str, ...]:
    if not asked or context.resilient_parsing:
        return ()  # without importing what trains
    from caelab.training.tracking import settled

    return tuple(map(settled, asked))


def executor_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of any command that carries out many runs; ``chosen_executor`` reads them."""
    for option in (
        click.option(
            "--executor-option",
            "executor_settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the executor.",
        ),
        click.option("--address", default=None, help="A cluster's scheduler, as tcp://10.0.0.1:8786."),
        click.option("--executor", default="processes", show_default=True, help="Where the runs are computed."),
        click.option("--workers", type=click.IntRange(min=1), default=None, help="Runs at once. [default: the cores]"),
    ):
        function = option(function)
    return function


def chosen_executor(
    executor: str, workers: int | None, address: str | None, executor_settings: Sequence[str]
) -> dict[str, Any]:
    """What the options of ``executor_options`` ask for: ``{"executor": name, "workers": count, "options": {...}}``.

    Raises:
        CaelabError: there is no such executor, or it has no such option, or not of that value.
    """
    from caelab.runs.settings import parse_setting
    from caelab.study.executors import made_executor, usable_cores

    options = dict(map(parse_setting, executor_settings))
    options |= {} if address is None else {"address": address}
    made_executor(executor, options)
    return {"executor": executor, "workers": workers or usable_cores(), "options": options}


def _allow_code(context: click.Context, option: click.Parameter, targets: Sequence[str]) -> None:
    if context.resilient_parsing:
        return  # a shell asks how the line goes on
    from caelab.registry.importing import allow_code

    allow_code(*targets)


def use_plugins(files: Sequence[Path]) -> tuple[Path, ...]:
    """Add plugin files to the catalogue; a file that is named twice is used once.

    Raises:
        CaelabError: a file that is no plugin, or one that offers nothing.
    """
    from caelab.errors import CaelabError
    from caelab.process.limits import refuse_little_memory
    from caelab.registry.catalogue import catalogue

    refuse_little_memory()
    found = tuple(dict.fromkeys(path.resolve() for path in files))
    for path in found:
        catalogue().add_file(path)
        if not any(offer.provider == str(path) for offer in catalogue()):
            raise CaelabError(f"{path} offers nothing to use; add a register_ hook, as register_regularizers(register)")
    return found


@contextmanager
def with_progress(title: str, count: int) -> Iterator[Callable[[object], None]]:
    """Show progress over so many runs; each is told of as it comes."""
    from caelab.cli.progress import Steps

    with Steps(title, count) as steps:
        yield lambda told: steps.step(str(told))


def published(folder: Path, comparison: Comparison | None = None) -> None:
    """Write tables, figures and report of a comparison, a new one or that of the folder, and say where they are."""
    from caelab.report.publish import publish_comparison

    for line in publish_comparison(folder, comparison):
        click.echo(line)
