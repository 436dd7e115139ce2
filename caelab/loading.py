"""What a Python file holds, and what ``package.module:name`` or ``FILE.py:name`` stands for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

from caelab.errors import CaelabError, unknown_name


def load_file(path: Path) -> ModuleType:
    """A Python file as a module of its own, run anew at every call.

    Raises:
        CaelabError: no such file, not a Python file, or it fails to import.
    """
    if not path.is_file():
        raise CaelabError(f"no Python file at {path}; give the path of one")
    spec = util.spec_from_file_location(f"caelab_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CaelabError(f"{path} is not a Python file; its name ends in .py")
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may fail in any way
        raise CaelabError(f"{path} fails to import: {type(error).__name__}: {error}") from error
    return module


def load_named(target: str, kind: str) -> Callable[..., Any]:
    """The function, class or module that ``package.module:name`` or ``folder/file.py:name`` stands for.

    Args:
        target: where it is.
        kind: what it is to be, for a message: "encoder".

    Raises:
        CaelabError: nothing that can be called is there (the nearest name is offered), or it cannot be imported.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        raise CaelabError(f"expected package.module:NAME or FILE.py:NAME for the {kind}, but {target!r} came")
    module = load_file(Path(place)) if place.endswith(".py") else _imported(place)
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"{kind} of {place}", name, names)
    return found


def _imported(module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:  # a user's module may fail in any way
        raise CaelabError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
