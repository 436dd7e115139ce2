"""Fingerprints of code: functions, classes and modules, independent of where they were written."""

from __future__ import annotations

import dis
import hashlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

from caelab.registry.fingerprints import content_of, imported_beside

OWN = ("caelab", "caelab_regularizers", "caelab_analyses", "caelab_trackers")
RECORDED = ("torch", "numpy")  # their versions stand in every run's record
HEAP_TYPE = 1 << 9  # the flag of a class that was made while Python ran
NOT_CODE = (
    "__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__", "__firstlineno__",
    "__static_attributes__", "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__",
    "__parameters__", "__slotnames__", "__orig_bases__", "__qualname__", "__annotate_func__", "__annotations_cache__",
)  # fmt: skip


def library_name(thing: Any) -> str:
    """The full name of what an installed library holds, with its version; an empty text for a user's own code."""
    module = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    edition = _edition(str(module).partition(".")[0]) if module else ""
    name = "" if isinstance(thing, ModuleType) else getattr(thing, "__qualname__", "")
    return f"{module}.{name} {edition}" if edition and _is_there(thing, str(module), name) else ""


def _is_there(thing: Any, module: str, name: str) -> bool:
    """Whether a thing is in the module that it says it comes from; anyone may write a name into ``__module__``."""
    found: Any = sys.modules.get(module)
    if isinstance(thing, FunctionType):
        return thing.__globals__ is getattr(found, "__dict__", None)
    if isinstance(thing, type):
        for part in name.split("."):
            found = getattr(found, part, None)
        return found is thing or thing.__flags__ & HEAP_TYPE == 0 or _is_compiled(module)
    return True


@cache
def _edition(top: str) -> str:
    """The version of a library, or a word in its place; an empty text for what is no library."""
    if top in sys.stdlib_module_names or top in OWN:
        return "own" if top in OWN else "standard"
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    if not {"site-packages", "dist-packages"} & set(Path(file).parts):
        return ""
    try:
        return "recorded" if top in RECORDED else version(top)
    except PackageNotFoundError:
        return str(getattr(sys.modules[top], "__version__", ""))


def _is_compiled(module: str) -> bool:
    """Whether a module is no Python source; ``builtins`` does not count, which a class without a module names too."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return module != "builtins" and module in sys.modules and not file.endswith((".py", ".pyc"))


def parts_of_code(code: CodeType) -> dict[str, Any]:
    """What decides what a piece of code does: instructions, constants, names; no file and no line."""
    return {
        "instructions": code.co_code,
        "constants": code.co_consts,
        "names": [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars],
        "arguments": [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags],
    }


def used_globals(function: FunctionType) -> dict[str, Any]:
    """The values of the globals that a function, or one inside it, looks up; built-in names do not count."""
    names = dict.fromkeys(_global_names(function.__code__))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def _global_names(code: CodeType) -> list[str]:
    own = [str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return own + [name for inner in code.co_consts if isinstance(inner, CodeType) for name in _global_names(inner)]


def namespace_of(kind: type) -> dict[str, Any]:
    """What a class defines itself: methods and values; not its documentation, nor what Python adds."""
    descriptors = (GetSetDescriptorType, MemberDescriptorType)
    return {
        name: value
        for name, value in vars(kind).items()
        if name not in NOT_CODE and not name.startswith("__pydantic") and not isinstance(value, descriptors)
    }


def source_of_module(module: ModuleType) -> str:
    """A digest of the file that a user's module was read from, and of its neighbours; its name where there is none."""
    file = getattr(module, "__file__", None)
    return (
        hashlib.sha256("".join(map(content_of, (file, *imported_beside(file)))).encode()).hexdigest()
        if file
        else module.__name__
    )
