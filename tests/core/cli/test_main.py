import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from caelab.cli.main import main
from caelab.registry.catalogue import catalogue
from caelab.runs.recipes import recipe_config


def run(capsys, *words):
    """Exit status, output and errors of one command line."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_a_file_is_trained_as_it_is_compared(capsys, tmp_path, monkeypatch):
    """``train mine.yaml`` is ``train --config mine.yaml``."""
    monkeypatch.chdir(tmp_path)
    config = recipe_config("ae", ["training.epochs=1", "model.hidden=[3]"], dataset="digits")
    (tmp_path / "mine.yaml").write_text(config.to_yaml(), encoding="utf-8")
    paths = [run(capsys, "train", *words)[1].splitlines()[-1] for words in (["mine.yaml"], ["--config", "mine.yaml"])]
    assert paths[0] == paths[1]
    assert paths[0].startswith("run: runs/ae-")
    assert "epochs: 7" in run(capsys, "train", "mine.yaml", "--set", "training.epochs=7", "--print-config")[1]


def test_help_names_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for command in ("compare", "train", "analyse", "figures", "report", "plugins", "data"):
        assert command in out


@pytest.mark.parametrize("words", [["--help"], ["comprae"], ["train", "caee"], ["compare", "--hlep"]])
def test_help_and_mistakes_import_no_torch(words):
    script = "from caelab.cli.main import *\ntry: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if words == ["--help"] else 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["comprae"], "unknown command 'comprae'; did you mean 'compare'?"),
        (["train", "caee"], "unknown recipe 'caee'; did you mean 'cae'?"),
        (["train"], "give either a recipe"),
        (["train", "cae", "--set", "contractive.weight=-1"], "greater than or equal to 0, but -1"),
        (["train", "cae", "--set", "contractve.weight=1"], "did you mean 'contractive.weight'"),
        (["train", "cae", "--dataset", "mnist5"], "did you mean 'mnist5k'?"),
        (["train", "cae", "--dataset", "idx:/nowhere"], "/nowhere"),
        (["train", "cae", "--plugin", "/nowhere.py"], "no Python file at /nowhere.py"),
        (["train", "--config", "/nowhere.yaml"], "no config file at /nowhere.yaml"),
        (["train", "/nowhere.yaml"], "no config file at /nowhere.yaml"),
        (["train", "cae", "--config", "x.yaml"], "give either a recipe"),
        (["train", "cae", "--dataset", ""], "dataset: expected the name of a dataset, but an empty text came"),
        (["compare", "cae", "--dataset", ""], "but an empty text came"),
        (["train", "cae", "--set", "dataset.kind="], "dataset.kind"),
        (["train", ""], "unknown recipe ''"),
        (["train", "cae", "--device", ""], "device"),
        (["compare", "cae", "--device", ""], "device"),
        (["analyse", "filters", "--encoder", "x:y", "--dataset", ""], "give either --run FOLDER"),
        (["compare", "cae", "caee"], "unknown recipe 'caee'"),
        (["compare", "ae", "--grid", "contractive.weight=1,2"], "has the setting 'contractive.weight'"),
        (["compare", "ae", "--grid", "contractive.weight"], "expected KEY=VALUE,VALUE"),
        (["compare", "ae", "--analyses", "jacobian_nrom"], "did you mean 'jacobian_norm'?"),
        (["compare", "ae", "--seeds", "0"], "0 is not in the range"),
        (["compare", "ae", "ae"], "two models of this comparison are called 'ae'"),
        (["figures", "/nowhere"], "/nowhere holds no finished comparison"),
        (["report", "/nowhere"], "/nowhere holds no finished comparison"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_status_2(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *words)
    assert status == 2
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_no_mistake_of_caelab(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "runs"
    small = ["--dataset", "digits", "--set", "training.epochs=1", "--set", "model.hidden=[4]"]
    status, _, err = run(capsys, "train", "ae", *small, "--out", str(place))
    assert status == 2
    told = err.splitlines()[-1]
    assert told.startswith(f"error: {tmp_path / 'file'}")
    assert "cannot be used: Not a directory" in told


SMALL = ["--dataset", "digits", "--set", "training.epochs=1", "--set", "model.hidden=[4]"]


@pytest.mark.parametrize("out", ["thesis", "thesis/chapter.tex", "thesis/chapter.tex/runs"])
def test_train_writes_into_no_place_of_someone_else_and_says_so_at_once(out, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("caelab.training.Trainer.fit", lambda self: pytest.fail("trained first"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    status, _, err = run(capsys, "train", "ae", *SMALL, "--out", out)
    assert status == 2
    assert "holds files that caelab did not make, as chapter.tex" in err or "cannot be used: Not a directory" in err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_train_goes_on_in_a_folder_of_runs_whatever_else_was_put_there(capsys, tmp_path):
    for recipe in ("ae", "ae-wd"):
        status, _, err = run(capsys, "train", recipe, *SMALL, "--out", str(tmp_path / "runs"))
        assert status == 0, err
        (tmp_path / "runs" / "notes.txt").write_text("mine")


@pytest.mark.parametrize("file", ["run.json", "weights.safetensors", "history.parquet"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:20]), lambda path: path.unlink()])
def test_a_damaged_run_says_what_to_delete_and_then_trains_anew(file, damage, capsys, tmp_path):
    words = ["train", "ae", *SMALL, "--out", str(tmp_path)]
    run(capsys, *words)
    (folder,) = tmp_path.iterdir()
    damage(folder / file)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert f"the run {folder} is damaged" in err
    assert err.endswith(f"delete {folder} to train it again\n")
    shutil.rmtree(folder)
    assert run(capsys, *words)[0] == 0


def test_a_resumed_run_counts_the_epochs_that_are_there(capsys, monkeypatch):
    from caelab.progress import console
    from caelab.training.epochs import EpochProgress

    monkeypatch.setattr(console, "_file", sys.stderr)
    with EpochProgress(recipe_config("ae", ["training.epochs=5"])) as progress:
        progress.after_epoch(4, {"valid_reconstruction": 1.0})
    assert "[4/5] epoch 4" in capsys.readouterr().err


def test_a_comparison_is_refused_before_it_writes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--executor", "foo"], ["--device", "cuda:99"]):
        status, _, err = run(capsys, "compare", "ae", *SMALL, "--seeds", "1", *words, "--out", "out")
        assert status == 2
        assert "unknown executor 'foo'" in err or "device 'cuda:99' cannot be used here" in err
    assert list(tmp_path.iterdir()) == []


FAILING = """
from types import SimpleNamespace
from caelab import hookimpl

