"""Texts and their encodings: what is written and read says which, and what is printed needs none in particular."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from caelab import progress
from caelab.cli.main import main
from caelab.cli.signs import in_ascii, print_whatever_comes
from caelab.cli.tables import print_table

ROOT = Path(__file__).parents[2]
ROOMS = ("caelab", "plugins", "analyses", "docs/examples")
SOURCES = sorted(file for room in ROOMS for file in ROOT.glob(f"{room}/**/*.py"))
TEXT = {"open", "read_text", "write_text", "fdopen", "NamedTemporaryFile", "TextIOWrapper"}
OWN = {"read_text", "write_text"}  # as plain functions: caelab's own, which state it inside
BYTES = {"archive.open", "Image.open", "tarfile.open", "os.open", "gzip.open", "webbrowser.open"}
PROCESSES = {"run", "Popen", "check_output", "check_call"}


def without_encoding(tree):
    """The calls that read or write a text and leave its encoding to the surroundings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_of_text(node) and "encoding" not in {word.arg for word in node.keywords}:
            yield ast.unparse(node)


def _is_of_text(call):
    called = ast.unparse(call.func)
    name = called.rpartition(".")[2]
    if name in PROCESSES:
        return any(word.arg in ("text", "universal_newlines") for word in call.keywords)
    constants = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    mode = [
        each.value for each in constants if isinstance(each, ast.Constant) and each.value in ("rb", "wb", "ab", "xb")
    ]
    return name in TEXT and called not in BYTES | OWN and not mode


def test_every_text_that_is_read_or_written_states_its_encoding():
    found = {str(file.relative_to(ROOT)): list(without_encoding(_tree(file))) for file in SOURCES}
    assert len(found) > 100
    assert {file: calls for file, calls in found.items() if calls} == {}


def _tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("path.write_text(text)", 1),
        ("open(path)", 1),
        ("open(path, 'w')", 1),
        ("open(path, 'rb')", 0),
        ("path.open('wb')", 0),
        ("path.open()", 1),
        ("subprocess.run(words, text=True)", 1),
        ("subprocess.run(words)", 0),
        ("study.run(executor='serial')", 0),
    ],
)
def test_what_looks_for_texts_without_an_encoding_finds_them(source, found):
    assert len(list(without_encoding(ast.parse(source)))) == found


def printed(text, encoding, monkeypatch):
    """The bytes that reach a terminal of that encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    print_whatever_comes()
    print(text, end="", flush=True)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "‖J‖² = 3 ± 1, λ → ∂"),
        ("ascii", "||J||^2 = 3 +/- 1, lambda -> d"),
        ("cp1252", "||J||² = 3 ± 1, lambda -> d"),
        ("latin-1", "||J||² = 3 ± 1, lambda -> d"),
        ("cp437", "||J||² = 3 ± 1, lambda -> d"),
    ],
)
def test_signs_that_a_terminal_lacks_are_printed_in_plain_letters(encoding, expected, monkeypatch):
    assert printed("‖J‖² = 3 ± 1, λ → ∂", encoding, monkeypatch) == expected.encode(encoding)


def test_a_file_name_that_is_no_text_is_printed(monkeypatch):
    assert printed("in \udcff\udcfe.npz", "utf-8", monkeypatch) == b"in ??.npz"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_tables_and_bars_are_drawn_on_a_terminal_of_any_encoding(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    print_whatever_comes()
    print_table("‖J‖", ["λ"], [["½ Σ ± ∂"]])
    monkeypatch.setattr(progress, "console", Console(stderr=True))
    with progress.Steps("‖J‖", 2) as steps:
        steps.step("σ")
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert "||J||" in text
    assert "lambda" in text
    assert "sigma" in text


def test_every_sign_of_the_sources_has_plain_letters():
    texts = "".join(file.read_text(encoding="utf-8") for file in SOURCES)
    signs = {sign for sign in texts if ord(sign) > 127}
    assert len(signs) > 50
    assert {sign for sign in signs if not in_ascii(sign).isascii() or in_ascii(sign) == "?"} <= {"語"}


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("ascii", ["plugins"]), ("cp1252", ["plugins"]), ("cp1252", ["plugins", "--hooks"]), ("ascii", ["data"])],
)
def test_a_command_ends_well_on_a_terminal_of_any_encoding(encoding, words, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
    sys.stdout.flush()
    assert raw.getvalue()


def test_a_command_ends_well_in_a_process_without_a_locale():
    bare = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-c", "from caelab.cli.main import main; main(['plugins'])"],
        capture_output=True,
        env={**bare, "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
