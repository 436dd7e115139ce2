"""Walking through examples in pieces: what is held at once stays bounded, and whoever listens is told how far it is.

An analysis walks with ``in_pieces``; who shows progress listens with ``listening``. Neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

MOST_VALUES = 2**18  # of a piece of the inputs: one image of 3×224×224, or 334 of 28×28

Listener = Callable[[str, int, int], None]
"""Is told the title of a walk, how many examples are done, and of how many; 0 at its start."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_title: ContextVar[str] = ContextVar("title", default="examples")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell the listener of every walk within the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def titled(title: str) -> Iterator[None]:
    """Walks within the block bear this title."""
    token = _title.set(title)
    try:
        yield
    finally:
        _title.reset(token)


def in_pieces(inputs: Tensor, most: int = MOST_VALUES) -> Iterator[Tensor]:
    """The examples in pieces of at most so many values, and at least one example each.

    Progress is told once a piece was dealt with, that is when the next one is asked for; a walk of a single piece is
    not worth telling.

    >>> [len(piece) for piece in in_pieces(torch.zeros(5, 3), most=6)]
    [2, 2, 1]

    Args:
        inputs: shape (n, ...).
        most: values in a piece.
    """
    size = max(1, most // max(1, inputs.shape[1:].numel()))
    pieces = torch.split(inputs, size)
    tell, title, done = _listener.get(), _title.get(), 0
    for piece in pieces:
        if tell is not None and len(pieces) > 1 and done == 0:
            tell(title, 0, len(inputs))
        yield piece
        done += len(piece)
        if tell is not None and len(pieces) > 1:
            tell(title, done, len(inputs))
