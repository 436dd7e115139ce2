"""Fingerprints of objects: a digest of class, code and state, the same in every process.

An address, the order of a set, or the file that a class was typed into do not count. What cannot be told from another
object of its kind (an open file, a lock) is refused, so that nothing is ever stored under the name of something else.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import random
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, GenericAlias, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.registry.code_fingerprints import library_name, namespace_of, parts_of_code, source_of_module, used_globals

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, slice, PurePath)
TYPES = (torch.dtype, torch.device, torch.layout, torch.memory_format, np.dtype, GenericAlias)
SHARED_BY_CHANCE = (tuple, frozenset, CodeType, np.generic)  # whether two equal ones are one is the compiler's affair
NOT_STATE = ("training", "_compiled_call_impl")  # of a module: the trainer sets the mode itself


class Unnameable(CaelabError):
    """An object has no fingerprint, as it holds something that cannot be told from another of its kind."""


def fingerprint(thing: Any, what: str, *, without: frozenset[str] = frozenset()) -> str:
    """64 hexadecimal digits that follow the class, the code and the state of an object.

    Args:
        thing: any object.
        what: its name, for a message.
        without: names of a module's parameters and buffers whose values do not count.

    Raises:
        Unnameable: it holds what cannot be told from another of its kind.
    """
    walk = Walk(what, without)
    try:
        walk.visit(thing)
    except RecursionError as error:
        raise Unnameable(f"{what} is nested too deeply to be told from another; give it a simpler state") from error
    return walk.digest.hexdigest()


class Walk:
    """One pass over an object and all that it holds; an object that is met again is named by its place."""

    def __init__(self, what: str, without: frozenset[str] = frozenset()) -> None:
        self.what = what
        self.without = without
        self.digest = hashlib.sha256()
        self.met: dict[int, int] = {}
        self.kept: list[Any] = []  # an object that is gone would leave its address to another
        self.storages: dict[int, int] = {}
        self.path: list[str] = []

    def say(self, *words: object) -> None:
        """Take words into the digest, each with its length in front, so that no two rows of words are alike."""
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self.digest.update(b"%d:" % len(data))
            self.digest.update(data)

    @contextmanager
    def at(self, part: object) -> Iterator[None]:
        """Within the block the walk is in that part of an object."""
        self.path.append(str(part))
        yield
        self.path.pop()

    def visit(self, thing: Any) -> None:
        """Take one object in, and all that it holds."""
        if isinstance(thing, PLAIN) and type(thing).__module__ in ("builtins", "pathlib", "pathlib._local"):
            self.say(type(thing).__name__, repr(thing))
        elif isinstance(thing, TYPES):
            self.say(type(thing).__name__, thing)
        elif id(thing) in self.met:
            self.say("met", self.met[id(thing)])
        else:
            if not isinstance(thing, SHARED_BY_CHANCE):
                self.met[id(thing)] = len(self.met)
                self.kept.append(thing)
            visitor = next((visit for kinds, visit in VISITORS if isinstance(thing, kinds)), Walk.instance)
            visitor(self, thing)

    def members(self, kind: str, members: Mapping[Any, Any]) -> None:
        """Take named parts into the digest, in their order."""
        self.say(kind, len(members))
        for name, value in members.items():
            self.visit(name)
            with self.at(name):
                self.visit(value)

    def container(self, thing: Any) -> None:
        """Take the class of a container into the digest; of a user's own class its code and its attributes too."""
        self.say(library_name(type(thing)) or "own")
        if not library_name(type(thing)):
            self.visit(type(thing))
            self.members("attributes", getattr(thing, "__dict__", {}))

    def mapping(self, thing: Mapping[Any, Any]) -> None:
        """Take a dictionary into the digest, in its order."""
        self.container(thing)
        self.members("mapping", thing)

    def sequence(self, thing: Any) -> None:
        """Take a list, a tuple or a queue into the digest."""
        self.container(thing)
        self.say(len(thing))
        for place, value in enumerate(thing):
            with self.at(place):
                self.visit(value)

    def unordered(self, thing: Any) -> None:
        """Take a set into the digest, whatever the order of its members."""
        self.container(thing)
        self.say(*sorted(fingerprint(each, self.place()) for each in thing))

    def tensor(self, thing: Tensor) -> None:
        """Take type, shape, values and trainability of a tensor into the digest; shared memory counts as well."""
        if torch.nn.parameter.is_lazy(thing):
            self.say("without a shape yet", type(thing).__name__)
            return
        self.say(type(thing).__name__, thing.dtype, tuple(thing.shape), thing.requires_grad, thing.layout)
        if thing.is_meta:
            return
        plain = thing.detach()
        plain = plain.to_dense() if thing.layout is not torch.strided else plain
        plain = plain.dequantize() if thing.is_quantized else plain
        place = plain.untyped_storage().data_ptr()
        self.say("memory", self.storages.setdefault(place, len(self.storages)) if place else "none")
        if not self.named_without():
            flat = plain.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
            self.digest.update(flat.view(torch.uint8).numpy().data)

    def named_without(self) -> bool:
        """Whether the walk is at a parameter or buffer whose values do not count."""
        inner = [part for part in self.path if part not in ("_modules", "_parameters", "_buffers")]
        return bool(self.without) and ".".join(inner) in self.without

    def array(self, thing: Any) -> None:
        """Take type, shape and values of an array into the digest."""
        values = np.asarray(thing)
        self.say("array", values.dtype.str, values.shape)
        if values.dtype.hasobject:
            self.visit(values.tolist())
        else:
            self.say(np.ascontiguousarray(values).tobytes())

    def table(self, thing: Any) -> None:
        """Take the index, the names and the values of a table, or of one column, into the digest."""
        columns = thing.items() if isinstance(thing, pd.DataFrame) else [(thing.name, thing)]
        index = thing.index
        self.members(type(thing).__name__, {"index": index.to_numpy() if not isinstance(thing, pd.Index) else None})
        for name, column in columns:
            self.visit(str(name))
            self.say(str(column.dtype))
            self.array(column.to_numpy())

    def function(self, thing: FunctionType) -> None:
        """The code, what it was bound to, and the globals that it uses; of a library only what it was bound to."""
        known = library_name(thing)
        self.say("function", known or thing.__qualname__)
        if not known:
            self.visit(thing.__code__)
            self.members("globals", used_globals(thing))
        closure = thing.__closure__ or ()
        self.members("bound", {"defaults": thing.__defaults__, "names": thing.__kwdefaults__})
        self.members("closure", dict(zip(thing.__code__.co_freevars, map(_content, closure), strict=True)))
        self.members("marks", {k: v for k, v in vars(thing).items() if not (known and k == "__wrapped__")})

    def code(self, thing: CodeType) -> None:
        """Take a piece of code into the digest, apart from where it was written."""
        self.members("code", parts_of_code(thing))

    def class_(self, thing: type) -> None:
        """Take a class into the digest: its bases and all that it defines; of a library only its name."""
        known = library_name(thing)
        self.say("class", known or thing.__qualname__)
        if not known:
            self.sequence(thing.__bases__)
            self.members("defines", namespace_of(thing))

    def module(self, thing: ModuleType) -> None:
        """Take a module into the digest: a library by its name, a file of the user by its text."""
        self.say("module", library_name(thing) or source_of_module(thing))

    def network(self, thing: nn.Module) -> None:
        """Take everything that an ``nn.Module`` holds into the digest."""
        if isinstance(thing, torch.jit.ScriptModule):
            self.say("scripted", re.sub(r"#.*", "", str(thing.inlined_graph)))  # comments say in which file a line was
            self.visit(dict(thing.state_dict()))
            return
        self.visit(type(thing))
        compiled = getattr(thing, "_orig_mod", None)
        state = {"_orig_mod": compiled} if compiled is not None else dict(vars(thing))
        state = {name: value for name, value in state.items() if name not in NOT_STATE}
        for name, value in state.items():
            with self.at(name):
                self.say(name)
                hooks = name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
                self.sequence([*value.values()]) if hooks and isinstance(value, Mapping) else self.visit(value)

    def instance(self, thing: Any) -> None:
        """Take any other object into the digest: its class and its attributes, or what pickle would need."""
        self.visit(type(thing))
        slots = [name for kind in type(thing).__mro__ for name in _slots(kind) if hasattr(thing, name)]
        if hasattr(thing, "__dict__") or slots:
            self.members("attributes", {**getattr(thing, "__dict__", {}), **{n: getattr(thing, n) for n in slots}})
        if all(_users_own(kind) for kind in type(thing).__mro__):
            return
        try:
            made = thing.__reduce_ex__(4)
        except Exception as error:  # whatever it is, pickle does not know it either
            raise self.refusal(thing) from error
        parts = [made] if isinstance(made, str) else [list(p) if isinstance(p, Iterator) else p for p in made[1:]]
        self.members("made again from", dict(enumerate(parts)))

    def place(self) -> str:
        """The place where the walk is, as a person writes it."""
        return ".".join([self.what, *(p for p in self.path if p not in ("attributes", "_modules"))])

    def refusal(self, thing: Any) -> Unnameable:
        """The error for an object that nothing tells from another."""
        return Unnameable(
            f"{self.place()} is {type(thing).__name__}, which cannot be told from another one, so a run with it has no "
            "name to be stored under; take it out of the object's attributes, or train without a folder"
        )


