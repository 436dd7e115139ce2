"""Importing Python files, and the objects that ``package.module:name`` or ``FILE.py:name`` stands for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from hashlib import sha256
from importlib import import_module, invalidate_caches, util
from io import StringIO
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

from caelab.errors import CaelabError, unknown_name
from caelab.process.exits import Ended, held_open, how
from caelab.registry.arguments import text_of

_allowed: set[str] = set()  # what this process may import because a config names it
_brought: dict[str, Path] = {}  # the modules that files found beside them, with the folders these came from


def load_file(path: Path) -> ModuleType:
    """Import a Python file as a module of its own, run anew at every call; it may import its neighbours.

    A file of a package (a folder with ``__init__.py``) belongs to it, so that its relative imports work.

    Raises:
        CaelabError: no such file, not a Python file, or it fails to import.
    """
    if not path.is_file():
        raise CaelabError(f"no Python file at {path}; give the path of one")
    folder, package = home_of(path.resolve())
    digest = sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"{package}caelab_file_{path.stem}_{digest}"  # a name that hides no module
    spec = util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CaelabError(f"{path} is not a Python file; its name ends in .py")
    module = util.module_from_spec(spec)
    try:
        with beside(folder), as_script(str(path)):
            if package:
                import_module(package.rstrip("."))
            sys.modules[name] = module  # dataclasses look their own module up
            spec.loader.exec_module(module)
    except Exception as error:  # a user's file may fail in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())  # one sentence, whatever the error says
        raise CaelabError(f"{path} fails to import: {told}") from error
    return module


def home_of(path: Path) -> tuple[Path, str]:
    """The folder to import from, and the package that a file belongs to, as ``""`` or ``"outer.inner."``."""
    folder, package = path.parent, ""
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, package = folder.parent, f"{folder.name}.{package}"
    return folder, package


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Within the block, let modules of this folder be imported; loaded ones of the same name elsewhere do not count."""
    for name in [name for name, other in _brought.items() if other != folder and _found_in(folder, name)]:
        _forget(name)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the file may have changed the path itself
            sys.path.remove(str(folder))
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        files = {name: getattr(sys.modules.get(name), "__file__", None) for name in new}
        _brought.update({name: folder for name, file in files.items() if file and _found_in(folder, name, Path(file))})


def _found_in(folder: Path, name: str, file: Path | None = None) -> bool:
    places = [folder / f"{name}.py", folder / name / "__init__.py"]
    return file in places if file else any(place.is_file() for place in places)


def _forget(name: str) -> None:
    del _brought[name]
    for each in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[each]


@contextmanager
def as_script(name: str) -> Iterator[None]:
    """Import something as if it were called without arguments; one that ends the program raises instead.

    What it writes to the standard error is held back meanwhile, and is dropped if it is the usage that argparse prints.

    Raises:
        ImportError: it called ``sys.exit``, or its argparse did.
    """
    arguments, said = sys.argv, StringIO()
    sys.argv = [name]
    try:
        with redirect_stderr(said), held_open():
            yield
    except SystemExit as error:
        last = [f"status {error.code}", *said.getvalue().splitlines()][-1]
        reason = error.code if isinstance(error.code, str) else last
        called = how(error) if isinstance(error, Ended) else f"sys.exit ({reason})"
        said = StringIO()
        raise ImportError(f"it calls {called}; put what it runs under: if __name__ == '__main__'") from error
    finally:
        sys.argv = arguments
        sys.stderr.write(said.getvalue())


def allow_code(*targets: str) -> None:
    """Allow this process to import the code at these places when a config names it.

    A config, or a run's folder, may come from anyone, so the code that it names is never imported without this.

    Args:
        targets: each ``package.module:name`` or ``FILE.py:name``, or a whole ``package.module`` or ``FILE.py``: then
            the classes and functions that are defined there, and nothing that it imports from elsewhere.
    """
    _allowed.update([text_of(each, "the place of the code") for each in targets])


def allowed_code() -> frozenset[str]:
    """The places that ``allow_code`` allowed, to be passed on to a worker process."""
    return frozenset(_allowed)


def allow_code_in(value: Any) -> None:
    """Allow every ``module:name`` among values that the user typed, or that come from an installed plugin."""
    if isinstance(value, str) and ":" in value:
        allow_code(value)
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        allow_code_in(each)


def refuse_unasked(target: str, kind: str) -> None:
    """Refuse to import what the user did not name.

    Raises:
        CaelabError: says how to allow it.
    """
    place = target.rpartition(":")[0]
    names = {target, place, *([str(Path(place).resolve())] if place.endswith(".py") else [])}
    if not names & _allowed:
        raise CaelabError(
            f"the {kind} {target!r} is code that a config names, and a config by itself never runs code; "
            f"if you trust this code, add --allow-code {target} (in Python, call caelab.allow_code({target!r}))"
        )


def load_named(target: str, kind: str) -> Callable[..., Any]:
    """The function or class that ``package.module:name`` or ``folder/file.py:name`` stands for, if it was allowed.

    Args:
        target: where it is.
        kind: what it is to be, for a message: "encoder".

    Raises:
        CaelabError: the user did not allow it, nothing that can be called is there (the nearest name is offered), or
            it cannot be imported.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        raise CaelabError(f"expected package.module:NAME or FILE.py:NAME for the {kind}, but {target!r} came")
    refuse_unasked(target, kind)
    module = load_file(Path(place)) if place.endswith(".py") else _imported(place)
    steps: list[Any] = [module]
    for part in name.split("."):
        steps.append(getattr(steps[-1], part, None))
    if not callable(steps[-1]):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"{kind} of {place}", name, names)
    refuse_elsewhere(target, kind, steps)
    return cast(Callable[..., Any], steps[-1])


def refuse_elsewhere(target: str, kind: str, steps: Sequence[Any]) -> None:
    """Refuse what a file or package that was allowed as a whole does not define itself.

    A plugin imports ``os``, and a config must not reach ``os.system`` through it.

    Args:
        target: ``package.module:name`` or ``FILE.py:name``; where the user allowed this very name, anything goes.
        kind: what it is to be.
        steps: the module, and what each part of the name stands for.

    Raises:
        CaelabError: says how to allow it.
    """
    place, _, name = target.rpartition(":")
    home, inside = steps[0].__name__, not place.endswith(".py")
    own = all(_is_own(step, home, inside) for step in steps[1:]) and not isinstance(steps[-1], ModuleType)
    plain = not any(part.startswith("_") for part in name.split("."))
    if target not in _allowed and not (own and plain):
        raise CaelabError(
            f"the {kind} {target!r} is no class or function that is defined in {place}, and allowing {place} allows "
            f"only those; if you trust this code, add --allow-code {target} (in Python, call "
            f"caelab.allow_code({target!r}))"
        )


def _is_own(thing: Any, home: str, inside: bool) -> bool:
    """Whether a class, a function or a module comes from the module ``home``, or from inside that package."""
    if not isinstance(thing, type | FunctionType | ModuleType):
        return False
    module = str(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)
    return module == home or (inside and module.startswith(f"{home}."))


def _imported(module: str) -> ModuleType:
    try:
        with as_script(module):
            return import_module(module)
    except Exception as error:  # a user's module may fail in any way
        raise CaelabError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
