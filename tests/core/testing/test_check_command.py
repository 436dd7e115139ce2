import re

import pytest

from caelab.cli.main import main
from caelab.registry.catalogue import catalogue

PLUGIN = """
from dataclasses import dataclass
from caelab import hookimpl

@dataclass(eq=False)
class Mine:
    weight: float
    claims = "squared norm of the encoder's Jacobian"

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {{"mine": self.weight * encoder_jacobian.squared_norm().mean(){wrong}}}

@hookimpl
def register_regularizers(register):
    register("{name}", Mine)
"""

SCRIPT = """
def loss(W, h, lam=1.0):
    return lam * ((h * (1 - h)) ** 2 @ W.sum(dim=1) ** 2).mean()
"""


@pytest.fixture(autouse=True)
def forget_files():
    """Plugin files stay in the process's catalogue; the next test starts without them."""
    offers, files = dict(catalogue().offers), list(catalogue().files)
    yield
    catalogue().offers.clear()
    catalogue().offers.update(offers)
    catalogue().files[:] = files


@pytest.fixture
def check(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stopped:
            main(["check", *map(str, words)])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


@pytest.fixture
def written(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def cells(out, name):
    (line,) = (line for line in out.splitlines() if line.startswith(f"{name}\t"))
    return line.split("\t")


def test_an_installed_plugin_passes_with_status_0(check):
    status, out, err = check("contractive")
    assert (status, err) == (0, "")
    assert cells(out, "value: after training")[1] == "passed"
    assert out.splitlines()[0] == "check\tverdict\texpected\tfound\twhat to do"
    assert re.fullmatch(r"contractive: \d+ passed, 4 reported", out.splitlines()[-1])


def test_an_analysis_passes_by_its_name(check):
    status, out, _ = check("jacobian_norm", "--set", "examples=5")
    assert status == 0
    assert cells(out, "table")[1] == "passed"


def test_a_file_still_being_written_passes(check, written):
    status, out, _ = check(written(PLUGIN.format(wrong="", name="mine")), "--set", "weight=0.5")
    assert status == 0
    assert cells(out, "value: after training")[1] == "passed"


def test_a_failed_check_exits_with_status_1_and_names_the_mistake(check, written):
    status, out, err = check(written(PLUGIN.format(wrong=" / 2", name="half")))
    assert status == 1
    assert err == ""
    assert cells(out, "known mistake")[1:4] == ["failed", "squared norm of the encoder's Jacobian", "the factor ½"]
    assert out.splitlines()[1].split("\t")[1] == "failed"


def test_a_claim_on_the_command_line_is_held_against(check):
    status, out, _ = check("weight-decay", "--claims", "squared norm of the encoder's Jacobian")
    assert status == 1
    assert cells(out, "value: identity")[1] == "passed", "of a linear encoder, weight decay is the contractive penalty"
    assert cells(out, "value: after training")[1] == "failed"


def test_a_function_of_a_script_is_checked(check, written):
    status, out, _ = check(f"{written(SCRIPT)}:loss", "--claims", "squared norm of the encoder's Jacobian")
    assert status == 1
    assert cells(out, "known mistake")[3] == "squared sum of weights"


def test_a_function_for_one_activation_passes_where_it_is_asked_to(check, written):
    right = SCRIPT.replace("W.sum(dim=1) ** 2", "(W ** 2).sum(dim=1)")
    place = f"{written(right)}:loss"
    claim = ["--claims", "squared norm of the encoder's Jacobian"]
    status, out, _ = check(place, *claim, "--activations", "sigmoid", "--set", "lam=0.5")
    assert status == 0
    assert "value: tanh" not in out
    status, out, _ = check(place, *claim)
    assert status == 1
    assert cells(out, "known mistake")[3] == "the sigmoid formula on other activations"


def test_an_option_that_a_function_lacks_and_a_parameter_nobody_knows_are_told(check, written):
    place = f"{written(SCRIPT.replace('lam=1.0', 'device'))}:loss"
    assert check(place)[2].endswith("options={'device': VALUE} in Python\n")
    assert "unknown option 'foo'" in check(place, "--set", "device=1", "--set", "foo=3")[2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["contractve"], "unknown regularizer, analysis or claim 'contractve'; did you mean 'contractive'?"),
        (["contractive", "--set", "weigth=1"], "unknown option 'weigth'; did you mean 'weight'?"),
        (["contractive", "--set", "weight=-1"], "contractive.weight: "),
        (["contractive", "--claims", "weight decoy"], "unknown claim 'weight decoy'; did you mean 'weight decay'?"),
        (["jacobian_norm", "--claims", "weight decay"], "expected no known quantity for the analysis 'jacobian_norm'"),
        (["jacobian_norm", "--activations", "sigmoid"], "leave --activations out"),
        (["contractive", "--activations", "sigmiod"], "unknown activation 'sigmiod'; did you mean 'sigmoid'?"),
        (["contractive", "--set", "weight=0"], "a penalty times 0"),
        (["gaussian", "--claims", "weight decay"], "expected a penalty to be 'weight decay'"),
        (["/nowhere.py"], "no Python file at /nowhere.py"),
        (["/nowhere.py:loss"], "no Python file at /nowhere.py"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_ends_in_one_sentence_and_status_2(check, words, sentence):
    status, out, err = check(*words)
    assert status == 2
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


def test_a_file_without_plugins_and_a_missing_function_are_told(check, written):
    path = written(SCRIPT)
    assert "offers no regularizer, no analysis and no claim; add register_regularizers" in check(path)[2]
    assert f"unknown function of {path} 'lsos'; did you mean 'loss'?" in check(f"{path}:lsos")[2]
    assert "fails to import: ZeroDivisionError" in check(f"{written('1 / 0', 'bad.py')}:loss")[2]


def test_a_type_that_says_nothing_asks_for_a_value(check, written):
    text = PLUGIN.format(wrong="", name="mine").replace("weight: float", "weight: float\n    table: dict")
    status, _, err = check(written(text))
    assert status == 2
    assert "no value for mine.table follows from its type; give it with --set table=VALUE" in err
    assert check(written(text), "--set", "table={a: 1}")[0] == 0
    named = text.replace("    claims", '    trial_options = {"table": {"a": 1}}\n    claims', 1)
    assert check(written(named.replace('register("mine"', 'register("other"'), "other.py"))[0] == 0


def test_a_script_that_prints_keeps_the_table_clean(check, written):
    place = f"{written('print(chr(104) + chr(105))' + SCRIPT)}:loss"
    _, out, err = check(place)
    assert out.splitlines()[0].split("\t")[0] == "check"
    assert err.endswith("prints where it is imported, 1 line, the first: 'hi'\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("input('weight? ')", "it asks for input, and nobody answers it here"),
        (
            "open('/nowhere/weights.txt')",
            "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/weights.txt'",
        ),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("import sys; sys.exit(3)", "it calls sys.exit"),
        ("import os; os._exit(3)", "os._exit(3)"),
    ],
)
def test_a_script_that_cannot_be_imported_is_one_sentence(check, written, line, sentence):
    status, _, err = check(f"{written(line + SCRIPT)}:loss")
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
