"""Options of what plugins offer, read from the text of their modules: a shell that asks for them imports no torch.

What cannot be told from the text alone (a factory that another call makes, a name that is computed) has no options
here; nothing is ever refused for that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

DEEPEST = 8  # names that stand for other names, one after another

Values = tuple[str, ...]


class Home(NamedTuple):
    """A statement, and the module that it stands in."""

    node: ast.stmt
    module: str


def options_in_source(target: str) -> dict[str, Values]:
    """The options of a class or a function, each with its values as texts where it has only so many.

    >>> options_in_source("caelab.models.autoencoder:autoencoder")["tied"]
    ('true', 'false')

    Args:
        target: ``module:NAME``, or ``module``, whose functions ``measure`` and ``compare`` are meant.
    """
    module, _, name = target.partition(":")
    found: dict[str, Values] = {}
    for each in [name] if name else ["measure", "compare"]:
        home = _defined(module, each)
        found |= _options(home) if home else {}
    return found


def fields_in_source(module: str) -> dict[str, dict[str, Values]]:
    """The annotated fields of every class of a module, by the name of the class."""
    classes = [node for node in _parsed(module).body if isinstance(node, ast.ClassDef)]
    return {node.name: _fields(Home(node, module)) for node in classes}


@cache
def _parsed(module: str) -> ast.Module:
    """The syntax tree of a module, an empty one where it has no file; no package around it is imported."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    places = [Path(place, *rest) for place in (spec and spec.submodule_search_locations) or []]
    files = [file for place in places for file in (place.with_name(f"{place.name}.py"), place / "__init__.py")]
    if spec and spec.origin and not rest:
        files = [Path(spec.origin)]
    text = next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")
    return ast.parse(text)


def _defined(module: str, name: str, depth: int = 0) -> Home | None:
    """The statement that gives a name its meaning, in the module or where the module imports it from."""
    if depth > DEEPEST:
        return None
    for node in _parsed(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Home(node, module)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return Home(node, module)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defined(node.module, alias.name, depth + 1)
    return None


def _options(home: Home) -> dict[str, Values]:
    node = home.node
    if isinstance(node, ast.FunctionDef):
        return _parameters(node, home.module)
    if not isinstance(node, ast.ClassDef):
        return {}
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    return _parameters(made[0], home.module, skip=1) if made else _fields(home)


def _parameters(node: ast.FunctionDef, module: str, skip: int = 0) -> dict[str, Values]:
    asked = [*node.args.posonlyargs, *node.args.args][skip:] + node.args.kwonlyargs
    return {each.arg: _values(each.annotation, module) for each in asked}


def _fields(home: Home, depth: int = 0) -> dict[str, Values]:
    """The fields of a dataclass or a model, those of its bases first."""
    found: dict[str, Values] = {}
    if not isinstance(home.node, ast.ClassDef) or depth > DEEPEST:
        return found
    for base in home.node.bases:
        inherited = _defined(home.module, base.id) if isinstance(base, ast.Name) else None
        found |= _fields(inherited, depth + 1) if inherited else {}
    for name, annotation in _annotated(home.node):
        found[name] = _values(annotation, home.module)
    return found


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            hidden = each.target.id.startswith("_") or "ClassVar" in ast.unparse(each.annotation)
            if not hidden and not (each.value and "init=False" in ast.unparse(each.value)):
                yield each.target.id, each.annotation


def _values(annotation: ast.expr | None, module: str, depth: int = 0) -> Values:
    """The values that an annotation allows, where it is a choice or a boolean."""
    if annotation is None or depth > DEEPEST:
        return ()
    if isinstance(annotation, ast.Name):
        return ("true", "false") if annotation.id == "bool" else _of_name(annotation.id, module, depth)
    if isinstance(annotation, ast.BinOp):
        return _values(annotation.left, module, depth + 1) + _values(annotation.right, module, depth + 1)
    if not isinstance(annotation, ast.Subscript):
        return ()
    outer = ast.unparse(annotation.value).rpartition(".")[2]
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if outer == "Literal":
        return tuple(str(each.value) for each in inner if isinstance(each, ast.Constant))
    taken = {"Annotated": inner[:1], "Optional": inner, "Union": inner}.get(outer, [])
    return tuple(value for each in taken for value in _values(each, module, depth + 1))


def _of_name(name: str, module: str, depth: int) -> Values:
    home = _defined(module, name, depth)
    return _values(home.node.value, home.module, depth + 1) if home and isinstance(home.node, ast.Assign) else ()
