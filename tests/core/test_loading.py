"""Files and names that a user gives."""

import json
import sys

import pytest

from caelab import CaelabError
from caelab.loading import load_file, load_named

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
