"""Walks in pieces: every example once, in order, bounded, and told to whoever listens."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from caelab import progress
from caelab.analysis.base import analyse
from caelab.analysis.pieces import in_pieces, listening, titled
from caelab.cli.progress import ExampleProgress
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab_analyses.shared.float64 import leading_tangents, singular_values


def run_of_encoder(encode, inputs):
    dataset = make_dataset("given", Samples(inputs.numpy()))
    return Run(recipe_config("ae", label="mine"), EncoderOnly(encode).eval(), dataset, [], {})


@pytest.fixture
def told():
    found = []
    with listening(lambda *each: found.append(each)), titled("mine"):
        yield found


@pytest.mark.parametrize(("count", "most"), [(7, 6), (7, 1), (7, 1000), (6, 6), (1, 1)])
def test_every_example_comes_once_in_order_and_no_piece_is_too_large(count, most):
    inputs = torch.arange(3.0 * count).reshape(count, 3)
    pieces = list(in_pieces(inputs, most))
    assert torch.equal(torch.cat(pieces), inputs)
    assert all(piece.numel() <= max(most, 3) for piece in pieces)


def test_a_listener_hears_of_each_piece_after_it_was_dealt_with(told):
    for piece in in_pieces(torch.arange(5.0)[:, None].expand(5, 3), most=6):
        assert told[-1] == ("mine", int(piece[0, 0]), 5)
    assert [done for _, done, _ in told] == [0, 2, 4, 5]


def test_a_walk_of_one_piece_is_not_told(told):
    list(in_pieces(torch.zeros(5, 3)))
    assert told == []


def test_no_one_hears_behind_the_block(told):
    with listening(lambda *_: pytest.fail("the inner listener is gone")):
        pass
    list(in_pieces(torch.zeros(2, 3), most=1))
    assert len(told) == 3


def test_an_analysis_in_pieces_finds_what_it_finds_at_once(monkeypatch, told):
    run = run_of_encoder(torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh()), torch.rand(90, 6))
    inputs = run.dataset.valid_inputs
    whole = singular_values(run, inputs), *leading_tangents(run, inputs, 2)
    monkeypatch.setattr(in_pieces, "__defaults__", (6,))
    parts = singular_values(run, inputs), *leading_tangents(run, inputs, 2)
    assert len(told) == 2 * (len(inputs) + 1)
    torch.testing.assert_close(parts[:2], whole[:2], rtol=1e-10, atol=0)
    torch.testing.assert_close(parts[2].abs(), whole[2].abs(), rtol=1e-8, atol=1e-9)


def test_the_core_gives_a_walk_the_name_of_its_analysis(monkeypatch):
    monkeypatch.setattr(in_pieces, "__defaults__", (6,))
    found = []
    run = run_of_encoder(torch.nn.Linear(6, 4), torch.rand(90, 6))
    with listening(lambda title, *_: found.append(title)):
        analyse(run, "jacobian_spectrum")
    assert set(found) == {f"jacobian_spectrum of {run.label}"}


@pytest.fixture
def clock(monkeypatch):
    times = iter(np.arange(0.0, 1000.0, 6.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))


def on_paper(monkeypatch, terminal):
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=terminal, width=200, highlight=False, color_system=None)
    monkeypatch.setattr(progress, "console", console)
    return paper


@pytest.mark.usefixtures("clock")
def test_lines_say_how_long_it_will_take_and_come_seldom(monkeypatch):
    """An example takes 6 s: told after the first, then where 10 s have passed."""
    paper = on_paper(monkeypatch, terminal=False)
    with ExampleProgress() as shown:
        for done in range(6):
            shown.show("[red]tangents[/red] of mine", done, 5)
    lines = paper.getvalue().splitlines()
    assert lines[0] == "[1/5] [red]tangents[/red] of mine, about 24 s left"
    assert [line[:5] for line in lines] == ["[1/5]", "[3/5]", "[5/5]"]


def test_a_terminal_gets_a_bar(monkeypatch):
    paper = on_paper(monkeypatch, terminal=True)
    with ExampleProgress() as shown:
        shown.show("tangents of mine", 0, 2)
        shown.show("tangents of mine", 2, 2)
    assert "tangents of mine" in paper.getvalue()
    assert "2/2" in paper.getvalue()


def test_a_short_walk_says_nothing_where_there_is_no_terminal(monkeypatch):
    paper = on_paper(monkeypatch, terminal=False)
    with ExampleProgress() as shown:
        shown.show("quick", 0, 2)
        shown.show("quick", 2, 2)
    assert paper.getvalue() == ""
