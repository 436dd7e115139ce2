"""One place that can change between two calls of a plugin, with how it is compared and put back."""

from __future__ import annotations

import random
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (int, float, str, bool, bytes, complex, type(None), torch.dtype, torch.device, torch.Size, range)
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


@dataclass(frozen=True, eq=False)
class Kept:
    """One place that can change: what it is called, how it is put back, what in it differs now, how it is seeded."""

    name: str
    restore: Callable[[], object]
    changes: Callable[[], list[str]]
    seed: Callable[[int], object] | None = None


def place_of(name: str, thing: Any) -> Kept | None:
    """How a container, a tensor or a generator is put back; nothing for all else."""
    if isinstance(thing, dict):
        return _kept_dict(name, thing)
    if isinstance(thing, (list, deque, set, bytearray)):
        return _kept_sequence(name, thing)
    if isinstance(thing, Tensor):
        return _kept_tensor(name, thing)
    if isinstance(thing, np.ndarray):
        array = thing.copy()
        return Kept(name, lambda: np.copyto(thing, array), lambda: [] if np.array_equal(thing, array) else [name])
    return _kept_generator(name, thing) if isinstance(thing, GENERATORS) else None


def _kept_dict(name: str, thing: dict[Any, Any]) -> Kept:
    before = dict(thing)

    def restore() -> None:
        if not all(_same(thing.get(key, before), value) for key, value in before.items()) or len(thing) != len(before):
            thing.clear()
            thing.update(before)

    def changes() -> list[str]:
        keys = [k for k in {**before, **thing} if not _same(before.get(k, thing), thing.get(k, before))]
        return [inner_name(name, key) for key in keys]

    return Kept(name, restore, changes)


def _kept_sequence(name: str, thing: Any) -> Kept:
    before = list(thing)

    def restore() -> None:
        if changes():
            thing.clear()
            (thing.update if isinstance(thing, set) else thing.extend)(before)

    def changes() -> list[str]:
        same = len(thing) == len(before) and all(map(_same, thing, before))
        return [] if same else [name]

    return Kept(name, restore, changes)


def _kept_tensor(name: str, thing: Tensor) -> Kept | None:
    if thing.is_inference() or torch._C._functorch.is_functorch_wrapped_tensor(thing):
        return None
    before = thing.detach().clone()

    def restore() -> None:
        if thing.data.shape != before.shape:
            thing.data = before.clone()
        else:
            thing.data.copy_(before)  # .data, so that graphs that are done with do not count it

    def changes() -> list[str]:
        same = thing.shape == before.shape and torch.equal(thing.detach().nan_to_num(), before.nan_to_num())
        return [] if same else [name]

    return Kept(name, restore, changes)


def _kept_generator(name: str, thing: Any) -> Kept:
    read, write, seed = _state_of(thing)
    before = read()
    text = repr(_listed(before))
    return Kept(name, lambda: write(before), lambda: [] if repr(_listed(read())) == text else [name], seed)


def _state_of(thing: Any) -> tuple[Callable[[], Any], Callable[[Any], Any], Callable[[int], Any]]:
    """How a generator's state is read and written, and how it is seeded."""
    if isinstance(thing, torch.Generator):
        return lambda: thing.get_state().clone(), thing.set_state, thing.manual_seed
    if isinstance(thing, np.random.Generator):
        generator: Any = thing.bit_generator
        write: Callable[[Any], None] = lambda state: setattr(generator, "state", state)  # noqa: E731
        return lambda: generator.state, write, lambda seed: write(type(generator)(seed).state)
    if isinstance(thing, np.random.RandomState):
        return thing.get_state, thing.set_state, thing.seed
    return thing.getstate, thing.setstate, thing.seed


def _listed(state: Any) -> Any:
    """A state with its numbers written out: of a long array repr shows the ends."""
    if isinstance(state, (Tensor, np.ndarray)):
        return state.tolist()
    if isinstance(state, dict):
        return {key: _listed(value) for key, value in state.items()}
    return [_listed(each) for each in state] if isinstance(state, (tuple, list)) else state


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, PLAIN) and type(one) is type(other) and one == other)


def inner_name(name: str, key: Any) -> str:
    """What an entry of a dictionary, or an attribute, is called."""
    if key in ("_buffers", "_parameters", "_modules"):
        return name
    return f"{name}.{key}" if isinstance(key, str) and key.isidentifier() else f"{name}[{key!r}]"


def kept_attribute(owner: type, key: str) -> Kept:
    """An attribute of a class."""
    before, name = vars(owner).get(key), f"{owner.__name__}.{key}"
    return Kept(
        name,
        lambda: None if _same(vars(owner).get(key), before) else setattr(owner, key, before),
        lambda: [] if _same(vars(owner).get(key), before) else [name],
    )


MISSING = object()


def kept_global(names: dict[str, Any], key: str) -> Kept:
    """A global name of a module, or one that a function may still make."""
    before = names.get(key, MISSING)

    def restore() -> None:
        if before is MISSING:
            names.pop(key, None)
        else:
            names[key] = before

    return Kept(key, restore, lambda: [] if _same(names.get(key, MISSING), before) else [f"global {key}"])


def kept_cell(key: str, cell: types.CellType) -> Kept:
    """A variable that a function shares with the one around it."""
    before = cell.cell_contents
    return Kept(
        key,
        lambda: setattr(cell, "cell_contents", before),
        lambda: [] if filled(cell) and _same(cell.cell_contents, before) else [f"nonlocal {key}"],
    )


def filled(cell: types.CellType) -> bool:
    """Whether something is bound to the variable."""
    try:
        cell.cell_contents  # noqa: B018  raises where nothing was bound yet
    except ValueError:
        return False
    return True
