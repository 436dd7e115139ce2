"""Fingerprints of other people's code that a run is made of: when it changes, the run is another one."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import home_of

INSTALLED = {"site-packages", "dist-packages"}


def fingerprints_of(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A digest for each kind and name in use that is not caelab's own; it follows the code and the version.

    The code is the plugin file, the module that holds the thing itself, and what these import of the files beside them
    or, in a package, of the package.
    """
    return {f"{kind} {name}": digest for kind, name in used if (digest := _digest(kind, name))}


def files_in(options: Mapping[str, Any], whose: str) -> dict[str, str]:
    """A digest of each file that an option names: what it holds counts, not where it lies.

    Only a text with a suffix or a slash names a file, so that a word such as ``relu`` never does.
    """
    texts = {key: value for key, value in options.items() if isinstance(value, str)}
    named = {key: value for key, value in texts.items() if "/" in value or Path(value).suffix}
    found = {f"{whose}.{key}": content_of(str(Path(value).expanduser())) for key, value in named.items()}
    return {key: digest for key, digest in found.items() if digest}


def _digest(kind: str, name: str) -> str:
    offer = catalogue().offers.get((kind, name))
    if offer and offer.provider.startswith("caelab/"):
        return ""
    if offer and offer.digest:
        return offer.digest
    provider = offer.provider if offer else ""
    thing = None
    with suppress(CaelabError):  # what cannot be loaded is told where it is used
        thing = catalogue().get(kind, name)
    files = [file for file in dict.fromkeys((provider, _file_of(thing))) if file]
    beside = dict.fromkeys(str(other) for file in files for other in imported_beside(file) if str(other) not in files)
    parts = [
        _version(provider),
        *map(content_of, files),
        *map(content_of, sorted(beside, key=lambda file: Path(file).name)),
    ]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if any(parts) else ""


def _file_of(thing: Any) -> str:
    each: Any
    for each in (thing, getattr(thing, "func", None), type(thing)):  # a partial, or an object that can be called
        with suppress(TypeError, OSError):  # neither a class nor a function, or one typed into a shell
            return inspect.getfile(each)
    return ""


@cache  # as the contents of the files
def imported_beside(file: str) -> tuple[Path, ...]:
    """The Python files beside a file, or in its package, that it imports, and those that these import in turn."""
    start = Path(file)
    if start.suffix != ".py" or not start.is_file():
        return ()
    found = [start.resolve()]
    for each in found:
        found += [other for other in dict.fromkeys(_imports(each)) if other not in found]
    return tuple(found[1:])


def _imports(file: Path) -> Iterator[Path]:
    folder, package = home_of(file)
    top = package.partition(".")[0] if INSTALLED & set(folder.parts) else ""
    for name in _imported_names(file, package):
        if not top or name.partition(".")[0] == top:
            yield from _files_of_module(folder, name)


def _imported_names(file: Path, package: str) -> Iterator[str]:
    """The full names of all modules that a file's import statements could mean."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rstrip(".").split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join([*filter(None, above), *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" if module else alias.name for alias in node.names)


def _files_of_module(folder: Path, name: str) -> Iterator[Path]:
    """The files that importing ``outer.inner.name`` from a folder runs; the last part may be no module."""
    place = folder
    for part in name.split("."):
        place = place / part
        yield from (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())


def _version(provider: str) -> str:
    try:
        return version(provider.partition("/")[0])
    except (PackageNotFoundError, ValueError):
        return ""


@cache  # what counts is the code that this process has in memory, whatever becomes of the file meanwhile
def content_of(file: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; an empty text if it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
