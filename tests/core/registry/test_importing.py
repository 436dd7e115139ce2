"""Files and names that a user gives."""

import json
import re
import sys

import pytest

from caelab import CaelabError
from caelab.registry.importing import load_file, load_named

DATACLASS = """
from __future__ import annotations
from dataclasses import KW_ONLY, dataclass

@dataclass
class Double:
    _: KW_ONLY
    factor: float = 2.0

    def __call__(self, x):
        return self.factor * x

double = Double()
number = 3
"""


@pytest.fixture(autouse=True)
def everything_is_allowed(monkeypatch):
    monkeypatch.setattr("caelab.registry.importing.refuse_unasked", lambda target, kind: None)
    monkeypatch.setattr("caelab.registry.importing.refuse_elsewhere", lambda target, kind, steps: None)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(DATACLASS)
    return path


def test_a_file_with_a_dataclass_loads_and_hides_no_module_of_its_name(file):
    assert load_named(f"{file}:double", "encoder")(4) == 8
    assert sys.modules["json"] is json


def test_a_changed_file_is_run_anew(file):
    load_file(file)
    file.write_text("number = 4")
    assert load_file(file).number == 4


def test_of_very_many_names_the_nearest_few_are_shown():
    with pytest.raises(CaelabError, match="did you mean 'sigmoid'") as told:
        load_named("torch:sigmod", "encoder")
    shown = str(told.value).partition("Known: ")[2]
    assert "sigmoid" in shown
    assert shown.count(",") == 9
    assert re.search(r" and \d{3,} others$", shown)


def test_a_name_in_a_package():
    assert load_named("math:sqrt", "function")(4) == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sqrt", r"expected package.module:NAME or FILE.py:NAME for the encoder, but 'sqrt' came"),
        ("math:sqr", r"unknown encoder of math 'sqr'; did you mean 'sqrt'\?"),
        ("no_such_module:f", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("/no/such.py:f", "no Python file at /no/such.py"),
        ("{file}:number", "unknown encoder of .*json.py 'number'.* Known: .*double"),
    ],
)
def test_what_is_not_there_is_refused(target, message, file):
    with pytest.raises(CaelabError, match=message):
        load_named(target.format(file=file), "encoder")


@pytest.mark.parametrize(
    ("name", "message"), [("bad.py", "fails to import: ZeroDivisionError"), ("bad.txt", "ends in")]
)
def test_a_file_that_cannot_be_run_is_refused(name, message, tmp_path):
    path = tmp_path / name
    path.write_text("1 / 0")
    with pytest.raises(CaelabError, match=message):
        load_file(path)


def test_a_file_may_import_its_neighbours_as_a_script_does(tmp_path):
    before = list(sys.path)
    for folder, value in (("left", 1), ("right", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neighbour_of_mine.py").write_text(f"q = {value}")
        (tmp_path / folder / "mine.py").write_text("from neighbour_of_mine import q\ndef f(): return q")
    left, right, again = (load_named(f"{tmp_path / folder}/mine.py:f", "f") for folder in ("left", "right", "left"))
    assert (left(), right(), again()) == (1, 2, 1)
    assert sys.path == before


def test_files_of_one_name_are_two_modules(tmp_path):
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("class Mine: pass")
    left, right = (load_file(tmp_path / folder / "mine.py") for folder in ("left", "right"))
    assert sys.modules[left.Mine.__module__] is left
    assert sys.modules[right.Mine.__module__] is right


def test_a_file_of_a_package_may_import_relatively(tmp_path):
    inner = tmp_path / "outer_of_mine" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("name = 'outer'")
    (inner / "__init__.py").write_text("")
    (inner / "helper.py").write_text("q = 3")
    (inner / "mine.py").write_text("from .helper import q\nfrom .. import name\ndef f(): return name, q")
    assert load_named(f"{inner / 'mine.py'}:f", "f")() == ("outer", 3)


ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("data"{})
given = parser.parse_args()
def f(): return given.data
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit('usage: train.py DATA')", r"usage: train.py DATA"),
        ("raise SystemExit", r"status None"),
        (ARGPARSE.format(""), r"mine.py: error: the following arguments are required: data"),
    ],
)
def test_a_file_that_ends_the_program_is_told_in_one_sentence(text, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["caelab", "check", "mine.py"])
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(CaelabError, match=rf"fails to import: ImportError: it calls sys.exit \({reason}\); put what"):
        load_file(tmp_path / "mine.py")
    assert capsys.readouterr() == ("", "")
    assert sys.argv == ["caelab", "check", "mine.py"]


def test_a_file_that_ends_the_process_is_told_too(tmp_path):
    (tmp_path / "mine.py").write_text("import os; os._exit(0)")
    with pytest.raises(CaelabError, match=r"fails to import: ImportError: it calls os._exit\(0\); put what"):
        load_file(tmp_path / "mine.py")


def test_arguments_of_caelab_are_not_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["caelab", "check", "mine.py"])
    (tmp_path / "mine.py").write_text(ARGPARSE.format(", nargs='?', default='digits'"))
    assert load_named(f"{tmp_path}/mine.py:f", "f")() == "digits"


def test_what_a_file_says_is_heard(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("import sys; print('old', file=sys.stderr)")
    load_file(tmp_path / "mine.py")
    assert capsys.readouterr().err == "old\n"
