"""The memory of a plugin between its calls: it is put back before every call, and what changes is named."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from caelab.testing.penalty.kept import (
    PLAIN,
    Kept,
    filled,
    inner_name,
    kept_attribute,
    kept_cell,
    kept_global,
    place_of,
)

FOREIGN = {"torch", "numpy", "pluggy", "caelab", "pandas", "pydantic", *sys.stdlib_module_names}


class Memory:
    """Everything that can be reached from a plugin and may change: attributes, buffers, closures, globals, generators.

    What a model or a library holds is left out, and so is what Python cannot look into, as a running iterator.

    Args:
        plugin: what is looked at.
        besides: what it may hold without owning it, as the model.
    """

    def __init__(self, plugin: Any, besides: nn.Module) -> None:
        self.seen = {id(each) for each in (besides, *besides.modules(), *besides.parameters(), *besides.buffers())}
        self.places: list[Kept] = []
        self.graphs: list[str] = []  # the names of tensors that are kept with the graph they came from
        for name, thing in _inside_of_plugin(plugin):
            self._walk(name, thing)

    def restore(self) -> None:
        """Put everything back to what it was when this was made."""
        for place in self.places:
            place.restore()

    def seed(self, seed: int) -> None:
        """Start every generator of random numbers anew."""
        for place in self.places:
            if place.seed:
                place.seed(seed)

    def changed(self) -> list[str]:
        """The names of what is different now."""
        return list(dict.fromkeys(name for place in self.places for name in place.changes()))

    def drawn_from(self) -> list[str]:
        """The names of the generators that moved on."""
        return [place.name for place in self.places if place.seed and place.changes()]

    def _walk(self, name: str, thing: Any) -> None:
        if isinstance(thing, (*PLAIN, types.ModuleType)) or id(thing) in self.seen:
            return
        self.seen.add(id(thing))
        if isinstance(thing, Tensor) and thing.grad_fn is not None:
            self.graphs.append(name)
        place = place_of(name, thing)
        if place is not None:
            self.places.append(place)
        for inner, value in _inside(name, thing):
            self._walk(inner, value)
        for place in _globals(thing):
            self.places.append(place)


def _inside_of_plugin(plugin: Any) -> Iterator[tuple[str, Any]]:
    yield "self", vars(plugin) if hasattr(plugin, "__dict__") else None
    yield "self", type(plugin)


def _inside(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """What a thing holds, with names."""
    if isinstance(thing, dict):
        yield from ((inner_name(name, key), value) for key, value in list(thing.items()))
    elif isinstance(thing, (list, tuple, deque, set, frozenset)):
        yield from ((name, value) for value in list(thing))
    elif isinstance(thing, types.MethodType):
        yield from ((name, each) for each in (thing.__self__, thing.__func__))
    elif isinstance(thing, (staticmethod, classmethod)):
        yield name, thing.__func__
    elif isinstance(thing, property):
        yield name, thing.fget
    elif isinstance(thing, functools.partial):
        yield from ((name, each) for each in (thing.func, thing.args, thing.keywords))
    elif isinstance(thing, types.FunctionType):
        yield from _inside_of_function(name, thing)
    elif isinstance(thing, type):
        if not _is_foreign(thing):
            own = {key: value for key, value in vars(thing).items() if not key.startswith("__")}
            yield from ((f"{thing.__name__}.{key}", value) for key, value in own.items())
            yield from ((name, base) for base in thing.__bases__)
    elif hasattr(thing, "__dict__") and (isinstance(thing, nn.Module) or not _is_foreign(type(thing))):
        yield name, vars(thing)
        yield name, type(thing)


def _inside_of_function(name: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    if _is_foreign(function):
        return
    yield function.__name__, function.__dict__
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if filled(cell):
            yield key, cell.cell_contents
    yield from ((name, each) for each in function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()
    for key in _names_in(function.__code__):
        if key in function.__globals__:
            yield key, function.__globals__[key]


def _globals(thing: Any) -> Iterator[Kept]:
    """The names that a function reads and may set: module globals, cells of its closure, attributes of a class."""
    if isinstance(thing, type) and not _is_foreign(thing):
        for key in [k for k, v in vars(thing).items() if not k.startswith("__") and isinstance(v, (*PLAIN, Tensor))]:
            yield kept_attribute(thing, key)
    if not isinstance(thing, types.FunctionType) or _is_foreign(thing):
        return
    for key in _names_in(thing.__code__):
        if key not in thing.__globals__ or isinstance(thing.__globals__[key], (*PLAIN, Tensor, np.ndarray)):
            yield kept_global(thing.__globals__, key)
    for key, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
        if filled(cell):
            yield kept_cell(key, cell)


def _names_in(code: types.CodeType) -> list[str]:
    """The global names that a function, or one inside it, mentions."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return list(dict.fromkeys([*code.co_names, *(name for each in inner for name in _names_in(each))]))


def _is_foreign(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in FOREIGN
