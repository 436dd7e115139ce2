import ast
import inspect
from itertools import pairwise
from pathlib import Path

import pytest

from caelab import hookspecs
from caelab.hookspecs import CatalogueHooks, TrainingHooks

ROOT = Path(__file__).parents[2]
HOOKS_PAGE = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
MEMBERS = [kind for name, kind in vars(hookspecs).items() if name.endswith("Members")]
NO_MEMBERS = {  # what the core looks for on other things
    "attributes of Python's and of libraries' own objects": {
        "default_image", "device_context", "dist", "dtype", "forward", "func", "function", "get_ipython", "inplace",
        "is_sparse", "isatty", "kernel", "loc", "maxlen", "n_frames", "probs", "sampler",
        "sched_getaffinity", "select_columns", "toarray", "variable",
    },
    "of caelab's mark, and of its own wrappers of models and functions": {
        "caelab_impl", "inner", "note", "options", "sees_corrupted",
    },
}  # fmt: skip


def all_hooks():
    for specs in (CatalogueHooks, TrainingHooks):
        for name, function in vars(specs).items():
            if not name.startswith("_"):
                arguments = [argument for argument in inspect.signature(function).parameters if argument != "self"]
                yield f"{name}({', '.join(arguments)})"


@pytest.mark.parametrize("hook", list(all_hooks()))
def test_hook_is_documented_with_its_signature(hook):
    assert f"### {hook}\n" in HOOKS_PAGE, f"docs/reference/hooks.md lacks a section for {hook}"


def test_the_page_documents_no_hook_that_is_not_there():
    headings = [line.removeprefix("### ") for line in HOOKS_PAGE.splitlines() if line.startswith("### ")]
    assert headings == list(all_hooks())


def test_no_hook_has_a_default():
    for specs in (CatalogueHooks, TrainingHooks):
        for name, function in vars(specs).items():
            if not name.startswith("_"):
                assert all(p.default is p.empty for p in inspect.signature(function).parameters.values()), name


def members(kind):
    """``(name, as the page writes it, what it is)`` of each member."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    for node, after in pairwise([*tree.body, None]):
        if isinstance(node, ast.FunctionDef):
            extra = [f"*{node.args.vararg.arg}"] if node.args.vararg else []
            arguments = [each.arg for each in node.args.args[1:]] + extra
            yield node.name, f"{node.name}({', '.join(arguments)})", ast.get_docstring(node)
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id, node.target.id, after.value.value


def looked_for(path):
    """Constant names that a file looks for on objects: by getattr and hasattr, also in a loop over such names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tuples = {name: texts(node.value) for node in tree.body if isinstance(node, ast.Assign) for name in targets(node)}
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension)]
    by_variable = {
        loop.target.id: texts(loop.iter) or tuples.get(getattr(loop.iter, "id", ""), set())
        for loop in sorted(loops, key=lambda loop: loop.iter.lineno)
        if isinstance(loop.target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if name_of(call.func) in ("getattr", "hasattr", "says", "declared"):
            asked = call.args[:1] if name_of(call.func) == "says" else call.args[1:2]
            for argument in asked if name_of(call.args[0]) != "self" else ():
                yield from texts(argument) or by_variable.get(getattr(argument, "id", ""), set())
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if any(name_of(each) == "runtime_checkable" for each in kind.decorator_list):
            yield from (node.name for node in kind.body if isinstance(node, ast.FunctionDef))


def name_of(node):
    return getattr(node, "id", getattr(node, "attr", ""))


def targets(node):
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def texts(node):
    """The texts that a constant, or a tuple or list of constants, holds."""
    every = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
    return {each.value for each in every if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def looked_for_in_core():
    for path in sorted((ROOT / "caelab").rglob("*.py")):
        if path.name != "hookspecs.py":
            yield from ((name, path.name) for name in looked_for(path) if not name.startswith("_"))


NAMED = {name for kind in MEMBERS for name, _, _ in members(kind)}
HOOKS = {hook.partition("(")[0] for hook in all_hooks()}


def test_the_contract_names_every_member_that_the_core_looks_for():
    new = {each for each in looked_for_in_core() if each[0] not in NAMED | HOOKS | set().union(*NO_MEMBERS.values())}
    assert not new, f"add them to caelab/hookspecs.py and docs/reference/hooks.md: {sorted(new)}"


def test_nothing_is_kept_on_a_list_that_the_core_does_not_look_for():
    found = {name for name, _ in looked_for_in_core()}
    called = {"load_state_dict", "submit"}  # without looking whether it is there
    assert set().union(NAMED, *NO_MEMBERS.values()) - called <= found


def test_a_new_member_would_be_found(tmp_path):
    path = tmp_path / "new.py"
    path.write_text(
        "PAIR = ('third', 'fourth')\n"
        "getattr(type(model), 'first', None)\n"
        "any(hasattr(model, each) for each in ('second',))\n"
        "[getattr(plugin, name) for name in PAIR]\n"
        "subject.says('fifth', False)\n"
        "@runtime_checkable\nclass Layer(Protocol):\n    def sixth(self): ...\n"
    )
    assert {*looked_for(path)} == {"first", "second", "third", "fourth", "fifth", "sixth"}


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_each_member_says_what_it_is_on_its_page(kind):
    rows = [line for line in HOOKS_PAGE.splitlines() if line.startswith("| `")]
    for _, written, text in members(kind):
        assert text.endswith(".")
        assert f"| `{written}` | {text.replace('``', '`')} |" in rows


def test_the_page_lists_no_member_that_is_not_there():
    rows = [line for line in HOOKS_PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len([each for kind in MEMBERS for each in members(kind)])
