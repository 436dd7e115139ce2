"""The state that can switch an encoder's behaviour, as one comparable value; read for every batch, in microseconds.

It holds kinds, modes, hooks and attributes of the modules, what functions close over or find in their globals, and
torch's autocast. Of tensors: which one it is, its shape, and how often it was changed in place, not its values; of
parameters, which training changes, only whether they want a gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

State = tuple[Any, ...]

PLAIN = frozenset([bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, CodeType])
FIXED = (type, ModuleType, BuiltinFunctionType)
DEEPEST = 4  # attributes of attributes that are looked at
WIDEST = 64  # entries of a container that are
_LIBRARIES = frozenset(["torch", "numpy", "builtins", *sys.stdlib_module_names]) - {"types"}
MOST = 1000  # entries of all containers
_KEPT_BY_TORCH = frozenset(vars(nn.Module()))
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_EVERYWHERE = tuple(getattr(torch_module, f"_global{name}") for name in HOOKS)


def state_of(encode: Any) -> State:
    """The state of an encoder and of what it runs in; equal as long as nothing was switched."""
    found: list[Any] = [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")]
    found += [tuple(hooks) for hooks in _HOOKS_EVERYWHERE]
    _Walk(found).value(encode, 0)
    return tuple(found)


def differs_quietly(first: State, second: State) -> bool:
    """Whether only numbers differ: counters, levels, which tensor it is and how often it was changed."""
    return len(first) == len(second) and all(
        type(a) is type(b) and type(a) in (int, float) for a, b in zip(first, second, strict=True) if a != b
    )


def root_of(encode: Any) -> Any:
    """What outlives the single call: a module, the owner of a method, or the code of a function."""
    if isinstance(encode, MethodType):
        return root_of(encode.__self__)
    if isinstance(encode, partial):
        return root_of(encode.func)
    return encode.__code__ if isinstance(encode, FunctionType) else encode


class _Walk:
    """One walk through everything that an encoder holds; what was seen is not entered again."""

    def __init__(self, found: list[Any]) -> None:
        self.found = found
        self.seen: set[int] = set()
        self.left = MOST

    def value(self, value: Any, depth: int) -> None:
        """Anything: its value where that is plain, and what it is made of where that can be switched."""
        kind = type(value)
        if kind in PLAIN:
            self.found.append(value)
        elif isinstance(value, Tensor):
            self.tensor(value)
        elif id(value) in self.seen or isinstance(value, FIXED):
            self.found.append(kind)
        else:
            self.seen.add(id(value))
            self.found.append(kind)
            self._entered(value, depth)

    def _entered(self, value: Any, depth: int) -> None:
        if isinstance(value, nn.Module):
            self.module(value, depth)
        elif isinstance(value, FunctionType | MethodType | partial):
            self.function(value, depth)
        elif depth >= DEEPEST:
            self.found.append(id(value))
        elif isinstance(value, tuple | list | set | frozenset):
            self.values(value, depth)
        elif isinstance(value, Mapping):
            self.values(value.values(), depth)
        else:
            self.found.append(id(value))
            self.values(_attributes(value).values(), depth)

    def values(self, values: Any, depth: int) -> None:
        """The entries of a container."""
        self.found.append(len(values))
        for value in islice(values, WIDEST):
            self.left -= 1
            if type(value) in PLAIN:
                self.found.append(value)
            elif self.left > 0:
                self.value(value, depth + 1)

    def tensor(self, tensor: Tensor) -> None:
        """Which tensor it is, its shape, and how often it was changed in place."""
        version = -1 if tensor.is_inference() else tensor._version
        self.found += (tensor.shape, id(tensor), version)

    def module(self, module: nn.Module, depth: int) -> None:
        """A module with all that it holds."""
        found, own, kind = self.found, module.__dict__, type(module)
        if isinstance(module, torch.jit.ScriptModule):
            found += (each.training for each in module.modules())
            return
        found += (kind, module.training, getattr(kind.forward, "__code__", None))
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            found += (tuple(own[name]) for name in HOOKS)  # numbers that torch gives to a hook once
        for parameter in module._parameters.values():
            found.append(parameter is not None and parameter.requires_grad)
        for buffer in module._buffers.values():
            self.value(buffer, depth)
        for name, value in own.items():
            if name in _KEPT_BY_TORCH:
                continue
            if type(value) in PLAIN:  # as below, without a call
                found.append(value)
            else:
                self.value(value, depth)
        for place, name in _names_of_class(cast(Any, kind)):
            self.value(place.get(name), depth + 1)
        for child in module._modules.values():
            if child is None:
                found.append(None)
            elif id(child) not in self.seen:
                self.seen.add(id(child))
                self.module(child, depth)

    def function(self, function: Any, depth: int) -> None:
        """A function, method or partial application: its code, and what it closes over or finds in its globals."""
        if isinstance(function, partial):
            self.value(function.func, depth)
            self.values((*function.args, *function.keywords.values()), depth)
        elif isinstance(function, MethodType):
            self.value(function.__func__, depth)
            self.value(function.__self__, depth)
        else:
            self.found.append(function.__code__)
            for cell in function.__closure__ or ():
                self.value(_content(cell), depth)
            for default in function.__defaults__ or ():
                self.value(default, depth)
            self.left -= 1
            if depth < DEEPEST and self.left > 0 and not _is_librarys(function.__module__ or ""):
                for place, name in _names_of_code(function.__code__, _Globals(function.__globals__)):
                    self.value(place.get(name), depth + 1)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _attributes(value: Any) -> Mapping[str, Any]:
    """The attributes of any object, where it has some."""
    if _is_librarys(type(value).__module__):
        return {}
    slots = getattr(type(value), "__slots__", ())
    own = {name: getattr(value, name, None) for name in ([slots] if isinstance(slots, str) else slots)}
    return own | getattr(value, "__dict__", {})


class _Globals:
    """The globals of a function, which can be remembered by the dictionary that they are."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Globals) and other.names is self.names

    def __hash__(self) -> int:
        return id(self.names)


