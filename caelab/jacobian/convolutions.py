"""How torch runs convolutions backwards on a processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

NARROW = 16  # input channels


@contextmanager
def narrow_ones_by_matrix_product(encode: Any) -> Iterator[None]:
    """Within the block, run an encoder's convolutions as matrix products where all are strided and narrow.

    torch asks oneDNN, which is made for many channels: backwards through 1 to 16 of them with a stride it takes 1.5 to
    3.6 times as long as torch's own way (AVX-512, one core). The switch is torch's, for the whole process, and put
    back at the end.
    """
    switch: Any = torch.backends.mkldnn
    if not _are_narrow(encode) or not switch.enabled:
        yield
        return
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = True


def _are_narrow(encode: Any) -> bool:
    if not isinstance(encode, nn.Module):
        return False
    found = [module for module in encode.modules() if isinstance(module, nn.Conv2d)]
    return bool(found) and all(conv.in_channels <= NARROW and min(conv.stride) > 1 for conv in found)
