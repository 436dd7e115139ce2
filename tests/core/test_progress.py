"""The progress display of Python calls: where it is shown, that it changes nothing, and what it leaves."""

import io
import os
import pty
import subprocess
import sys

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from rich.console import Console

import caelab
from caelab import progress
from caelab.analysis.base import by_itself
from caelab.errors import CaelabError
from caelab.runs.recipes import recipe_config
from caelab.training.asked import asked_for
from caelab.training.epochs import epochs_shown

SETTINGS = ["training.epochs=3", "model.hidden=[4]", "training.batch_size=20"]
SCRIPT = "from caelab.progress import display\nwith display('fold', 2) as advance: advance('first'); advance('second')"


def config_of(recipe="cae"):
    return recipe_config(recipe, SETTINGS, dataset={"kind": "digits", "splits": [80, 40, 40]})


@pytest.fixture
def paper(monkeypatch):
    """What is written on stderr, which is no terminal."""
    found = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=found, force_terminal=False, width=200, highlight=False))
    return found


def in_terminal(**more):
    """What a script writes on a terminal; torch is not loaded for it."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("CI", "TERM", "NO_COLOR")}
    env |= {"TERM": "xterm", "COLUMNS": "120", **more}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, stdout=subprocess.DEVNULL, env=env) as running:
        os.close(theirs)
        found = b""
        try:
            while part := os.read(ours, 4096):
                found += part
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    assert running.returncode == 0
    return found.decode()


def test_a_terminal_gets_a_bar():
    told = in_terminal()
    assert "fold: second" in told
    assert "2/2" in told


@pytest.mark.parametrize("more", [{"CI": "true"}, {"TERM": "dumb"}])
def test_a_log_of_ci_and_a_terminal_without_a_cursor_get_nothing(more):
    assert in_terminal(**more) == ""


def test_a_pipe_gets_nothing():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_python_calls_write_nothing_where_nobody_watches(capfd, tmp_path):
    caelab.train(config_of())
    caelab.Study([config_of()], 1, {}, tmp_path).run(executor="serial")
    assert capfd.readouterr() == ("", "")


def test_lines_are_written_where_they_are_asked_for(paper, tmp_path):
    caelab.train(config_of(), progress=True)
    lines = paper.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"[{n}/3] epoch {n}" for n in (1, 2, 3)]
    paper.truncate(0)
    caelab.Study([config_of()], 2, {}, tmp_path).run(executor="serial", progress=True)
    assert [line.strip("\0")[:5] for line in paper.getvalue().splitlines()] == ["[1/2]", "[2/2]"]


def test_a_study_file_tells_its_function_and_shows_lines(paper, tmp_path):
    told = []
    study = {"models": ["ae"], "datasets": ["digits"], "seeds": 1, "analyses": {"jacobian_norm": {}}}
    study |= {"set": {"training.epochs": 1, "model.hidden": [3]}, "out": str(tmp_path / "out")}
    caelab.run_study(study, executor="serial", progress=True, done=told.append)
    assert len(told) == 1
    assert paper.getvalue() == f"[1/1] {told[0]}\n"


@pytest.mark.parametrize("wrong", ["yes", 1, 0.5, []])
def test_anything_else_is_refused_in_a_sentence(wrong, tmp_path):
    expected = "expected progress as True .shown., False .hidden. or None .* but .* came"
    with pytest.raises(CaelabError, match=expected):
        caelab.train(config_of(), progress=wrong)
    with pytest.raises(CaelabError, match=expected):
        caelab.Study([config_of()], 1, {}, tmp_path).run(progress=wrong)
    with pytest.raises(CaelabError, match=expected):
        caelab.run_study({"models": ["ae"]}, out=tmp_path, progress=wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", ["cae", "dae-g"])
def test_a_display_changes_neither_the_run_nor_its_name(recipe, paper, tmp_path):
    """The second run is trained in another folder, so that it is not the first one read back."""
    hidden = caelab.train(config_of(recipe), out=tmp_path / "hidden", progress=False)
    shown = caelab.train(config_of(recipe), out=tmp_path / "shown", progress=True)
    assert paper.getvalue().count("\n") == 3
    assert shown.path.name == hidden.path.name
    assert shown.history.equals(hidden.history)
    for name, value in hidden.model.state_dict().items():
        assert torch.equal(shown.model.state_dict()[name], value)


def test_a_run_that_is_there_shows_nothing(paper, tmp_path):
    caelab.train(config_of(), out=tmp_path)
    caelab.train(config_of(), out=tmp_path, progress=True)
    assert paper.getvalue() == ""


def test_the_layers_of_a_stack_count_on(paper):
    settings = [*SETTINGS, "model.hidden=[4,3]", "pretraining=greedy"]
    config = recipe_config("ae", settings, dataset={"kind": "digits", "splits": [80, 40, 40]})
    caelab.train(config, progress=True)
    assert [line.partition("]")[0] for line in paper.getvalue().splitlines()] == [f"[{n}/6" for n in range(1, 7)]


def test_within_another_display_nothing_is_shown(paper):
    with progress.display("folds", 1, True) as advance:
        caelab.train(config_of(), progress=True)
        advance("fold 1")
    assert paper.getvalue() == "[1/1] fold 1\n"
    with progress.display("folds", 1, True) as advance:
        advance("after an inner one ended")
    assert len(paper.getvalue().splitlines()) == 2


def test_an_analysis_that_trains_shows_no_progress_of_its_own(paper):
    with by_itself("mine"):
        caelab.train(config_of(), progress=True)
    assert paper.getvalue() == ""


def test_fine_tuning_shows_its_epochs_and_other_methods_nothing(paper):
    run = caelab.train(config_of())
    caelab.finetune(run, epochs=2, progress=True)
    assert [line.partition(",")[0] for line in paper.getvalue().splitlines()] == ["[1/2] epoch 1", "[2/2] epoch 2"]
    caelab.finetune(run, method="nearest-neighbours", progress=True)
    assert paper.getvalue().count("\n") == 2


def test_an_error_gives_the_screen_back(paper):
    with pytest.raises(ZeroDivisionError), progress.display("folds", 1, True):
        raise ZeroDivisionError
    with progress.display("folds", 1, True) as advance:
        advance("next")
    assert paper.getvalue() == "[1/1] next\n"


def test_nothing_watches_where_nothing_is_shown():
    """No observer is added, so that workers train as fast as ever."""
    asked = asked_for(config_of())
    for hidden in (None, False):
        with epochs_shown(asked, hidden) as same:
            assert same is asked


def test_a_python_without_stderr_trains(monkeypatch):
    """As under ``pythonw`` on Windows."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress.display("fold", 1) as advance:
        advance("1")


