"""Flushing denormal numbers to zero while training, as they make saturated networks slow on a CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALLEST = sys.float_info.min  # the least number that is no denormal one


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero within the block, in this thread, and leave the processor as it was."""
    before = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def flushes_denormals() -> bool:
    """Whether denormal numbers count as zero now."""
    return SMALLEST / 2 == 0.0
