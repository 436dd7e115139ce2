"""What an encoder holds: the modules of a module, and of a function those that it is bound to, closes over or names."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def modules_of(encode: Any) -> Iterator[nn.Module]:
    """All modules within an encoder."""
    for value in [encode] if isinstance(encode, nn.Module) else values_of(encode) or ():
        if isinstance(value, nn.Module):
            yield from value.modules()


def values_of(encode: Any) -> list[Any] | None:
    """What a function refers to; nothing where that cannot be told."""
    if isinstance(encode, MethodType):
        inner = values_of(encode.__func__)
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
