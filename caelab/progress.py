"""Progress display: an output of the cell in a notebook, rich's bar on a terminal, plain lines or nothing elsewhere.

In a notebook the display is HTML of one's own, which is replaced as the work goes on: rich and tqdm would need
ipywidgets for that, and leave an empty box in a notebook that is opened without its kernel.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from multiprocessing import parent_process
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from caelab.errors import CaelabError, shown

console = Console(stderr=True, highlight=False, force_jupyter=False)

EVERY = 0.1  # seconds between two pictures of a notebook's bar, so that no frontend is flooded

_screen = threading.Lock()  # held by the outermost display: what is shown within it would break its picture


@contextmanager
def display(title: str, total: int, progress: bool | None = None) -> Iterator[Callable[[object], None]]:
    """Show progress over a number of steps, within a ``with`` block; within another display nothing is shown.

    Args:
        title: what is done.
        total: how many steps there are.
        progress: ``None`` shows a bar in a notebook or on a terminal, and nothing in a log, a pipe or under CI;
            ``True`` shows one anyway, as a plain line per step on stderr where there is no terminal; ``False`` none.

    Yields:
        A function that counts one step as done; what it is called with is shown as text.

    Raises:
        CaelabError: ``progress`` is none of the three.
    """
    with Steps(title, total, progress) as steps:
        steps.begin()
        yield lambda told: steps.step(str(told))


@contextmanager
def hidden() -> Iterator[None]:
    """Nothing is shown within this block."""
    with Steps("", 0, False):
        yield


class Steps:
    """Progress over a known number of steps; what is shown begins with ``begin`` or with the first step.

    Args:
        title: what is done.
        total: how many steps there are.
        progress: as that of ``display``.

    Raises:
        CaelabError: ``progress`` is neither ``True`` nor ``False`` nor ``None``.
    """

    def __init__(self, title: str, total: int, progress: bool | None = True) -> None:
        self.title, self.total, self.count = title, total, 0
        self.progress = checked(progress)
        self.picture: Picture = Nothing()
        self.holds = self.begun = False

    def __enter__(self) -> Self:
        self.holds = _screen.acquire(blocking=False)
        if self.holds:
            self.picture = _picture(self.title, self.total, self.progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.begun:
            self.picture.end(self.count, whole=error is None)
        if self.holds:
            _screen.release()
        self.holds = self.begun = False

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees the steps."""
        return not isinstance(self.picture, Nothing)

    def begin(self) -> None:
        """Show that no step is done yet, unless something is shown already."""
        if not self.begun:
            self.begun = True
            self.picture.begin()

    def step(self, what: str, count: int | None = None) -> None:
        """Count one step as done, or several, so that ``count`` are done in all."""
        self.begin()
        self.count = self.count + 1 if count is None else count
        self.picture.step(self.count, what)


def checked(progress: Any, more: str = "") -> bool | None:
    """The argument ``progress`` of the Python interface, if it is one.

    Args:
        progress: the argument.
        more: what else it may be, for the sentence.

    Raises:
        CaelabError: it is neither ``True`` nor ``False`` nor ``None``.
    """
    if progress is None or isinstance(progress, bool):
        return progress
    raise CaelabError(
        f"expected progress as True (shown), False (hidden){more} or None (shown in a notebook and on a terminal), "
        f"but {shown(progress)} came"
    )


class Picture(Protocol):
    """Where steps are shown."""

    def begin(self) -> None:
        """Show that no step is done yet."""

    def step(self, count: int, what: str) -> None:
        """Show how many steps are done, and what the last one was."""

    def end(self, count: int, whole: bool) -> None:
        """Leave the last picture; ``whole`` says whether the work came to its end."""


def _picture(title: str, total: int, progress: bool | None) -> Picture:
    if progress is False or (progress is None and parent_process() is not None):
        return Nothing()
    if in_notebook():
        return Cell(title, total)
    if progress is None and not on_screen():
        return Nothing()
    return Bar(title, total) if console.is_terminal else Lines(total)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: of Jupyter, of an editor or of a service."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def on_screen() -> bool:
    """Whether somebody watches stderr: it is a terminal that can move its cursor, and no job of a CI service."""
    watched = console.is_terminal and not console.is_dumb_terminal
    is_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return watched and not is_ci and bool(getattr(sys.stderr, "isatty", bool)())


class Nothing:
    """No display."""

    def begin(self) -> None:
        """Show nothing."""

    def step(self, count: int, what: str) -> None:
        """Show nothing."""

    def end(self, count: int, whole: bool) -> None:
        """Leave nothing."""


class Lines:
    """A line on stderr per step.

    Args:
        total: how many steps there are.
    """

    def __init__(self, total: int) -> None:
        self.total = total

    def begin(self) -> None:
        """Write nothing."""

    def step(self, count: int, what: str) -> None:
        """Write the line of a step."""
        console.print(f"[{count}/{self.total}] {what}", markup=False, emoji=False, soft_wrap=True)

    def end(self, count: int, whole: bool) -> None:
        """Write nothing; the lines stay."""


def terminal_bar() -> Progress:
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


class Bar:
    """A bar on the terminal, which stays when the work is done.

    Args:
        title: what is done.
        total: how many steps there are.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.bar = title, terminal_bar()
        self.task = self.bar.add_task(title, total=total)

    def begin(self) -> None:
        """Draw the empty bar."""
        self.bar.start()

    def step(self, count: int, what: str) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=count, description=f"{self.title}: {what}")

    def end(self, count: int, whole: bool) -> None:
        """Draw the bar for the last time."""
        self.bar.stop()


class Cell:
    """A bar among the outputs of a notebook's cell, of which one line stays when the work is done.

    Args:
        title: what is done.
        total: how many steps there are.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.what = title, total, ""
        self.name = uuid4().hex
        self.began = self.told = time.monotonic()

    def begin(self) -> None:
        """Add the output to the cell."""
        self.began = time.monotonic()
        self._show(f"{self.title}: {self.total} steps", 0, update=False)

    def step(self, count: int, what: str) -> None:
        """Replace the output, at most ten times a second."""
        self.what, now = what, time.monotonic()
        if now - self.told >= EVERY:
            self.told = now
            self._show(f"{self.title}: {count} of {self.total}{self._left(count)}; {what}", count)

    def end(self, count: int, whole: bool) -> None:
        """Replace the output by one line without a bar."""
        spent = time.monotonic() - self.began
        stopped, time_spent = "" if whole else "stopped at ", f"{spent:.1f} s" if spent < 10 else in_words(spent)
        line = f"{self.title}: {stopped}{count} of {self.total} in {time_spent}"
        self._show("; ".join(filter(None, [line, self.what])), None)

    def _left(self, count: int) -> str:
        seconds = (time.monotonic() - self.began) / max(count, 1) * (self.total - count)
        return f", about {in_words(seconds)} left" if 0 < count < self.total else ""

    def _show(self, text: str, count: int | None, update: bool = True) -> None:
        """Send the picture; what goes wrong on its way to the browser is no reason to end the work."""
        bar = "" if count is None else f'<progress max="{max(self.total, 1)}" value="{count}"></progress> '
        pictures = {"text/plain": text, "text/html": f"<div>{bar}<small>{escape(text)}</small></div>"}
        try:
            cell = import_module("IPython.display")
            (cell.update_display if update else cell.display)(pictures, display_id=self.name, raw=True)
        except Exception:  # of any kind, from a closed socket to a hook of another library
            return


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(4.2), in_words(200), in_words(9000)
    ('4 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
