"""A message for libraries that call C's ``exit``, which ends the program without Python's knowledge."""

from __future__ import annotations

import atexit
import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import Any

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_end = os._exit


class LibraryExit:
    """While it is watched for, C's ``exit`` calls back; it must not any more once Python itself has ended."""

    def __init__(self, sentence: Callable[[], str]) -> None:
        self.sentence = sentence
        self.process = 0
        self.key = ctypes.create_string_buffer(1)  # its address tells this callback from those of others
        self.callback = _CALLBACK(self._called)
        atexit.register(self.forget)

    def watch(self) -> None:
        """Have C's ``exit`` print the sentence and end the program with status 2; where C cannot, nothing happens."""
        register = _of_c("__cxa_atexit")
        if register and _of_c("__cxa_finalize"):
            self.process = os.getpid()
            register(self.callback, None, self.key)

    def forget(self) -> None:
        """Let the program end as ever: C calls back once more, to no effect, and never again."""
        if self.process:  # of a fork too, in which Python may end before C does
            self.process = 0
            _of_c("__cxa_finalize")(self.key)

    def _called(self, _: Any) -> None:
        if self.process == os.getpid():
            os.write(2, f"error: {self.sentence()}\n".encode())
            _end(2)


@cache
def _of_c(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return None
