"""Plain letters for mathematical signs on a terminal whose encoding lacks them."""

from __future__ import annotations

import codecs
import io
import sys

from caelab.report.plain_letters import PLAIN, in_ascii

__all__ = ["PLAIN", "in_ascii", "print_whatever_comes"]

HANDLER = "caelab.cli.signs"


def _instead(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(in_ascii, error.object[error.start : error.end])), error.end


def print_whatever_comes() -> None:
    """Let standard output and errors write every text, whatever their encoding lacks."""
    codecs.register_error(HANDLER, _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
