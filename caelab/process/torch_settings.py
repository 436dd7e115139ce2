"""Torch's global settings as a run expects them, whatever the caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def pinned_settings() -> Iterator[None]:
    """Within the block numbers are float32 in full precision on the CPU unless said otherwise, and gradients are kept.

    Pinned are torch's default type and device, automatic mixed precision, inference mode, gradient mode and the
    precision of matrix products; behind the block they are as they were.
    """
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # the mode slows every call of torch, so only where it is needed
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False)) if torch.is_autocast_enabled(device) else None
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
