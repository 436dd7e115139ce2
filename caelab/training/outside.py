"""State that an object's code holds outside of it: attributes of its class, globals, and enclosed variables."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caelab.registry.code_fingerprints import OWN, RECORDED, library_name, namespace_of, used_globals

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, deque, np.ndarray, Tensor)
HOLDS = (*PLAIN, *GENERATORS, nn.Module, torch.optim.Optimizer)
NO_STATE = (type, ModuleType, FunctionType, staticmethod, classmethod, property)
LARGEST = 1_000_000  # entries of an array; a larger one is data, and a digest of it after every epoch takes long
TRUSTED = frozenset({*OWN, *RECORDED, *sys.stdlib_module_names} - {"__main__"})  # keep nothing from call to call


def held_outside(thing: Any) -> dict[str, Any]:
    """The values that may change while the methods of an object run, and that are no attributes of it, by name."""
    found: dict[str, Any] = {}
    for kind in type(thing).__mro__:
        if not _trusted(kind):
            for name, value in namespace_of(kind).items():
                found |= _of(value, f"{kind.__name__}.{name}", _library(kind), set())
    return found


def _of(value: Any, name: str, home: str, met: set[int]) -> dict[str, Any]:
    """A value itself, if it can hold a state; of a function what its code holds, unless another library brings it."""
    found: dict[str, Any] = {}
    for each in [value.fget, value.fset] if isinstance(value, property) else [getattr(value, "__func__", value)]:
        if not isinstance(each, FunctionType):
            found |= {name: each} if _may_change(each) else {}
        elif id(each) not in met and not _trusted(each) and (not library_name(each) or _library(each) == home):
            met.add(id(each))
            for part, held in _held_by(each):
                found |= _of(held, part, home, met)
    return found


def _held_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function names, the variables that it encloses, and its defaults."""
    yield from used_globals(function).items()
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet
            yield variable, cell.cell_contents
    yield from ((f"a default of {function.__name__}", each) for each in function.__defaults__ or ())


def _may_change(value: Any) -> bool:
    """Whether it is a plain value, or an instance of a user's own class; libraries keep books of their own."""
    if isinstance(value, NO_STATE) or (isinstance(value, np.ndarray) and value.size > LARGEST):
        return False
    return isinstance(value, HOLDS) or not (_trusted(type(value)) or library_name(type(value)))


def _trusted(thing: Any) -> bool:
    return _library(thing) in TRUSTED


def _library(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]
