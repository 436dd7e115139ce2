"""A run made of someone's own code is another run when that code changes."""

import hashlib

import pytest

from caelab import hookimpl, recipe_config
from caelab.registry.catalogue import Catalogue, catalogue
from caelab.registry.fingerprints import content_of, fingerprints_of, imported_beside
from caelab.study.study import Study

MINE = """
from caelab import hookimpl

class Mine:
    def __init__(self, weight: float):
        self.weight = weight

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": self.weight * code.square().sum()}

@hookimpl
def register_regularizers(register):
    register("mine", Mine)
"""
QUICK = ["training.epochs=1", "model.hidden=[4]", "mine.weight=1"]
DIGITS = {"kind": "digits", "splits": [60, 20, 20]}


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Begin anew with a plugin file, as another process would: ``process(text)``."""
    before = dict(catalogue().offers)

    def begin(text):
        (tmp_path / "mine.py").write_text(text)
        content_of.cache_clear()
        imported_beside.cache_clear()
        more = Catalogue()
        more.add_file(tmp_path / "mine.py")
        monkeypatch.setattr(catalogue(), "offers", {**before, **more.offers})

    return begin


def test_an_edited_plugin_file_trains_anew_and_an_untouched_one_does_not(process, tmp_path):
    found = []
    for text in (MINE, MINE.replace("square", "abs"), MINE):
        process(text)
        study = Study([recipe_config("ae", QUICK, dataset=DIGITS)], [0], {}, tmp_path / "runs")
        (outcome,) = study.run(executor="serial").outcomes
        found.append(outcome.path.name)
    assert found[0] == found[2] != found[1]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_what_this_process_has_in_memory_counts_not_what_the_file_became(process, tmp_path):
    process(MINE)
    config = recipe_config("ae", QUICK)
    before = config.content_hash()
    (tmp_path / "mine.py").write_text("")
    assert config.content_hash() == before


def test_a_plugin_file_that_a_run_does_not_use_changes_nothing(process):
    plain = recipe_config("ae").content_hash()
    process(MINE)
    assert recipe_config("ae").content_hash() == plain


def test_caelabs_own_plugins_do_not_count():
    assert fingerprints_of(recipe_config("cae").in_use()) == {}


class Installed:
    @hookimpl
    def register_regularizers(self, register):
        register("installed", Installed)


def test_an_installed_plugin_counts_with_its_version_and_its_module(monkeypatch):
    more = Catalogue()
    more.add("theirs/penalty", Installed())
    monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
    digests = set()
    for number in ("1.0", "1.1"):
        monkeypatch.setattr("caelab.registry.fingerprints.version", {"theirs": number}.get)
        digests.add(fingerprints_of([("regularizer", "installed")])["regularizer installed"])
    assert len(digests) == 2


def test_the_neighbours_that_a_plugin_file_imports_count(process, tmp_path):
    """Directly, through another neighbour, inside a function, as a package; not what nobody imports."""
    importing = MINE.replace("from caelab", "import torch, near\nfrom folder.inner import thing as _\nfrom caelab", 1)
    files = {
        "near.py": "def late():\n    from far import number\n    return number\n",
        "far.py": "number = 1\n",
        "folder/__init__.py": "",
        "folder/inner.py": "from . import beside\nthing = 1\n",
        "folder/beside.py": "from .deep.more import x\n",
        "folder/deep/__init__.py": "",
        "folder/deep/more.py": "x = 1\n",
        "nobody.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    process(importing)
    config = recipe_config("ae", QUICK)
    hashes = {"": config.content_hash()}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# changed\n")
        process(importing)
        hashes[name] = config.content_hash()
        (tmp_path / name).write_text(text)
    assert hashes.pop("nobody.py") == hashes[""]
    assert len(set(hashes.values())) == len(files)


def test_a_plugin_file_without_neighbours_keeps_its_name(process, tmp_path):
    process(MINE)
    file = hashlib.sha256(MINE.encode()).hexdigest()
    assert fingerprints_of([("regularizer", "mine")])["regularizer mine"] == hashlib.sha256(file.encode()).hexdigest()


def test_two_files_that_import_each_other_are_both_counted(tmp_path):
    (tmp_path / "one.py").write_text("import two")
    (tmp_path / "two.py").write_text("import one, gone")
    assert [file.name for file in imported_beside(str(tmp_path / "one.py"))] == ["two.py"]


def test_of_an_installed_package_only_its_own_modules_count(tmp_path):
    for name, text in {
        "theirs/__init__.py": "import torch\nfrom theirs.part import x",
        "theirs/part.py": "x = 1",
    }.items():
        file = tmp_path / "site-packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "site-packages" / "torch.py").write_text("")
    found = imported_beside(str(tmp_path / "site-packages" / "theirs" / "__init__.py"))
    assert [file.name for file in found] == ["part.py"]


def test_a_file_that_an_option_of_a_model_names_counts_with_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sigmoid").write_text("a file that is called as an option's word")
    plain = recipe_config("ae").content_hash()
    base = recipe_config("ae")
    config = base.model_copy(update={"model": base.model.model_copy(update={"teacher": "w.pt"})})
    hashes = []
    for text in ("one", "two", "one"):
        content_of.cache_clear()
        (tmp_path / "w.pt").write_text(text)
        hashes.append(config.content_hash())
    assert hashes[0] == hashes[2] != hashes[1]
    (tmp_path / "sigmoid").unlink()
    content_of.cache_clear()
    assert recipe_config("ae").content_hash() == plain
