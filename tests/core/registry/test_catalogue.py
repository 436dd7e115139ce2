import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from caelab import hookimpl
from caelab.errors import CaelabError
from caelab.registry.catalogue import HOOKS, Catalogue, build_catalogue


def offering(name, thing):
    class Plugin:
        @hookimpl
        def register_regularizers(self, register):
            register(name, thing)

    return Plugin()


def entry(name, load):
    return SimpleNamespace(name=name, value=f"{name}:plugin", dist=None, load=load)


def test_two_plugins_that_claim_one_name_are_both_named():
    offers = Catalogue()
    offers.add("first", offering("mine", object))
    with pytest.raises(CaelabError, match=r"'mine' is offered by both 'first' and 'second'"):
        offers.add("second", offering("mine", object))


def test_a_plugin_that_fails_to_import_is_named_and_the_rest_works(caplog):
    def fails():
        raise ImportError("no module named fancy")

    offers = build_catalogue([entry("broken", fails), entry("good", lambda: offering("mine", dict))])
    assert offers.get("regularizer", "mine") is dict
    assert "no module named fancy" in offers.failures["broken"]
    assert "broken" in caplog.text
    with pytest.raises(
        CaelabError, match="left out: plugin 'broken' fails to import: ImportError: no module named fancy"
    ):
        offers.get("regularizer", "theirs")


def test_a_misspelt_hook_is_refused():
    class Plugin:
        @hookimpl
        def register_regularizer(self, register):
            pass

    with pytest.raises(CaelabError, match="register_regularizer"):
        Catalogue().add("misspelt", Plugin())


class Failing:
    @hookimpl
    def register_models(self, register):
        register("half", object)

    @hookimpl
    def register_regularizers(self, register):
        register("whole", object)
        raise KeyError("kaboom")


class Misspelt:
    @hookimpl
    def register_regularizers(self, registr):
        pass


class Unmarked:
    def register_regularizers(self, register):
        pass


class Twice:
    @hookimpl
    def register_models(self, register):
        register("mine", dict)
        register("mine", list)


class Ending:
    def __init__(self, end):
        self.end = end

    @hookimpl
    def register_models(self, register):
        self.end(3)


BAD = [
    (Ending(sys.exit), "plugin 'bad' failed in register_models: it calls sys.exit(3), which ends programs"),
    (
        Ending(lambda status: os._exit(status)),
        "plugin 'bad' failed in register_models: it calls os._exit(3), which ends programs",
    ),
    (Failing(), "plugin 'bad' failed in register_regularizers: KeyError: 'kaboom'"),
    (Misspelt(), "plugin 'bad': unknown argument of register_regularizers 'registr'; did you mean 'register'?"),
    (Unmarked(), "plugin 'bad': register_regularizers has no @hookimpl"),
    (Twice(), "plugin 'bad' offers the model 'mine' twice; give one another name"),
    (offering("good", dict), "the regularizer 'good' is offered by both 'a' and 'bad'"),
]


@pytest.mark.parametrize(("plugin", "sentence"), BAD)
def test_an_installed_plugin_that_fails_is_named_and_left_out_and_the_rest_works(plugin, sentence, caplog):
    good = offering("good", dict)
    offers = build_catalogue(
        [entry("a", lambda: good), entry("bad", lambda: plugin), entry("c", lambda: offering("c", list))]
    )
    assert offers.failures["bad"].startswith(sentence)
    assert sentence in caplog.text
    assert {offer.name for offer in offers} == {"good", "c"}
    assert offers.answers == {"register_regularizers": ["a", "c"]}


@pytest.mark.parametrize(("plugin", "sentence"), BAD)
def test_a_plugin_that_is_asked_for_is_refused_in_one_sentence(plugin, sentence):
    offers = Catalogue()
    offers.add("a", offering("good", dict))
    with pytest.raises(CaelabError) as told:
        offers.add("bad", plugin)
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)


