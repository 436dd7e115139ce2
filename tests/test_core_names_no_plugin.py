"""The core names no built-in plugin: no analysis, column, recipe, regularizer or claim stands in its code as a text."""

import ast
import re
from functools import cache
from pathlib import Path

from caelab.analysis.contract import columns_of
from caelab.hookspecs import CatalogueHooks
from caelab.registry.catalogue import catalogue

CORE = Path(__file__).parents[1] / "caelab"
KINDS = ("analysis", "recipe", "regularizer", "claim", "published", "tracker", "study", "estimator")
PACKAGES = ("caelab_analyses", "caelab_regularizers", "caelab_trackers")
ENTRIES = ("caelab/analyses", "caelab/regularizers", "caelab/trackers")

ORDINARY = {"inputs"}  # a recipe's name that is the field's plain word, and an argument of most functions

ALLOWED = {
    "moved.py": PACKAGES[:2],  # where modules that moved stand today, so that earlier imports work
    "registry/code_fingerprints.py": PACKAGES,  # caelab's own packages, whose version stands for their code
    "models/__init__.py": ("rbm", "pca"),  # the core's own models, which recipes of the same names train
    "report/tables.py": ("table1", "table2"),  # the files of a comparison; two studies are called so, too
    "testing/penalty/functions.py": ("ae",),  # how the model may be called in a function's parameters
    "testing/mistakes/known.py": ("reconstruction error",),  # the field's term, in sentences
    "training/loop.py": ("reconstruction error",),
    "runs/conventions.py": ("reconstruction error",),
    "testing/penalty/settings.py": ("random",),  # weights that a check starts from, and Python's module of that name
    "testing/penalty/conduct.py": ("random",),
    "testing/penalty/corruption.py": ("random",),
    "testing/penalty/gradients.py": ("random",),
    "testing/penalty/reduction.py": ("random",),
    "data/rectangles.py": ("samples",),  # an option of data sets that are generated
    "data/convexity.py": ("samples",),
    "analysis/plotting.py": ("curves",),  # a function that draws them; a study is called so, too
    "runs/keywords.py": ("ae",),  # the recipe that ``caelab.recipe()`` begins from
}


@cache
def built_in():
    """``{text: what it names}``."""
    offers = [(kind, name) for (kind, name), offer in catalogue().offers.items() if offer.provider in ENTRIES]
    analyses = [name for kind, name in offers if kind == "analysis"]
    columns = [(f"column of {name}", column.name) for name in analyses for column in columns_of([name])]
    found = {name: kind for kind, name in [*columns, *offers] if kind in KINDS or kind.startswith("column")}
    return {name: kind for name, kind in found.items() if name not in ORDINARY}


def texts(tree):
    """The constant texts of a file, but for docstrings."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, holders) and node.body]
    docstrings = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def named(path, names, allowed=()):
    """The lines of a file that name a built-in plugin, or one of the packages that hold them."""
    for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
        found = {text} & {*names} | {package for package in PACKAGES if package in text} | within(text, names)
        if found - {*allowed} and not {*PACKAGES} & found & {*allowed}:
            yield f"{path.name}:{line}: {text!r} names {', '.join(sorted(found))}"


def within(text, names):
    """The names that stand in a sentence: those that no ordinary word is, as ``ae-wd`` or ``mean norm``."""
    marked = (name for name in names if re.search("[_ -]", name) and "*" not in name)
    return {name for name in marked if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)}


def test_there_is_something_to_look_for():
    kinds = [kind for kind in built_in().values() if not kind.startswith("column")]
    assert {*kinds} == {*KINDS}
    assert len(built_in()) > 60


def test_no_file_of_the_core_names_a_built_in_plugin():
    places = {path.relative_to(CORE).as_posix(): path for path in CORE.rglob("*.py")}
    assert len(places) > 100
    for place in places:
        assert not [*named(places[place], built_in(), ALLOWED.get(place, ()))]


def test_no_exception_is_left_over():
    for place, allowed in ALLOWED.items():
        found = [text for _, text in texts(ast.parse((CORE / place).read_text(encoding="utf-8")))]
        assert all(any(each in text for text in found) for each in allowed), place


def test_a_name_would_be_found(tmp_path):
    path = tmp_path / "new.py"
    path.write_text(
        '"""jacobian_norm"""\nLIST = ["jacobian_norm", "cae"]\nLATER = "caelab_analyses.filters:draw"\n'
        'SENTENCE = f"as in: compare {LIST} ae-wd"\n'
    )
    assert len([*named(path, built_in())]) == 4


def test_every_kind_that_plugins_offer_by_name_is_looked_for_or_the_cores_own():
    own = {"register_models", "register_datasets", "register_executors", "register_commands"}
    offered = {hook for hook in vars(CatalogueHooks) if hook.startswith("register_")} - own
    plurals = {"analysis": "analyses", "study": "studies", "published": "published"}
    assert offered <= {f"register_{plurals.get(kind, kind + 's')}" for kind in KINDS}
