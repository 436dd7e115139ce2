"""Progress display: rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from caelab.hookspecs import hookimpl
from caelab.runs.config import RunConfig
from caelab.runs.layers import is_stack, layer_configs

console = Console(stderr=True, highlight=False)

FIRST_TOLD, BETWEEN = 1.0, 10.0  # seconds, of lines without a terminal


def _progress_bar() -> Progress:
    """A bar with counts and times; nothing is drawn where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class Steps:
    """Progress over a known number of steps, each with a line of its own where there is no terminal."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.count = 0
        self.bar = _progress_bar()
        self.task = self.bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, what: str, count: int | None = None) -> None:
        """Count one step, or several, as done."""
        self.count = self.count + 1 if count is None else count
        self.bar.update(self.task, completed=self.count, description=f"{self.title}: {what}")
        if not console.is_terminal:
            console.print(f"[{self.count}/{self.total}] {what}", markup=False, emoji=False, soft_wrap=True)


class ExampleProgress:
    """Progress of analyses over their examples: a bar, or now and then a line, with the time that is left.

    A walk that is over within a second is not shown where there is no terminal.
    """

    def __init__(self) -> None:
        self.bar = _progress_bar()
        self.task: TaskID | None = None
        self.began = self.told = 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def show(self, title: str, done: int, total: int) -> None:
        """Show how many examples of a walk are done; none at its start."""
        if done == 0 or self.task is None:
            self._start(title, total)
        if self.task is not None:
            self.bar.update(self.task, completed=done)
        if done and not console.is_terminal:
            self._tell(title, done, total)

    def _start(self, title: str, total: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(title, total=total)
        self.began = time.monotonic()
        self.told = self.began + FIRST_TOLD - BETWEEN

    def _tell(self, title: str, done: int, total: int) -> None:
        """A line, at most every few seconds: the first says how long it will take."""
        now = time.monotonic()
        if now - self.told < BETWEEN:
            return
        self.told = now
        left = (now - self.began) / done * (total - done)
        console.print(
            f"[{done}/{total}] {title}, about {in_words(left)} left", markup=False, emoji=False, soft_wrap=True
        )


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(4.2), in_words(200), in_words(9000)
    ('4 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class EpochProgress:
    """A training plugin that shows the epochs of one run; it reads metrics and changes nothing.

    The epochs of the layers of a greedy stack are counted on from layer to layer.
    """

    def __init__(self, config: RunConfig) -> None:
        layers = [each.training.epochs for each in layer_configs(config)] if is_stack(config) else []
        alone = 0 if config.pretraining == "none" else config.training.epochs
        self.steps = Steps(config.label, sum(layers) or alone)
        self.before = self.steps.count

    def __enter__(self) -> Self:
        self.steps.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.steps.__exit__(kind, error, trace)

    @hookimpl
    def before_training(self) -> None:
        """Count on from the layer below, where there is one."""
        self.before = self.steps.count

    @hookimpl
    def after_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Show one epoch, as a line or as a step of the bar."""
        self.steps.step(
            f"epoch {epoch}, validation reconstruction {metrics['valid_reconstruction']:.4g}", self.before + epoch
        )


def table_of(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """A table for the terminal; what looks like markup in a name is shown as it stands."""
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