@hookimpl
def register_analyses(register):
    register("failing", SimpleNamespace(measure=lambda run, streams: 1 / 0, draw=None.__class__))
"""


def test_a_comparison_of_which_no_analysis_worked_ends_in_an_error(capsys, tmp_path, monkeypatch):
    for table in ("offers", "answers"):
        monkeypatch.setattr(catalogue(), table, dict(getattr(catalogue(), table)))
    monkeypatch.setattr(catalogue(), "files", [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FAILING)
    words = ["--seeds", "1", "--executor", "serial", "--plugin", "mine.py", "--out", "out"]
    status, out, err = run(capsys, "compare", "ae", *SMALL, "--analyses", "failing, failing", *words)
    assert status == 2
    assert err.endswith("error: none of the analyses worked (failing); the lines above say why\n")
    assert "ZeroDivisionError" in out
    assert run(capsys, "compare", "ae", *SMALL, "--analyses", "filters, failing", *words)[0] == 0
    assert (tmp_path / "out" / "figures" / "filters.pdf").is_file()
    assert run(capsys, "compare", "ae", *SMALL, "--analyses", "jacobian_norm", *words)[0] == 0
    assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"jacobian_norm"}
    (tmp_path / "out" / "data" / "jacobian_norm.parquet").write_text("damaged")
    _, _, err = run(capsys, "figures", "out")
    assert "holds no finished comparison: data/jacobian_norm.parquet is damaged" in err


def test_debug_shows_caelabs_own_lines_and_no_others(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((40, 20)).astype("float32"))
    (tmp_path / "mine.py").write_text(
        "import torch\ndef encode(x): return torch.stack([x[:, 0] * x[:, 1], x[:, 2]], 1)\n"
    )
    words = ["analyse", "jacobian_spectrum", "--encoder", "mine.py:encode", "--dataset", "npz:x.npz", "--debug"]
    script = [sys.executable, "-c", "from caelab.cli.main import main; main()", *words]
    quiet = {key: value for key, value in os.environ.items() if key != "PYTHONWARNDEFAULTENCODING"}
    done = subprocess.run(script, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = [record for record in done.stderr.splitlines() if record.startswith("DEBUG: ")]
    assert own
    assert len(own) == len(done.stderr.splitlines()), done.stderr
    assert any("MiB in a budget of" in record for record in own)


@pytest.mark.parametrize("words", [["--data", "npz:x.npz"], ["--data=npz:x.npz"]])
def test_an_earlier_name_of_an_option_works_with_a_note(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((40, 4)).astype("float32"))
    (tmp_path / "mine.py").write_text("import torch\nencode = torch.nn.Linear(4, 2)\n")
    status, _, err = run(capsys, "analyse", "jacobian_norm", "--encoder", "mine.py:encode", *words)
    assert status == 0
    assert err.splitlines()[0] == "note: --data is now --dataset"
    assert "--data " not in run(capsys, "analyse", "--help")[1]


def test_an_output_folder_that_is_not_ours_is_refused(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    status, _, err = run(capsys, "compare", "ae", "--out", str(tmp_path))
    assert status == 2
    assert "holds files that caelab did not make" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_print_config_can_be_trained_from(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, text, _ = run(capsys, "train", "cae", "--dataset", "digits", "--set", "training.epochs=1", "--print-config")
    (tmp_path / "my.yaml").write_text(text)
    status, out, _ = run(capsys, "train", "--config", "my.yaml")
    assert status == 0
    assert "run: runs/cae-" in out


def test_plugins_lists_everything_with_options(capsys):
    status, out, _ = run(capsys, "plugins")
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("regularizer\tcontractive\t"))
    assert "weight: float" in line
    assert "\thidden: list[int], activation: Literal['sigmoid', 'tanh', " in out
    assert "FieldInfo" not in out


def test_data_lists_the_data_sets(capsys):
    status, out, _ = run(capsys, "data")
    assert status == 0
    assert "mnist5k" in out
