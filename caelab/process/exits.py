"""Catching code that ends the program: ``sys.exit`` or ``os._exit`` in a plugin ends its run with a sentence.

What no process survives, as a signal of the system or C's ``_exit`` called through a library, is out of reach here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

OWN = "caelab"
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # without a handler they end nothing

running = [""]  # whose code runs just now, for a sentence that no error can carry
_interrupts: list[int] = []  # of the user, as far as they are listened to
_listening: list[bool] = []


class Ended(SystemExit):
    """``os._exit``, or another function that ends the process, was called by code that was to return."""


class EndsTheProgram(Exception):
    """How someone else's code tried to end the program; an ``Exception``, so that it can be the cause of a sentence."""


def how(error: SystemExit) -> str:
    """The call that ended the program, as ``sys.exit(3)``."""
    return (
        str(error.code) if isinstance(error, Ended) else f"sys.exit({'' if error.code is None else repr(error.code)})"
    )


def ends(error: BaseException) -> str:
    """How an error ends the program; an empty text for an ordinary one, and for the user's own interrupt."""
    if isinstance(error, SystemExit):
        return how(error)
    if isinstance(error, Exception) or (isinstance(error, KeyboardInterrupt) and is_the_users()):
        return ""
    return " ".join(f"{type(error).__name__} {error}".split())


def is_the_users() -> bool:
    """Whether a ``KeyboardInterrupt`` may be the user's: a signal came, or nobody listens to signals."""
    return bool(_interrupts) or not _listening


@contextmanager
def listening() -> Iterator[None]:
    """Within the block an interrupt of the user is told from a ``KeyboardInterrupt`` that code raises."""
    handler = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()
    if not ours or handler not in (signal.default_int_handler, signal.SIG_IGN):
        yield
        return
    if handler is not signal.SIG_IGN:  # of a command in the background, to which no user's interrupt comes
        signal.signal(signal.SIGINT, _interrupted)
    _listening.append(True)
    try:
        yield
    finally:
        _listening.pop()
        _interrupts.clear()
        signal.signal(signal.SIGINT, handler)


def _interrupted(number: int, frame: Any) -> NoReturn:
    _interrupts.append(number)
    raise KeyboardInterrupt


@contextmanager
def held_open() -> Iterator[None]:
    """Within the block, what would end this program without a word raises ``Ended``, or is told.

    ``os._exit``, ``os.abort``, ``os.exec...`` and signals to this very process raise. They do what they always do in a
    process that was forked meanwhile, in another thread, and for caelab itself. Where a library calls C's ``exit``, a
    sentence is printed.
    """
    originals = [(module, name, getattr(module, name)) for module, name in CALLS]
    for module, name, original in originals:
        setattr(module, name, _raising(module, name, original, os.getpid(), threading.get_ident()))
    try:
        with _library_exit():
            yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


@contextmanager
def _library_exit() -> Iterator[None]:
    from caelab.process.library_exit import LibraryExit

    if not _watched:
        _watched.append(LibraryExit(_told))
    depth = len(_depth)
    _depth.append(True)
    if not depth:
        _watched[0].watch()
    try:
        yield
    finally:
        _depth.pop()
        if not depth:
            _watched[0].forget()


def _told() -> str:
    whose = running[0] or "code that is not caelab's"
    return f"{whose} ends the whole program with exit of the C library; raise an error instead"


def _raising(module: Any, name: str, original: Callable[..., Any], process: int, thread: int) -> Callable[..., Any]:
    def end(*arguments: Any, **keywords: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        foreign = (os.getpid(), threading.get_ident()) != (process, thread) or caller.partition(".")[0] == OWN
        if foreign or not CALLS[module, name](*arguments, **keywords):
            return original(*arguments, **keywords)
        given = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in keywords.items())]
        raise Ended(f"{module.__name__}.{name}({', '.join(given)})")

    return end


def _always(*arguments: Any, **keywords: Any) -> bool:
    return True


def _is_deadly(number: Any) -> bool:
    """Whether a signal ends this process: it may have a handler, or be one that is only looked at."""
    if not number or number in HARMLESS:
        return False
    try:
        return signal.getsignal(number) is signal.SIG_DFL
    except (ValueError, TypeError):  # no signal: the call itself says so
        return False


def _hits_this_process(process: Any = None, number: Any = None, *_: Any, **keywords: Any) -> bool:
    return process in (os.getpid(), 0) and _is_deadly(number)


def _hits_this_group(group: Any = None, number: Any = None, *_: Any, **keywords: Any) -> bool:
    return group in (os.getpgid(0), 0) and _is_deadly(number)


CALLS: dict[tuple[Any, str], Callable[..., bool]] = {
    (os, "_exit"): _always,
    (os, "abort"): _always,
    (os, "execv"): _always,
    (os, "execve"): _always,
    (os, "kill"): _hits_this_process,
    (os, "killpg"): _hits_this_group,
    (signal, "raise_signal"): lambda number=0, *_, **keywords: _is_deadly(keywords.get("signalnum", number)),
}
_watched: list[Any] = []
_depth: list[bool] = []