def test_an_installed_plugin_that_ends_the_program_is_left_out():
    def ends():
        raise SystemExit(3)

    offers = build_catalogue([entry("bad", ends), entry("good", lambda: offering("mine", dict))])
    assert "it calls sys.exit (status 3)" in offers.failures["bad"]
    assert offers.names("regularizer") == ["mine"]


BREAKS = """
from caelab import hookimpl

@hookimpl
def register_models(register):
    raise KeyError("kaboom")
"""


def test_a_plugin_that_is_left_out_is_told_once_however_many_processes_there_are(tmp_path):
    installed = tmp_path / "breaks-0.1.dist-info"
    installed.mkdir()
    (tmp_path / "breaks.py").write_text(BREAKS)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: breaks\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text("[caelab]\nbreaks = breaks\n")
    words = "compare ae --dataset digits --seeds 2 --workers 2 --analyses jacobian_norm --set training.epochs=1"
    done = subprocess.run(
        [sys.executable, "-c", "from caelab.cli.main import main\nif __name__ == '__main__': main()", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("left out: plugin 'breaks/breaks' failed in register_models: KeyError: 'kaboom'") == 1


def test_what_caelab_offers_is_taken_first():
    own = SimpleNamespace(
        name="zoo", value="zoo", dist=SimpleNamespace(name="caelab"), load=lambda: offering("mine", dict)
    )
    offers = build_catalogue([entry("a", lambda: offering("mine", list)), own])
    assert offers.get("regularizer", "mine") is dict
    assert "offered by both 'caelab/zoo' and 'a'" in offers.failures["a"]


def test_a_lazy_offer_is_imported_when_asked_for():
    offers = Catalogue()
    offers.add("lazy", offering("path", "pathlib:Path"))
    offers.add("wrong", offering("none", "pathlib:Nothing"))
    from pathlib import Path

    assert offers.get("regularizer", "path") is Path
    with pytest.raises(CaelabError, match=r"'none' of plugin 'wrong' cannot be imported"):
        offers.get("regularizer", "none")


def test_a_plugin_file_is_used_without_installing(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from caelab import hookimpl\n"
        "@dataclass(eq=False)\n"
        "class Mine:\n"
        "    weight: float\n"
        "@hookimpl\n"
        "def register_regularizers(register):\n"
        "    register('mine', Mine)\n"
    )
    offers = Catalogue()
    offers.add_file(file)
    assert offers.get("regularizer", "mine")(weight=1.0).weight == 1.0


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [("none.py", None, "no Python file"), ("bad.py", "1/0", "ZeroDivisionError"), ("bad.txt", "", "ends in .py")],
)
def test_a_file_that_is_no_plugin_is_refused(name, text, sentence, tmp_path):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(CaelabError, match=sentence):
        Catalogue().add_file(file)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a\\b", "<script>", "a&b", "", ".", "..", ".hidden", "a b", "a\nb", "x" * 101, "-x", "x.", 5],
)
def test_a_name_that_is_no_plain_name_is_refused_with_its_plugin(name):
    for kind in HOOKS:
        plugin = SimpleNamespace(**{HOOKS[kind]: hookimpl(lambda register: register(name, None))})
        with pytest.raises(CaelabError, match=r"plugin 'mine' cannot be used: .* is no name for a thing of the kind"):
            Catalogue().add("mine", plugin)


@pytest.mark.parametrize("name", ["runs", "files", "checksum"])
def test_an_analysis_does_not_take_the_name_of_a_file_of_caelab(name):
    plugin = SimpleNamespace(register_analyses=hookimpl(lambda register: register(name, None)))
    with pytest.raises(CaelabError, match=f"'{name}' is taken by caelab itself"):
        Catalogue().add("mine", plugin)


@pytest.mark.parametrize("name", ["ae", "cae-h", "Größe", "a.b", "x_1", "a+b", "7", "x" * 100])
def test_plain_names_are_taken(name):
    offers = Catalogue()
    offers.add("mine", SimpleNamespace(register_analyses=hookimpl(lambda register: register(name, None))))
    assert offers.names("analysis") == [name]
