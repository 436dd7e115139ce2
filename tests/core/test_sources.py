"""A run made of someone's own code is another run when that code changes."""

import pytest

from caelab import hookimpl, recipe_config
from caelab.catalogue import Catalogue, catalogue
from caelab.sources import _content, sources_of
from caelab.study import Study

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
        _content.cache_clear()
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
    assert sources_of(recipe_config("cae").in_use()) == {}


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
        monkeypatch.setattr("caelab.sources.version", {"theirs": number}.get)
        digests.add(sources_of([("regularizer", "installed")])["regularizer installed"])
    assert len(digests) == 2