BEGINNING = f"""
import warnings; warnings.simplefilter("ignore")
import caelab
from caelab.runs.recipes import recipe_config
config = recipe_config("cae", {SETTINGS}, dataset={{"kind": "digits", "splits": [80, 40, 40]}}).with_label("<b>mine")
run = caelab.train(config)
"""
CELLS = [
    BEGINNING,
    "_ = caelab.Study([config], 2, {}, 'runs').run(executor='serial')",
    "_ = caelab.train(config, progress=False)",
    """
from caelab import progress
progress.EVERY = 0
told = []
kept = progress.Cell._show
progress.Cell._show = lambda self, *given, **more: (told.append(given), kept(self, *given, **more))
_ = caelab.train(config)
assert [count for _, count in told] == [0, 1, 2, 3, None], told
try:
    with progress.display("fold", 3) as advance:
        advance("first")
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
""",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each cell leaves, in a kernel that is a process of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(notebook, timeout=None, resources=place).execute()
    return [[each for each in cell.outputs if each.output_type == "display_data"] for cell in notebook.cells]


def test_a_notebook_keeps_one_line_of_each_display(outputs):
    ((first,), (second,), hidden, (third, stopped)) = outputs
    assert first.data["text/plain"].startswith("<b>mine: 3 of 3 in ")
    assert "; epoch 3, validation reconstruction " in first.data["text/plain"]
    assert second.data["text/plain"].startswith("runs: 2 of 2 in ")
    assert hidden == []
    assert third.data["text/plain"].startswith("<b>mine: 3 of 3 in ")
    assert stopped.data["text/plain"].startswith("fold: stopped at 1 of 3 in ")


def test_what_stays_is_a_line_without_a_bar_in_which_names_are_escaped(outputs):
    for cell in outputs:
        for each in cell:
            assert "<progress" not in each.data["text/html"]
            assert "<b>" not in each.data["text/html"]
            assert "\n" not in each.data["text/plain"]
    assert "&lt;b&gt;mine: 3 of 3" in outputs[0][0].data["text/html"]
