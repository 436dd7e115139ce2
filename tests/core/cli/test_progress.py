"""Names are shown as they stand, whatever a terminal or a library would make of them."""

import io
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from caelab import progress
from caelab.cli.main import main
from caelab.cli.progress import Steps, table_of
from caelab.errors import reason

NAMES = [
    "[red]cae[/red]",
    "[/nothing]",
    ":skull:",
    "<b>cae</b>",
    "[link=file:///etc/passwd]x[/link]",
    "$$",
    "{x}",
    "%s",
]


@pytest.fixture
def screen(monkeypatch):
    """A terminal, and what was written on it."""
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=True, width=200, highlight=False, color_system=None)
    monkeypatch.setattr(progress, "console", console)
    return console, paper


@pytest.mark.parametrize("name", NAMES)
def test_progress_shows_a_name_as_it_stands(name, screen):
    with Steps(name, 2) as steps:
        steps.step(name)
    assert f"{name}: {name}" in screen[1].getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_progress_show_it_too(name, monkeypatch):
    paper = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=paper, force_terminal=False, width=200, highlight=False))
    with Steps(name, 2) as steps:
        steps.step(name)
    assert paper.getvalue() == f"[1/2] {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_table_shows_it_too(name, screen):
    console, paper = screen
    console.print(table_of(name, [name], [[name]]))
    assert [line.strip() for line in paper.getvalue().splitlines()] == [name] * 3


@pytest.mark.parametrize("name", [*NAMES, "\x1b[2J", "\x9b2J", "\r"])
def test_an_error_shows_it_too(name, capsys):
    with pytest.raises(SystemExit):
        main(["train", name])
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert not {"\x1b", "\x9b", "\r"} & set(told)
    assert name in told or repr(name)[1:-1] in told


def refused(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        allocate()
    return reason(raised.value)


def test_refused_memory_is_told_with_what_was_asked_for():
    """All of them refuse more than the addresses of this machine, so nothing is ever taken."""
    assert refused(lambda: torch.empty(2**55, dtype=torch.float32)) == (
        f"not enough memory: {2**57 / 2**30:.1f} GiB were asked for at once"
    )
    assert refused(lambda: np.empty(2**58, dtype=np.float32)) == "not enough memory: 1.00 EiB were asked for at once"
    assert refused(lambda: pa.allocate_buffer(2**60)).startswith("not enough memory: 1073741824.0 GiB")
    assert refused(lambda: bytearray(sys.maxsize - 64)) == "not enough memory (how much was asked for is not told)"
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total of 2 GiB")
    assert reason(gpu) == "not enough memory: 20.00 GiB were asked for at once"
    assert reason(RuntimeError("shapes\n do not fit")) == "RuntimeError: shapes do not fit"


def test_memory_that_is_refused_in_the_middle_of_a_command_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("caelab.training.train", lambda *_, **__: torch.empty(2**55))
    with pytest.raises(SystemExit) as stopped:
        main(["train", "ae", "--dataset", "digits", "--out", "/nowhere-at-all"])
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "error: not enough memory: 134217728.0 GiB were asked for at once; take fewer examples" in told
