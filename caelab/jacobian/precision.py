"""Autocast on the way back as it was on the way forward."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=type[torch.autograd.Function])
DEVICES = ("cpu", "cuda")


def keeps_precision(function: Function) -> Function:
    """A class decorator: ``backward`` runs with autocast on or off as ``forward`` found it.

    What differentiates again on the way back would otherwise mix types, where ``backward()`` is called inside an
    autocast block that was left for the answer.
    """
    forward, backward = function.forward, function.backward

    def remembered(ctx: Any, *args: Any) -> Any:
        ctx.autocast = [torch.is_autocast_enabled(device) for device in DEVICES]
        return forward(ctx, *args)

    def as_before(ctx: Any, *grads: Any) -> Any:
        with ExitStack() as stack:
            for device, enabled in zip(DEVICES, ctx.autocast, strict=True):
                if torch.is_autocast_enabled(device) != enabled:
                    stack.enter_context(torch.autocast(device, enabled=enabled))
            return backward(ctx, *grads)

    function.forward = staticmethod(remembered)  # type: ignore[method-assign]
    function.backward = staticmethod(as_before)  # type: ignore[method-assign]
    return function
