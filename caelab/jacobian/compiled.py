"""Encoders compiled by torch.compile, which are differentiated as they were written.

Compiled code can neither be differentiated twice nor be mapped over, which the Jacobian needs; what it was compiled
from computes the same.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

_ORIGINAL = "_torchdynamo_orig_callable"  # where torch.compile keeps the function that it was given


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
    return Eager(encode) if any(map(_is_compiled, _held_by(encode))) else encode


def original(encode: Any) -> Any:
    """The module, function or method that ``torch.compile`` was given; itself where it was not."""
    if isinstance(encode, MethodType) and _is_marked(encode):
        # a method has the attributes of its function, so what is found there belongs to no object yet
        return MethodType(original(encode.__func__), encode.__self__)
    if not isinstance(encode, nn.Module):
        return getattr(encode, _ORIGINAL, encode)
    hooked = any(vars(encode).get(hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"))
    return encode._modules["_orig_mod"] if _is_wrapper(encode) and not hooked else encode


def _held_by(encode: Any) -> Iterator[Any]:
    """An encoder and what it runs: the modules in it, what a function refers to, what a partial was made of."""
    if isinstance(encode, nn.Module):
        yield from encode.modules()
        return
    yield encode
    if isinstance(encode, partial):
        yield from _held_by(encode.func)
        values: Iterable[Any] = (*encode.args, *encode.keywords.values())
    else:
        values = _values_of(encode) or ()
    for value in values:
        yield from value.modules() if isinstance(value, nn.Module) else (value,)


def _is_marked(function: Any) -> bool:
    """Whether ``torch.compile`` made a function, or a static or class method, of another."""
    if isinstance(function, (staticmethod, classmethod, MethodType)):
        function = function.__func__
    return isinstance(function, FunctionType) and _ORIGINAL in vars(function)


def _is_wrapper(module: nn.Module) -> bool:
    """Whether a module is what ``torch.compile`` made of another."""
    return not isinstance(module, torch.jit.ScriptModule) and "_orig_mod" in module._modules


def _is_compiled(thing: Any) -> bool:
    """Whether calling a module, a function, or a method of an object runs compiled code."""
    if isinstance(thing, nn.Module):
        whole = _is_wrapper(thing) or getattr(thing, "_compiled_call_impl", None) is not None
        return whole or _is_marked(vars(thing).get("forward")) or _has_compiled_methods(thing)
    return _is_marked(thing) or _has_compiled_methods(thing)


def _has_compiled_methods(thing: Any) -> bool:
    """Whether an attribute of an object or of its classes is compiled; those that torch or Python wrote have none."""
    kind = thing if isinstance(thing, type) else type(thing)
    own = [each for each in kind.__mro__ if not each.__module__.startswith(("torch", "builtins"))]
    names: list[Mapping[str, Any]] = [vars(each) for each in own]
    if own and kind is not thing:
        names.append(getattr(thing, "__dict__", {}))
    return any(_is_marked(value) for each in names for value in list(each.values()))


def _values_of(encode: Any) -> list[Any] | None:
    """What a function refers to; nothing where that cannot be told."""
    if isinstance(encode, MethodType):
        inner = _values_of(encode.__func__)
        return None if inner is None else [encode.__self__, *inner]
    if not isinstance(encode, FunctionType):
        return None
    cells = [cell.cell_contents for cell in encode.__closure__ or () if _is_filled(cell)]
    named = [encode.__globals__[name] for name in encode.__code__.co_names if name in encode.__globals__]
    defaults = [*(encode.__defaults__ or ()), *(encode.__kwdefaults__ or {}).values()]
    return [*cells, *named, *defaults]


def _is_filled(cell: Any) -> bool:
    try:
        return bool(cell.cell_contents is not cell)
    except ValueError:  # a name that is bound later
        return False
