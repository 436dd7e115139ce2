"""Plugins that are not installed, regularizers left out, and the list of who answers which hook."""

import json

import pytest

from caelab.cli.main import main
from caelab.hookspecs import CatalogueHooks, TrainingHooks
from caelab.registry.catalogue import catalogue

MINE = """
from dataclasses import dataclass
from caelab import hookimpl

@dataclass(eq=False)
class Mine:
    weight: float

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"my-term": self.weight * encoder_jacobian.squared_norm().mean()}

    @hookimpl
    def after_batch(self, step, terms):
        assert "my-term" in terms

@hookimpl
def register_regularizers(register):
    register("my", Mine)
"""
QUICK = ["--dataset", "digits", "--set", "training.epochs=2", "--set", "model.hidden=[8]"]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A folder of its own with a plugin file, and a catalogue that no other test sees."""
    monkeypatch.chdir(tmp_path)
    for table in ("offers", "answers"):
        monkeypatch.setattr(catalogue(), table, dict(getattr(catalogue(), table)))
    monkeypatch.setattr(catalogue(), "files", [])
    (tmp_path / "my_regularizer.py").write_text(MINE)
    return tmp_path


def call(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def trained(out):
    """The config and the last epoch's metrics of the run that a command told of."""
    from caelab.runs.run import load_run

    run = load_run(out.splitlines()[-1].removeprefix("run: "))
    return run.config, run.metrics[-1]


def test_a_plugin_file_is_mixed_into_a_recipe(capsys):
    status, out, err = call(capsys, "train", "cae", "--plugin", "./my_regularizer.py", "--set", "my.weight=1", *QUICK)
    assert status == 0, err
    config, last = trained(out)
    assert config.regularizers["my"].options == {"weight": 1.0}
    # the recipe's weight is 2 and mine is 1, of one quantity
    assert last["train_my-term"] == pytest.approx(last["train_contractive"] / 2, rel=1e-5)


def test_a_plugin_file_that_is_not_asked_for_changes_nothing(capsys):
    _, plain, _ = call(capsys, "train", "ae", *QUICK, "--out", "plain")
    _, beside, _ = call(capsys, "train", "ae", "--plugin", "my_regularizer.py", *QUICK, "--out", "beside")
    assert trained(plain) == trained(beside)


def test_without_leaves_a_regularizer_out(capsys):
    _, out, _ = call(capsys, "train", "cae-h", "--without", "higher-order-contractive", *QUICK)
    config, last = trained(out)
    assert set(config.regularizers) == {"contractive"}
    assert "train_contractive" in last
    assert not any("higher-order" in name for name in last)


def test_a_recipe_without_its_only_regularizer_is_the_plain_one(capsys):
    _, out, _ = call(capsys, "train", "cae", "--without", "contractive", *QUICK)
    _, plain, _ = call(capsys, "train", "ae", *QUICK)
    assert trained(out)[1] == trained(plain)[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--without", "contractve"], "unknown regularizer of this run 'contractve'; did you mean 'contractive'?"),
        (["--plugin", "my_regularizer.py", "--set", "my.wieght=1"], "did you mean 'weight'?"),
        (["--plugin", "my_regularizer.py", "--set", "my={}"], "my.weight is missing: it has no default"),
        (["--plugin", "my_regularizer.py", "--set", "my=1"], "expected an option, as my.OPTION=VALUE"),
        (["--set", "my.weight=1"], "unknown setting 'my.weight'"),
    ],
)
def test_mistakes_are_named(words, sentence, capsys, alone):
    status, _, err = call(capsys, "train", "cae", *words, *QUICK)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (alone / "runs").exists()


def test_a_plugin_file_that_is_named_twice_is_used_once(capsys):
    rows = hook_rows(capsys, "--plugin", "my_regularizer.py", "--plugin", "./my_regularizer.py")
    assert len([row for row in rows if row["hook"] == "penalty_terms" and row["plugin"] == "my"]) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "bad.py offers nothing to use; add a register_ hook"),
        (MINE.replace("@hookimpl\ndef register", "def register"), "register_regularizers has no @hookimpl"),
        (MINE.replace("register_regularizers", "register_regularizer"), "did you mean 'register_regularizers'?"),
        (MINE + "    raise KeyError('kaboom')\n", "failed in register_regularizers: KeyError: 'kaboom'"),
        ("import sys\nsys.exit('usage: bad.py DATA')", "it calls sys.exit (usage: bad.py DATA)"),
    ],
)
def test_a_file_that_is_no_plugin_is_told_in_one_line(text, sentence, capsys, alone):
    (alone / "bad.py").write_text(text)
    status, _, err = call(capsys, "plugins", "--plugin", "bad.py")
    assert status == 2
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def rows_of(out):
    titles, *rows = [line.split("\t") for line in out.splitlines()]
    return [dict(zip(titles, row, strict=True)) for row in rows]


def hook_rows(capsys, *words):
    status, out, err = call(capsys, "plugins", "--hooks", *words)
    assert status == 0, err
    return rows_of(out)


def test_every_hook_is_listed_in_call_order(capsys):
    listed = list(dict.fromkeys(row["hook"] for row in hook_rows(capsys)))
    assert listed == [name for specs in (CatalogueHooks, TrainingHooks) for name in vars(specs) if name[0] != "_"]


def test_a_hook_names_those_who_answer_it_and_what_they_ask_for(capsys, alone):
    rows = hook_rows(capsys, "--plugin", "my_regularizer.py")
    (mine,) = [row for row in rows if row["hook"] == "penalty_terms" and row["plugin"] == "my"]
    assert mine["asks for"] == "encoder_jacobian"
    assert mine["provider"] == str(alone / "my_regularizer.py")
    (after,) = [row for row in rows if row["hook"] == "after_batch" and row["plugin"] == "my"]
    assert (after["order"], after["plugin"], after["asks for"]) == ("1", "my", "step, terms")
    offering = [row["plugin"] for row in rows if row["hook"] == "register_regularizers"]
    assert offering[0] == "caelab/regularizers"
    assert offering[-1] == str(alone / "my_regularizer.py")
    assert [row["plugin"] for row in rows if row["hook"] == "register_commands"] == ["caelab/analyses"]


def test_the_order_listed_is_the_order_of_a_run(capsys):
    from caelab import recipe_config, train

    listed = [row["plugin"] for row in hook_rows(capsys) if row["hook"] == "penalty_terms"]
    mixed = [
        "contractive.weight=1",
        "weight-decay.weight=1",
        "sparse-l1.weight=1",
        "reconstruction-contractive.weight=1",
    ]
    lines = []
    small = ["training.epochs=1", "model.hidden=[8]", *mixed]
    train(recipe_config("ae", small, dataset={"kind": "digits", "splits": [100, 20, 20]}), trace=lines.append)
    (told,) = [line for line in lines if line.startswith("penalty_terms")]
    called = told[told.index("[") + 1 : told.index("]")].split(", ")
    assert len(called) == 4
    assert called == [name for name in listed if name in called]


def test_a_regularizer_that_does_not_fit_is_named_and_the_others_are_listed(capsys, alone, caplog):
    (alone / "wrong.py").write_text(MINE.replace("after_batch", "after_bach").replace('"my"', '"misfit"'))
    rows = hook_rows(capsys, "--plugin", "wrong.py")
    assert "misfit" in caplog.text
    assert "after_bach" in caplog.text
    assert "misfit" not in json.dumps(rows)
    assert any(row["plugin"] == "contractive" for row in rows)
