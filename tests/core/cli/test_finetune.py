"""The command ``caelab finetune``."""

import pytest
from click.testing import CliRunner

import caelab
from caelab import CaelabError, load_classifier
from caelab.cli.main import cli
from caelab.runs.recipes import recipe_config


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    data = {"kind": "digits", "splits": [200, 60, 100]}
    config = recipe_config("cae", ["training.epochs=1", "model.hidden=[12]"], dataset=data)
    return caelab.train(config, out=tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def call(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words, target=stored):
        return CliRunner().invoke(cli, ["finetune", str(target), *words], catch_exceptions=False)

    return run


def test_it_tells_the_best_epoch_and_where_the_classifier_is(call, tmp_path):
    done = call("--set", "epochs=3", "--set", "schedule.kind=cosine")
    assert done.exit_code == 0
    best, place = done.stdout.splitlines()
    folder = tmp_path / place.removeprefix("classifier: ")
    made = load_classifier(folder)
    assert folder.parent == tmp_path / "classifiers"
    assert made.config.schedule.kind == "cosine"
    assert f"valid_error {made.error():.4g}" in best
    assert "epoch 3, validation error" in done.stderr
    assert call("--set", "epochs=3", "--set", "schedule.kind=cosine").stdout == done.stdout


def test_test_examples_are_looked_at_when_asked(call):
    done = call("--method", "nearest-neighbours", "--set", "features=inputs", "--labels", "50", "--test")
    made = load_classifier(done.stdout.splitlines()[-1].removeprefix("classifier: "))
    assert made.record["labels"] == 50
    assert f"test_error {made.error('test'):.4g}\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "magic"], "unknown method 'magic'"),
        (["--set", "epochs=0.5"], r"fine-tuning\.epochs: input should be a valid integer"),
        (["--set", "labels=3"], "expected labels as --labels 3"),
        (["--labels", "900"], "at most 200 labels"),
        (["--set", "tangents=13", "--set", "tangent_weight=1"], "at most 12 tangents"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(call, tmp_path, words, told):
    with pytest.raises(CaelabError, match=told):
        call(*words)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_no_run(call, tmp_path):
    with pytest.raises(CaelabError, match="is not a run"):
        call(target=tmp_path / "nothing")


def test_a_folder_of_something_else_is_not_written_to(call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(CaelabError, match="holds files that caelab did not make"):
        call("--out", "out")
