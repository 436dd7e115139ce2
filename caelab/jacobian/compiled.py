"""Encoders that torch.compile has compiled: they are differentiated as they were written.

Compiled code can neither be differentiated twice nor be mapped over, which the Jacobian needs; what it was compiled
from computes the same.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from caelab.jacobian.held import modules_of


@dataclass(frozen=True, eq=False)
class Eager:
    """An encoder that holds compiled parts, which run as they were written."""

    encode: Callable[..., Tensor]

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """The code."""
        with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            # it is tried out with a hook on all modules, which fires twice for one that is compiled
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            return self.encode(*args, **kwargs)


def uncompiled(encode: Any) -> Any:
    """What an encoder was compiled from; itself where nothing in it is compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled in this process
        return encode
    encode = original(encode)
    return Eager(encode) if any(is_compiled(module) for module in modules_of(encode)) else encode


def original(encode: Any) -> Any:
    """The module or function that ``torch.compile`` was given; itself where it was not."""
    if not isinstance(encode, nn.Module):
        return getattr(encode, "_torchdynamo_orig_callable", encode)
    hooked = any(vars(encode).get(hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"))
    return encode._modules["_orig_mod"] if is_wrapper(encode) and not hooked else encode


def is_wrapper(module: nn.Module) -> bool:
    """Whether a module is what ``torch.compile`` made of another."""
    return not isinstance(module, torch.jit.ScriptModule) and "_orig_mod" in module._modules


def is_compiled(module: nn.Module) -> bool:
    """Whether calling a module runs compiled code."""
    return is_wrapper(module) or getattr(module, "_compiled_call_impl", None) is not None
