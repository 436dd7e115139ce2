"""Progress of analyses over their examples, and tables for the terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from caelab import progress
from caelab.progress import Steps, in_words

__all__ = ["ExampleProgress", "Steps", "in_words", "table_of"]

FIRST_TOLD, BETWEEN = 1.0, 10.0  # seconds, of lines without a terminal


class ExampleProgress:
    """Progress of analyses over their examples: a bar, or now and then a line, with the time that is left.

    A walk that is over within a second is not shown where there is no terminal.
    """

    def __init__(self) -> None:
        self.bar = progress.terminal_bar()
        self.alone = ExitStack()  # nothing else is shown meanwhile
        self.task: TaskID | None = None
        self.began = self.told = 0.0

    def __enter__(self) -> Self:
        self.alone.enter_context(progress.hidden())
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.alone.close()

    def show(self, title: str, done: int, total: int) -> None:
        """Show how many examples of a walk are done; none at its start."""
        if done == 0 or self.task is None:
            self._start(title, total)
        if self.task is not None:
            self.bar.update(self.task, completed=done)
        if done and not progress.console.is_terminal:
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
        progress.console.print(
            f"[{done}/{total}] {title}, about {in_words(left)} left", markup=False, emoji=False, soft_wrap=True
        )


def table_of(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """A table for the terminal; what looks like markup in a name is shown as it stands."""
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
