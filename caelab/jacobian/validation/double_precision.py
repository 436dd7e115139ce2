"""A copy of an encoder in float64, which tells rounding errors from a weak dependence."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from caelab.jacobian.context import Conditioned

_MOST_BYTES = 2**28  # of a copy's parameters


def in_double(encode: Any) -> Any | None:
    """The same map with every parameter, buffer and tensor it holds in float64, or nothing where none can be made.

    Modules are copied, also those that a function closes over or names among its globals; what belongs to someone
    else is left as it is.
    """
    try:
        return _copy(encode, {})
    except Exception:  # what a user's encoder holds may refuse to be copied in any way
        return None


def _copy(thing: Any, made: dict[int, Any]) -> Any:
    if id(thing) not in made:
        made[id(thing)] = _fresh(thing, made)
    return made[id(thing)]


def _fresh(thing: Any, made: dict[int, Any]) -> Any:
    if isinstance(thing, Conditioned):
        return replace(thing.changed(_tensor), encode=_copy(thing.encode, made))
    if isinstance(thing, nn.Module):
        return _module(thing)
    if isinstance(thing, Tensor):
        return _tensor(thing)
    if isinstance(thing, MethodType):
        return MethodType(thing.__func__, _copy(thing.__self__, made))
    if isinstance(thing, partial):
        args = [_copy(value, made) for value in thing.args]
        return partial(_copy(thing.func, made), *args, **{k: _copy(v, made) for k, v in thing.keywords.items()})
    return _function(thing, made) if isinstance(thing, FunctionType) and _is_users(thing) else thing


def _tensor(tensor: Tensor) -> Tensor:
    return tensor.detach().double() if tensor.is_floating_point() else tensor


def _module(module: nn.Module) -> nn.Module:
    held = [*module.parameters(), *module.buffers()]
    if sum(8 * tensor.numel() for tensor in held) > _MOST_BYTES:
        raise MemoryError
    with torch.no_grad():
        return deepcopy(module).double()


def _function(function: FunctionType, made: dict[int, Any]) -> FunctionType:
    made[id(function)] = function  # one that calls itself
    cells = tuple(CellType(_copy(cell.cell_contents, made)) for cell in function.__closure__ or ())
    names = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    places = function.__globals__ | {name: _copy(value, made) for name, value in names.items()}
    copy = FunctionType(function.__code__, places, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _is_users(function: FunctionType) -> bool:
    return function.__module__ is None or function.__module__.partition(".")[0] not in ("torch", "numpy")
