"""Side effects of a plugin that is checked: what it changes for the whole process is recorded and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial, wraps
from io import StringIO, TextIOBase
from typing import Any
from unittest.mock import patch

from torch import Tensor

from caelab.process.exits import held_open
from caelab.process.settings import ALL, CHEAP, GENERATORS, Found
from caelab.testing.outcome import Check

AT_ONCE = CHEAP  # what would spoil the next call
LATER = [setting for setting in ALL if setting not in (*CHEAP, *GENERATORS)]


class SideEffectRecorder:
    """Records the side effects of calls, in place of a run's own watch; it refuses nothing, so no fault hides another.

    Attributes:
        changed: each setting that was changed, with the hook that first changed it.
    """

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}

    def call(
        self, plugin: str, hook: str, names: Sequence[str], function: Callable[..., Any], given: Sequence[Any]
    ) -> Any:
        """Call a plugin and return its answer; settings are put back whatever happens."""
        found = Found(AT_ONCE, torch_state=False)
        try:
            return function(*given)
        finally:
            self.note(found, hook)

    def note(self, found: Found, where: str) -> None:
        """Record what is different now, and put it back."""
        changes = found.changes()
        found.put_back(changes)
        for change in changes:
            self.changed.setdefault(str(change), where)

    def check_term(self, plugin: str, name: str, term: Tensor) -> str:
        """Refuse nothing: a term without a gradient has a row of its own."""
        return ""

    @contextmanager
    def throughout(self, where: str) -> Iterator[None]:
        """Record changes of the settings that take longer to read, once around many calls."""
        found = Found(LATER, torch_state=False)
        try:
            yield
        finally:
            self.note(found, where)


class Unanswered(TextIOBase):
    """A standard input that nobody types into: reading from it is an error."""

    def readline(self, *_: Any) -> str:  # type: ignore[override]
        """Raise an error, so that nobody waits for input."""
        raise EOFError("it asks for input, and nobody answers it here; let it take what it needs as an option")

    read = readline

    def fileno(self) -> int:
        """Raise an error, so that ``input`` reads from this object."""
        raise OSError("no file")


@contextmanager
def hushed(said: StringIO) -> Iterator[StringIO]:
    """Keep what is printed within the block, refuse input, and let nothing end the program."""
    with redirect_stdout(said), patch("sys.stdin", Unanswered()), held_open():
        yield said


def first_line(said: StringIO) -> str:
    """How much was printed, with the first line of it; the empty text if nothing was."""
    lines = [line for line in said.getvalue().splitlines() if line.strip()]
    return f"{len(lines)} line{'s' * (len(lines) > 1)}, the first: {lines[0][:80]!r}" if lines else ""


def noticed(recorder: SideEffectRecorder, said: StringIO) -> Iterator[Check]:
    """The rows on what was changed for the whole process, and on what was printed, if anything was."""
    changed = ", ".join(f"{what} in {where}" for what, where in recorder.changed.items())
    if changed:
        remedy = "others in the same process see it too: set it before caelab starts, or put it back at once"
        yield Check("settings of the process", "failed", "unchanged", f"changed: {changed}", remedy)
    if printed := first_line(said):
        yield Check("prints", "reported", "nothing, in every call", printed, "return numbers, as a metric or a table")


class Recorded:
    """An analysis whose calls are recorded."""

    def __init__(self, analysis: Any, recorder: SideEffectRecorder) -> None:
        self._analysis, self._recorder = analysis, recorder

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._analysis, name)
        if not callable(found) or isinstance(found, type):
            return found

        @wraps(found)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            call = partial(found, **kwargs)
            return self._recorder.call("", name, [], call, args)

        return recorded
