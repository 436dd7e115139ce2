"""Several processes on one folder: each ends well, and what they leave is whole."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from caelab import load_run
from caelab.report.store import load_comparison
from caelab.storage.checked_files import RECORD

SETTINGS = ["--set", "training.epochs=3", "--set", "model.hidden=[4]"]


@pytest.fixture
def data(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((60, 5)).astype("float32"))
    return ["--dataset", f"npz:{tmp_path / 'x.npz'}", *SETTINGS]


def together(*commands):
    """Start them at once; what each said, and that each ended well."""
    call = [sys.executable, "-c", "from caelab.cli.main import main; main()"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*call, *map(str, words)], **pipes) for words in commands]
    told = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * len(started), told
    return told


@pytest.mark.slow
def test_three_that_train_one_run_leave_one_run(data, tmp_path):
    out = tmp_path / "runs"
    told = together(*[["train", "ae", *data, "--out", out]] * 3)
    (folder,) = out.iterdir()
    assert load_run(folder).path == folder
    assert all(said.endswith(f"run: {folder}\n") for said, _ in told)
    assert {path.name for path in folder.iterdir()} == {RECORD, "weights.safetensors", "history.parquet"}


@pytest.mark.slow
def test_two_comparisons_in_one_folder_leave_one_of_them_whole(data, tmp_path):
    out = tmp_path / "out"
    how = [*data, "--seeds", "2", "--executor", "serial", "--analyses", "jacobian_norm", "--out", out]
    together(["compare", "ae", *how], ["compare", "ae", "ae-wd", *how])
    comparison = load_comparison(out)
    models = list(dict.fromkeys(comparison.rows["model"]))
    assert models in (["ae"], ["ae", "ae-wd"])
    assert [config["label"] for config in comparison.configs] == models
    assert list(pd.read_csv(out / "summary.csv")["model"]) == models
    assert comparison.command.split()[2 : 2 + len(models)] == models
    assert not list(out.rglob(".partial*"))
    assert len(list((out / "runs").iterdir())) == 4
