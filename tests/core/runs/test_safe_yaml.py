"""YAML that others wrote: sound texts as PyYAML reads them, hostile ones refused in one sentence."""

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from caelab.cli.main import main
from caelab.errors import CaelabError
from caelab.runs.config import load_config
from caelab.runs.recipes import recipe_config
from caelab.runs.safe_yaml import DEEPEST, LARGEST, MOST, read_yaml
from caelab.runs.settings import parse_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))


@settings(max_examples=20, deadline=None)
@given(PLAIN)
def test_what_pyyaml_writes_is_read_back(value):
    assert read_yaml(yaml.safe_dump(value)) == yaml.safe_load(yaml.safe_dump(value))
    assert read_yaml(yaml.safe_dump(value).encode()) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_may_say_its_encoding_by_its_first_bytes(encoding):
    assert read_yaml("label: été".encode(encoding)) == {"label": "été"}


def test_anchors_aliases_and_merges_of_usual_size_are_read():
    text = "base: &base {epochs: 3, batch_size: 10}\none: *base\ntwo: {<<: *base, epochs: 5}\n"
    assert read_yaml(text)["two"] == {"epochs": 5, "batch_size": 10}
    assert read_yaml("") is None


def laughs(levels, repeats=9):
    """Lists of aliases of lists of aliases: repeats ** levels values in a few lines."""
    lines = ["a0: &a0 x"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * repeats)}]")
    return "\n".join(lines)


def merging(levels):
    """Each mapping merges all that come before it."""
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}], k{level}: 1}}")
    return "\n".join(lines)


HOSTILE = {
    "a billion laughs": (laughs(9), f"unfold to more than {MOST} values"),
    "laughs in merges": (merging(9), f"unfold to more than {MOST} values"),
    "laughs in keys": ("a: &a [1, 1]\n? [*a, *a]\n: 1", "unhashable"),
    "an alias of itself in a list": ("a: &a [*a]", "stands inside what it names"),
    "an alias of itself in a mapping": ("&a {label: *a}", "stands inside what it names"),
    "an alias of itself in a merge": ("a: &a {<<: *a}", "stands inside what it names"),
    "an alias of nothing": ("a: *b", "undefined alias"),
    "open lists": ("[" * 500, f"more than {DEEPEST} deep"),
    "closed lists": ("[" * 500 + "]" * 500, f"more than {DEEPEST} deep"),
    "mappings in a line": ("{a: " * 5000 + "1" + "}" * 5000, f"more than {DEEPEST} deep"),
    "mappings line by line": ("\n".join(" " * level + "a:" for level in range(500)), f"more than {DEEPEST} deep"),
    "lists line by line": ("- " * 5000 + "1", f"more than {DEEPEST} deep"),
    "keys of keys": ("? " * 5000 + "1", f"more than {DEEPEST} deep"),
    "a great length": ("#" * (LARGEST + 1), f"longer than {LARGEST} bytes"),
    "a long number": ("seed: " + "1" * 5000, "4300 digits"),
    "a date that is none": ("seed: 2001-99-99", "month must be in 1..12"),
    "a float that is none": ("seed: !!float abc", "could not convert"),
    "an integer that is none": ("seed: !!int abc", "invalid literal"),
    "a call of Python": ("seed: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "a name of Python": ("seed: !!python/name:os.system", "could not determine a constructor"),
    "a module of Python": ("seed: !!python/module:os", "could not determine a constructor"),
    "a new object": ("seed: !!python/object/new:os.system [a]", "could not determine a constructor"),
    "a tag of one's own": ("seed: !mine 3", "could not determine a constructor"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "a key twice": ("a: 1\na: 2", "the key 'a' stands twice"),
    "a list as a key": ("? [a]\n: b", "unhashable"),
    "a tabulator": ("a:\n\tb: 1", "cannot start any token"),
    "a zero byte": ("a: \0", "special characters are not allowed"),
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_refused_in_one_sentence_as_file_and_as_setting(text, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was run"))
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    for read in (lambda: load_config(tmp_path / "x.yaml"), lambda: parse_value(text)):
        with pytest.raises(CaelabError) as caught:
            read()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"label: \xe9", b"\x80", b"\0\0\0", b"\x1f\x8b\x08"])
def test_bytes_that_are_no_text_are_refused(content, tmp_path):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(CaelabError, match="is not YAML"):
        load_config(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "content", ["3", "[1, 2]", "text", "", "1: 2", "null", "? null\n: 3", "true: 1", "2001-01-01: 1"]
)
def test_what_is_no_mapping_of_words_is_refused(content, tmp_path):
    (tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(CaelabError) as caught:
        load_config(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_long_value_is_quoted_in_short(tmp_path):
    raw = {**recipe_config("ae").as_dict(), "seed": ["x" * 50] * 100}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(
        CaelabError, match=r"seed: input should be a valid integer, but \['xxx.* \.\.\. .*\] came"
    ) as caught:
        load_config(tmp_path / "x.yaml")
    assert len(str(caught.value)) < 500


def test_the_command_line_ends_in_one_sentence(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(laughs(12), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(tmp_path / "x.yaml")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'x.yaml'} is not YAML")