def _users_own(kind: type) -> bool:
    """Whether instances keep all that they hold in the attributes of such a class."""
    return kind is object or kind.__module__ in ("abc", "typing") or not library_name(kind)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(s for s in slots if s not in ("__dict__", "__weakref__"))


def _as(kind: str, *parts: Callable[[Any], Any]) -> Callable[[Walk, Any], None]:
    """A visitor that takes in a word and some parts of an object."""

    def visitor(walk: Walk, thing: Any) -> None:
        walk.say(kind)
        for part in parts:
            walk.visit(part(thing))

    return visitor


def _function_name(thing: Any) -> Any:
    owner = getattr(thing, "__self__", None)
    return [thing.__name__, None if isinstance(owner, ModuleType) else owner, getattr(thing, "__module__", None)]


VISITORS: list[tuple[Any, Callable[[Walk, Any], None]]] = [
    (enum.Enum, _as("member", type, lambda t: t.name)),
    (Tensor, Walk.tensor),
    (nn.Module, Walk.network),
    ((np.ndarray, np.generic), Walk.array),
    ((pd.DataFrame, pd.Series, pd.Index), Walk.table),
    (np.random.Generator, _as("generator", lambda t: t.bit_generator.state)),
    (np.random.RandomState, _as("generator", lambda t: t.get_state(legacy=False))),
    (random.Random, _as("generator", lambda t: t.getstate())),
    (torch.Generator, _as("generator", lambda t: str(t.device), lambda t: t.get_state())),
    (FunctionType, Walk.function),
    (CodeType, Walk.code),
    (MethodType, _as("method", lambda t: t.__func__, lambda t: t.__self__)),
    ((staticmethod, classmethod), _as("static", lambda t: t.__func__)),
    (property, _as("property", lambda t: t.fget, lambda t: t.fset)),
    (functools.partial, _as("partial", lambda t: t.func, lambda t: t.args, lambda t: t.keywords)),
    (functools._lru_cache_wrapper, _as("cached", lambda t: t.__wrapped__)),
    (functools.cached_property, _as("property", lambda t: t.func)),
    ((BuiltinFunctionType, np.ufunc), _as("built in", _function_name)),
    (type, Walk.class_),
    (ModuleType, Walk.module),
    (torch.jit.ScriptFunction, _as("scripted", lambda t: re.sub(r"#.*", "", str(t.graph)))),
    (logging.Logger, _as("logger", lambda t: t.name)),
    (re.Pattern, _as("pattern", lambda t: t.pattern, lambda t: t.flags)),
    (weakref.ReferenceType, _as("reference", lambda t: t())),
    ((set, frozenset), Walk.unordered),
    (Mapping, Walk.mapping),
    ((list, tuple, deque), Walk.sequence),
]
