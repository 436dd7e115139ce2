"""Completion: what may stand at each place, that nothing heavy is imported for it, and three real shells."""

import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pexpect
import pytest
from click.shell_completion import ShellComplete

from caelab.classifiers.options import METHODS
from caelab.cli.commands import completion as command
from caelab.cli.completion import names
from caelab.cli.completion.settings import config_keys, methods, options_of, values_of
from caelab.cli.completion.shells import SHELLS, answer
from caelab.cli.main import cli, main
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.registry.source_options import fields_in_source, options_in_source
from caelab.runs.recipes import recipe_config

BIN = Path(sys.executable).parent


def words(line, shell=ShellComplete):
    """What click's own interface finds for the last word of a line."""
    *args, last = line.split(" ")
    return [item.value for item in shell(cli, {}, "caelab", "_CAELAB_COMPLETE").get_completions(args, last)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a run, a comparison, a study, and files of several kinds."""
    for file in ("runs/cae-1/run.json", "runs/ae-2/run.json", "compare/comparison.json", "old/study.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    for file in ("data.npz", "study.yaml", "plugin.py", ".hidden.yaml"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


KINDS = {
    "trai": ["train"],
    "train ca": ["cae", "cae-2", "cae-h", "cae-h-2"],
    "train st": ["study.yaml"],
    "compare ae cae dae-": ["dae-b", "dae-b-3", "dae-g"],
    "compare --dataset mnist-r": ["mnist-rot"],
    "train cae --dataset np": ["npy:", "npz:"],
    "train cae --dataset npz:d": ["npz:data.npz"],
    "train cae --dataset npz:o": ["npz:old/"],
    "train cae --without ": ["contractive"],
    "train cae --device ": ["cpu", "cuda"],
    "train cae --set contractive.w": ["contractive.weight=", "contractive.warmup="],
    "train cae --set dataset.standardise=": ["dataset.standardise=true", "dataset.standardise=false"],
    "data digits --set mi": ["minmax="],
    "train cae --set training.reconstruction=": [
        "training.reconstruction=cross-entropy",
        "training.reconstruction=squared-error",
    ],
    "train cae --set model.tied=": ["model.tied=true", "model.tied=false"],
    "train cae --set model.activation=soft": [
        f"model.activation={name}" for name in ("softplus", "softsign", "softshrink")
    ],
    "train ae --set masking.p": ["masking.p="],
    "train ae --set model.kind=rb": ["model.kind=rbm"],
    "train ae --dataset npz:x --set dataset.pa": ["dataset.path="],
    "train ae --set dataset.path=da": ["dataset.path=data.npz"],
    "compare ae --grid training.optimizer=adam,s": ["training.optimizer=adam,sgd"],
    "compare --analyses jacobian_norm,tangents,tan": [
        "jacobian_norm,tangents,tangent_classifier",
    ],
    "compare --executor da": ["dask"],
    "compare --executor dask --executor-option addr": ["address="],
    "compare --track ten": ["tensorboard:"],
    "analyse jacobian_norm tangent": ["tangent_classifier", "tangents"],
    "analyse tangents --run c": ["compare/"],
    "analyse tangents --run runs/c": ["runs/cae-1"],
    "analyse jacobian_norm --set ": ["jacobian_norm.examples="],
    "finetune ": ["compare/", "old/", "runs/", "runs/ae-2", "runs/cae-1"],
    "finetune runs/cae-1 --method s": ["svm-rbf"],
    "finetune runs/cae-1 --method svm-rbf --set features=": ["features=code", "features=inputs"],
    "figures co": ["compare"],
    "report ": ["compare", "old/", "runs/"],
    "study status ": ["compare/", "old", "runs/", "study.yaml"],
    "study ru": ["run"],
    "reproduce table1-": ["table1-fashion"],
    "reproduce table1 --scale ": ["smoke", "quick", "paper"],
    "data mnist-bg-img-": ["mnist-bg-img-rot"],
    "data mnist-rot --set so": ["source="],
    "check contractiv": ["contractive"],
    "check contractive --set ": ["weight="],
    "convert-weight 1 --penalty rifai": ["rifai-2012"],
    "new re": ["regularizer"],
    "completion ": ["bash", "zsh", "fish"],
    "train --plugin pl": ["plugin.py"],
    "bridge --dataset dig": ["digits"],
    "train nonsense --set nonsense=": [],
    "train cae --set nonsense.": [],
}


@pytest.mark.parametrize("line", KINDS)
def test_what_may_stand_at_a_place(line, place):
    assert words(line) == KINDS[line]


@pytest.mark.parametrize("shell", SHELLS.values())
def test_an_option_and_its_value_are_one_word_for_a_shell(shell):
    assert words("train cae --dataset=dig", shell) == ["--dataset=digits"]
    assert words("train ae --set=pretrai", shell) == ["--set=pretraining="]
    assert words("nonsense ", shell) == []


@pytest.mark.parametrize("name", ["cae", "dae-g", "cae-2", "sae-pair", "rbm"])
def test_every_key_of_a_recipes_config_is_offered(name):
    """The keys are read from sources; the config comes from the plugins as they are imported."""

    def leaves(block, path=""):
        for key, value in block.items():
            is_block = isinstance(value, dict) and value
            yield from leaves(value, f"{path}{key}.") if is_block else [f"{path}{key}"]

    plain = recipe_config(name).as_dict()
    regularizers = plain.pop("regularizers")
    layers = plain.pop("layers", None)
    made = {*leaves(plain), *(key for key in leaves(regularizers) if not key.endswith(".kind"))}
    assert made <= {*config_keys([name], None, [])} | ({"layers"} if layers else set())


def test_values_that_are_offered_are_taken():
    keys = config_keys(["cae"], "digits", [])
    for key in [key for key, values in keys.items() if values and not key.startswith(("dataset", "model.kind"))]:
        for value in keys[key]:
            more = ["training.weight_decay=0.1"] if value == "adamw" else []
            more += ["training.patience=3"] if key == "training.better" else []
            if key not in ("training.schedule.kind", "model"):
                recipe_config("cae", [f"{key}={value}", *more])


@pytest.mark.parametrize("kind", ["regularizer", "dataset", "model", "analysis", "executor"])
def test_options_in_sources_are_those_of_what_is_imported(kind):
    skip, told = GIVEN_BY_CORE.get(kind, ()), 0
    for offer in [offer for offer in catalogue() if offer.kind == kind and isinstance(offer.thing, str)]:
        thing = offer.load()
        parts = [part for key in ("measure", "compare") if callable(part := getattr(thing, key, None))] or [thing]
        fields = {key: values_of(p.annotation) for part in parts for key, p in option_fields(part, skip).items()}
        read = {key: values for key, values in options_in_source(offer.thing).items() if key not in skip}
        assert read in (fields, {}), offer
        told += read == fields
    assert told > 1


def test_methods_in_sources_are_those_that_there_are():
    assert methods() == [*METHODS]
    for name, model in METHODS.items():
        (read,) = [
            each for each in fields_in_source("caelab.classifiers.options").values() if each.get("method") == (name,)
        ]
        assert {*read} == {*model.model_fields}


def test_what_is_offered_as_an_object_has_options_too():
    class Mine:
        def __init__(self, weight: float, sign: bool = True) -> None: ...

    catalogue().add("mine", type("Plugin", (), {}))
    offers = catalogue().offers
    offers["regularizer", "mine"] = type(next(iter(offers.values())))("regularizer", "mine", "mine", Mine)
    try:
        assert options_of("regularizer", "mine") == {"weight": (), "sign": ("true", "false")}
        assert "train ae --set mine.sign=true" in [f"train ae --set {w}" for w in words("train ae --set mine.sign=")]
    finally:
        del offers["regularizer", "mine"]


def test_nothing_heavy_is_imported_and_every_line_is_answered(place):
    """Every line of the table in one process, which never loads torch."""
    script = (
        "import sys, json; from click.shell_completion import ShellComplete; from caelab.cli.main import cli\n"
        "for line in json.load(sys.stdin):\n"
        "    *args, last = line.split(' ')\n"
        "    ShellComplete(cli, {}, 'caelab', 'X').get_completions(args, last)\n"
        "    assert not {'torch', 'pandas', 'matplotlib'} & {*sys.modules}, line\n"
    )
    lines = str([*KINDS, "train --track x:y cae --set "]).replace("'", '"')
    done = subprocess.run([sys.executable, "-c", script], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def asked(line, **more):
    env = {**os.environ, "COMP_LINE": line, "COMP_WORD": "", "_CAELAB_COMPLETE": "bash_complete", **more}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "caelab"], env=env, capture_output=True, text=True, check=False
    )


def test_a_command_line_asks_through_the_environment():
    done = asked("caelab train --device ")
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,cpu\nplain,cuda\n", "")


def test_bash_is_told_the_part_of_a_word_that_it_knows(monkeypatch):
    def told(line, word):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_WORD", word)
        return SHELLS["bash"](cli, {}, "caelab", "X").complete()

    assert told("caelab train cae --set training.device=", "") == "plain,cpu\nplain,cuda"
    assert told("caelab train cae --set training.device=cu", "cu") == "plain,cuda"
    assert told("caelab train cae --set 'training.device=cu", "training.device=cu") == "plain,training.device=cuda"
    assert told("caelab train cae --set =", "") == ""


@pytest.mark.parametrize("wrong", ["tcsh_complete", "bash_nonsense", "bash"])
def test_another_question_has_no_answer(wrong, capsys):
    assert answer(cli, wrong) == 1
    assert capsys.readouterr() == ("", "")


def test_whatever_fails_says_nothing(monkeypatch, capsys, caplog):
    def failing(context, begun):
        print("printed")
        print("printed", file=sys.stderr)
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("caelab").warning("logged")
        raise SystemExit("ended")

    monkeypatch.setitem(names.COMPLETERS, "recipe", failing)
    monkeypatch.setenv("COMP_LINE", "caelab train ")
    kept = logging.root.manager.disable
    try:
        assert answer(cli, "bash_complete") == 0
    finally:
        logging.disable(kept)
    assert capsys.readouterr() == ("\n", "")
    monkeypatch.delenv("COMP_LINE")
    try:
        assert answer(cli, "bash_complete") == 0
    finally:
        logging.disable(kept)
    assert capsys.readouterr() == ("\n", "")


@pytest.mark.parametrize("shell", ["tcsh", "Bash", ""])
def test_another_shell_is_refused_in_a_sentence(shell, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["completion", shell])
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert all(name in told for name in SHELLS) or "did you mean 'bash'" in told


def test_no_shell_is_asked_for(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["completion"])
    assert stopped.value.code == 2
    assert "bash, zsh or fish" in capsys.readouterr().err


def test_the_command_knows_every_shell():
    assert {*command.SHELLS} == {*SHELLS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("shell")
    for file in ("my runs/cae 1/run.json", "data.npz"):
        (found / file).parent.mkdir(parents=True, exist_ok=True)
        (found / file).touch()
    return found


BEGIN = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(caelab completion bash)"'),
    "zsh": (["-f", "-i"], 'bindkey -e; autoload -U compinit; compinit -u -D; eval "$(caelab completion zsh)"'),
    "fish": (["--no-config", "-i"], "caelab completion fish | source"),
}


@pytest.fixture(scope="module", params=BEGIN)
def shell(request, folder):
    """A shell on a terminal, which has read the script; nothing waits for a time."""
    options, first = BEGIN[request.param]
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"{request.param} is not installed")
    env = {key: value for key, value in os.environ.items() if key not in ("ENV", "BASH_ENV", "ZDOTDIR", "COLUMNS")}
    env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    size = (40, 400)  # a line never wraps
    running = pexpect.spawn(path, options, cwd=str(folder), env=env, timeout=None, dimensions=size, encoding="utf-8")
    running.sendline(f"{first}; echo rea''dy")
    running.expect("ready")
    yield running
    running.close(force=True)


TYPED = {
    "caelab trai\t": ["caelab", "train"],
    "caelab train cae --set contractive.we\t0.3": ["caelab", "train", "cae", "--set", "contractive.weight=0.3"],
    "caelab train cae --set training.optimizer=sg\t": ["caelab", "train", "cae", "--set", "training.optimizer=sgd"],
    "caelab compare --analyses filters,recons\t": ["caelab", "compare", "--analyses", "filters,reconstructions"],
    "caelab train ae --dataset npz:da\t": ["caelab", "train", "ae", "--dataset", "npz:data.npz"],
    "caelab train --dataset=digi\t": ["caelab", "train", "--dataset=digits"],
    "caelab finetune my\\ runs/c\t": ["caelab", "finetune", "my runs/cae 1"],
}


@pytest.mark.parametrize("typed", TYPED, ids=str.strip)
def test_a_real_shell_completes(typed, shell):
    """The line is turned into one that prints its words, by going to its beginning."""
    shell.send(f"{typed}\x01printf '<%s>' \x05; echo en''d\r")
    shell.expect("<caelab>.*?end")
    assert [word.split(">")[0] for word in shell.after.split("<")[1:]] == TYPED[typed]


def test_options_are_completed_by_click_itself():
    assert "--print-config" in words("train --print")
    with pytest.raises(CaelabError):
        cli.resolve_command(cli.make_context("caelab", [], resilient_parsing=True), ["nonsense"])
