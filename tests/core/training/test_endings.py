"""Whatever ends the program from inside a hook ends the run with a sentence that names the plugin."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from caelab import CaelabError, hookimpl, train
from caelab.analysis.base import drawn
from caelab.cli.main import main
from caelab.errors import StorageError
from caelab.process.exits import held_open, listening
from caelab.registry.catalogue import Offer, catalogue


def doing(hook, what):
    def answer(self):
        what()

    answer.__name__ = hook
    return type("Doing", (), {hook: hookimpl(answer)})()


def raising(error):
    raise error


@pytest.fixture
def interruptible():
    """Where tests run in the background, SIGINT is ignored; and a library may have left a handler of its own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


ENDINGS = {
    r"os.kill\(\d+, 9\)": lambda: os.kill(os.getpid(), 9),
    r"os.kill\(\d+, .*SIGTERM.*\)": lambda: os.kill(os.getpid(), signal.SIGTERM),
    r"os.killpg\(\d+, 9\)": lambda: os.killpg(os.getpgid(0), 9),
    r"signal.raise_signal\(.*SIGSEGV.*\)": lambda: signal.raise_signal(signal.SIGSEGV),
    r"os.execv\('/bin/true', \['true'\]\)": lambda: os.execv("/bin/true", ["true"]),
    r"os.execv\(.*\)": lambda: os.execl("/bin/true", "true"),
    r"os.execve\(.*\)": lambda: os.execvpe("true", ["true"], {}),
    "GeneratorExit": lambda: raising(GeneratorExit()),
}


@pytest.mark.parametrize("said", ENDINGS)
@pytest.mark.parametrize("hook", ["before_training", "penalty_terms"])
def test_the_plugin_is_named(hook, said, small):
    with pytest.raises(CaelabError, match=rf"^plugin 'mine' in {hook}.* ends the whole program with {said}; raise"):
        train(small("ae"), observers={"mine": doing(hook, ENDINGS[said])})


def test_what_ends_nothing_is_done():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        with held_open():
            os.kill(os.getpid(), 0)
            os.kill(os.getpid(), signal.SIGWINCH)
            os.kill(os.getpid(), signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR1)
            child = subprocess.Popen(["sleep", "60"])
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [1, 1]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_nobody_gave_is_the_plugins(small):
    with (
        listening(),
        pytest.raises(
            CaelabError, match=r"^plugin 'mine' in before_training ends the whole program with KeyboardInterr"
        ),
    ):
        train(small("ae"), observers={"mine": doing("before_training", lambda: raising(KeyboardInterrupt()))})


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_of_the_user_is_none_of_a_plugins(small):
    press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    with listening(), pytest.raises(KeyboardInterrupt):
        train(small("ae"), observers={"mine": doing("before_training", press)})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_an_analysis_is_named_too(error, monkeypatch):
    thing = SimpleNamespace(measure=len, draw=lambda table: raising(error))
    monkeypatch.setitem(catalogue().offers, ("analysis", "odd"), Offer("analysis", "odd", "test", thing))
    with (
        listening(),
        pytest.raises(CaelabError, match=f"'odd' could not be drawn: it raises {type(error).__name__}, which ends"),
    ):
        drawn("odd", pd.DataFrame())


def test_a_sentence_of_a_plugin_gets_its_name(small):
    ours = CaelabError("the weight must be smaller")
    with pytest.raises(CaelabError, match=r"^plugin 'mine' in before_epoch at epoch 1: the weight must be smaller$"):
        train(small("ae"), observers={"mine": doing("before_epoch", lambda: raising(ours))})
    named = CaelabError("plugin 'mine' has no weight")
    with pytest.raises(CaelabError, match=r"^plugin 'mine' has no weight$"):
        train(small("ae"), observers={"mine": doing("before_epoch", lambda: raising(named))})
    with pytest.raises(StorageError) as told:
        train(small("ae"), observers={"mine": doing("before_epoch", lambda: raising(StorageError("full", 28)))})
    assert told.value.errno == 28


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 2, "error: code that is not caelab's raises KeyboardInterrupt"),
        (GeneratorExit("x"), 2, "error: this is a mistake in caelab: GeneratorExit: x"),
    ],
)
def test_the_command_line_tells_what_nobody_else_told(error, status, said, monkeypatch, capsys):
    monkeypatch.setattr("caelab.cli.commands.train._asked_config", lambda *_: raising(error))
    with pytest.raises(SystemExit) as stopped:
        main(["train", "cae"])
    assert stopped.value.code == status
    assert re.match(said, capsys.readouterr().err.strip())


C_EXIT = """
import ctypes, os, sys
from caelab import hookimpl, recipe_config, train
from caelab.process.exits import held_open

class Mine:
    @hookimpl
    def before_epoch(self):
        ctypes.CDLL(None).exit(0)

with held_open():
    for end in (lambda: os._exit(7), lambda: sys.exit(7), lambda: ctypes.CDLL(None).exit(7)):
        child = os.fork()
        if not child:
            end()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
if "train" in sys.argv:
    data = {"kind": "digits", "splits": [20, 10, 10]}
    train(recipe_config("ae", ["model.hidden=[3]"], dataset=data), observers={"mine": Mine()})
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["train"], 2, "error: plugin 'mine' in before_epoch ends the whole program with exit of the C library; raise"),
        ([], 0, ""),
    ],
)
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "__cxa_finalize"), reason="this C library cannot call back")
def test_exit_of_the_c_library_is_told_and_a_child_or_an_ordinary_end_is_not(words, status, said):
    quiet = {**os.environ, "PYTHONWARNDEFAULTENCODING": ""}  # of what libraries do
    ended = subprocess.run([sys.executable, "-c", C_EXIT, *words], env=quiet, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == bool(said)