@lru_cache(maxsize=1024)
def _names_of_class(kind: type) -> tuple[tuple[Mapping[str, Any], str], ...]:
    """The plain attributes of a user's class and the global names that its methods look up, with where they are."""
    classes = [each for each in kind.__mro__ if not _is_librarys(each.__module__)]
    own = [(vars(each), name) for each in classes for name, value in vars(each).items() if _is_switch(name, value)]
    methods = [method for each in classes for method in vars(each).values() if isinstance(method, FunctionType)]
    found = [_names_of_code(method.__code__, _Globals(method.__globals__)) for method in methods]
    return _distinct([*own, *(pair for names in found for pair in names)])


@lru_cache(maxsize=1024)
def _names_of_code(code: CodeType, place: _Globals) -> tuple[tuple[Mapping[str, Any], str], ...]:
    """The global names that a function looks up, and those in modules that it names; classes are left out."""
    names = list(dict.fromkeys(name for each in _codes(code) for name in each.co_names))
    here = [(place.names, name) for name in names if name in place.names and not isinstance(place.names[name], FIXED)]
    modules = [vars(place.names[name]) for name in names if _is_users_module(place.names.get(name))]
    there = [(inner, name) for inner in modules for name in names if name in inner and _is_switch(name, inner[name])]
    return _distinct([*here, *there])


def _distinct(pairs: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[tuple[Mapping[str, Any], str], ...]:
    return tuple({(id(place), name): (place, name) for place, name in pairs}.values())


def _is_switch(name: str, value: Any) -> bool:
    """Whether something that a class or a module holds is a value, or holds some, rather than code."""
    return not name.startswith("__") and (type(value) in PLAIN or isinstance(value, dict | list | Tensor))


def _is_users_module(value: Any) -> bool:
    return isinstance(value, ModuleType) and not _is_librarys(value.__name__)


def _is_librarys(name: str) -> bool:
    return name.partition(".")[0] in _LIBRARIES


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
