"""A plugin that raises stops its run with one sentence, whichever hook it raises in."""

import functools
import re

import pytest

from caelab import CaelabError, hookimpl, train
from caelab.cli.main import main
from caelab.hookspecs import TrainingHooks
from caelab.registry.catalogue import catalogue

HOOKS = [name for name in vars(TrainingHooks) if not name.startswith("_")]
OUTSIDE_EPOCHS = ("before_training", "after_training")


def failing(hook):
    """A plugin that answers one hook, by dividing by zero."""

    def answer(self):
        return 1 / 0

    answer.__name__ = hook
    return type("Failing", (), {hook: hookimpl(answer)})()


@pytest.mark.parametrize("hook", HOOKS)
def test_the_sentence_names_plugin_hook_epoch_and_error(hook, small):
    where = hook if hook in OUTSIDE_EPOCHS else f"{hook} at epoch 1"
    sentence = f"^plugin 'mine' failed in {where}: ZeroDivisionError: division by zero$"
    with pytest.raises(CaelabError, match=sentence) as told:
        train(small("ae"), observers={"mine": failing(hook)})
    assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_the_one_that_raises_is_named_among_others(small):
    with pytest.raises(CaelabError, match=r"^plugin 'mine' failed in penalty_terms"):
        train(small("cae", "weight-decay.weight=0.1"), observers={"mine": failing("penalty_terms")})


class Sensitive:
    """One class, of which some instances raise."""

    def __init__(self, fails):
        self.fails = fails

    @hookimpl
    def before_update(self, step):
        if self.fails and step == 2:
            raise KeyError("lost")


@pytest.mark.parametrize("guilty", ["left", "middle", "right"])
def test_instances_of_one_class_are_told_apart(guilty, small):
    instances = {name: Sensitive(name == guilty) for name in ("left", "middle", "right")}
    with pytest.raises(CaelabError, match=f"plugin '{guilty}' failed in before_update at epoch 1: KeyError: 'lost'"):
        train(small("ae"), observers=instances)


def test_a_wrapped_hook_is_named_all_the_same(small):
    def noted(function):
        @functools.wraps(function)
        def wrapper(self, epoch):
            return function(self, epoch)

        return wrapper

    class Wrapped:
        @hookimpl
        @noted
        def before_epoch(self, epoch):
            raise RuntimeError("inside")

    with pytest.raises(CaelabError, match="plugin 'mine' failed in before_epoch at epoch 1: RuntimeError: inside"):
        train(small("ae"), observers={"mine": Wrapped()})


def test_the_command_line_says_it_in_one_line_and_keeps_no_run(tmp_path, capsys, monkeypatch, digits_file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from caelab import hookimpl\n"
        "class Mine:\n"
        "    @hookimpl\n"
        "    def penalty_terms(self, epoch):\n"
        "        assert epoch < 2, 'too late'\n"
        "        return {}\n"
        "@hookimpl\n"
        "def register_regularizers(register):\n"
        "    register('failing-late', Mine)\n"
    )
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))  # so that other tests do not see the plugin
    words = f"train ae --plugin mine.py --set failing-late={{}} --set dataset.kind=npz:{digits_file}"
    quick = ["--set", "dataset.splits=[40,10,10]", "--set", "training.epochs=3", "--set", "model.hidden=[8]"]
    with pytest.raises(SystemExit) as stopped:
        main([*words.split(), *quick])
    assert stopped.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not re.match(r"\[\d+/\d+\]", line)]
    assert said == ["error: plugin 'failing-late' failed in penalty_terms at epoch 2: AssertionError: too late"]
    assert not list(tmp_path.glob("runs/ae-*"))


def test_a_run_that_fails_in_its_first_epoch_leaves_nothing_behind(small, tmp_path):
    with pytest.raises(CaelabError):
        train(small("ae", "training.learning_rate=1e30"), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
