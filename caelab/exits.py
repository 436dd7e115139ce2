"""Code that ends the program: a plugin that calls ``sys.exit`` or ``os._exit`` ends its run with a sentence instead."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

OWN = "caelab"


class Ended(SystemExit):
    """``os._exit`` or ``os.abort`` was called by code that was to return."""


class EndsTheProgram(Exception):
    """How someone else's code tried to end the program; an ``Exception``, so that it can be the cause of a sentence."""


def how(error: SystemExit) -> str:
    """What was called, as ``sys.exit(3)``."""
    return (
        str(error.code) if isinstance(error, Ended) else f"sys.exit({'' if error.code is None else repr(error.code)})"
    )


@contextmanager
def held_open() -> Iterator[None]:
    """Within the block, ``os._exit`` and ``os.abort`` raise ``Ended`` where they would end this program without a word.

    They do what they always do in a process that was forked meanwhile, in another thread, and for caelab itself.
    """
    names = ["_exit", "abort"]
    originals = {name: getattr(os, name) for name in names}
    for name, original in originals.items():
        setattr(os, name, _raising(name, original, os.getpid(), threading.get_ident()))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def _raising(name: str, original: Callable[..., Any], process: int, thread: int) -> Callable[..., NoReturn]:
    def end(*arguments: Any, **keywords: Any) -> NoReturn:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        foreign = (os.getpid(), threading.get_ident()) != (process, thread) or caller.partition(".")[0] == OWN
        if foreign:
            original(*arguments, **keywords)
        given = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in keywords.items())]
        raise Ended(f"os.{name}({', '.join(given)})")

    return end
