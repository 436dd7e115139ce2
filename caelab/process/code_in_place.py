"""Detecting functions of torch, caelab or a model's class that were replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from caelab.errors import CaelabError

Owner = type | ModuleType
WRAPPED = (classmethod, property)  # no functions, but such in a class
TORCH = str(Path(torch.__file__).parent)
MADE_LATE = ("__pydantic", "__signature__", "__class_getitem__", "Storage")  # torch.Storage follows the default dtype


def owners(classes: Iterable[type] = ()) -> list[Owner]:
    """The modules and classes whose functions are checked.

    Args:
        classes: further ones, as those of a model; their bases are looked at too.
    """
    of_caelab = [module for name, module in sys.modules.items() if name.startswith("caelab.") and module is not None]
    places: list[Owner] = [torch, torch.Tensor, nn, nn.functional, *of_caelab]
    found = [each for place in (nn, *of_caelab) for each in vars(place).values() if isinstance(each, type)]
    ours = [each for each in found if each.__module__.startswith(("torch.nn", "caelab."))]
    bases = [base for each in classes for base in each.__mro__ if base is not object]
    return list(dict.fromkeys([*places, *ours, *bases]))


class Functions:
    """The functions of some owners as they were when this was made.

    Args:
        places: see ``owners``.
    """

    def __init__(self, places: Iterable[Owner]) -> None:
        self.before = [(owner, dict(vars(owner))) for owner in places]

    def changes(self) -> list[tuple[Owner, str, Any]]:
        """Owner, name and earlier value (None for one that came new over a base's) of each that is another one now."""
        return [change for owner, old in self.before for change in _changes(owner, old)]

    def put_back(self, changes: Iterable[tuple[Owner, str, Any]]) -> None:
        """Undo changes."""
        for owner, name, old in changes:
            if old is None:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


def _changes(owner: Owner, old: dict[str, Any]) -> list[tuple[Owner, str, Any]]:
    now = vars(owner)
    if [*map(id, now.values())] == [*map(id, old.values())]:
        return []
    gone = object()
    other = [
        (owner, name, was)
        for name, was in old.items()
        if now.get(name, gone) is not was and _is_code(name, was) and not _torch_wraps(now.get(name), was)
    ]
    fresh = [name for name in now.keys() - old.keys() if _is_code(name, now[name]) and _overrides(owner, name)]
    return [*other, *((owner, name, None) for name in fresh)]


def _is_code(name: str, value: Any) -> bool:
    return (callable(value) or isinstance(value, WRAPPED)) and not name.startswith(MADE_LATE)


def _torch_wraps(now: Any, was: Any) -> bool:
    """Whether torch itself put a function of its own around the earlier one, as its compiler does when it is loaded."""
    ours = isinstance(now, FunctionType) and now.__code__.co_filename.startswith(TORCH)
    return ours and getattr(now, "__wrapped__", None) is was


def _overrides(owner: Owner, name: str) -> bool:
    return isinstance(owner, type) and any(name in vars(base) for base in owner.__mro__[1:])


@contextmanager
def code_left_as_found(who: str, classes: Iterable[type] = ()) -> Iterator[None]:
    """Refuse code that puts other functions in the place of those that everyone calls; they are put back.

    Args:
        who: is named, as "the analysis 'mine'".
        classes: of the model that it is given.

    Raises:
        CaelabError: some are other ones at the end of the block, which raised nothing itself.
    """
    functions = Functions(owners(classes))
    try:
        yield
    finally:
        changes = functions.changes()
        functions.put_back(changes)
    if changes:
        names = ", ".join(f"{_called(owner)}.{name}" for owner, name, _ in changes[:3])
        raise CaelabError(
            f"{who} replaces functions that all others call: {names}; it is put back, and what came of it is not kept; "
            "define a function or a class of its own"
        )


def _called(owner: Owner) -> str:
    return owner.__name__ if isinstance(owner, ModuleType) else f"{owner.__module__}.{owner.__qualname__}"
