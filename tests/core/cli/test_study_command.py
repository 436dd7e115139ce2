"""The command ``caelab study``: what it says, its exit status, and the page that watches."""

import json
import threading
import urllib.error
import urllib.request

import pytest
import yaml

from caelab.cli.main import main
from caelab.cli.watching import LOOPBACK, server

SMALL = {"training.epochs": 1, "model.hidden": [6]}
WILD = {"recipe": "ae", "label": "wild", "set": {"training.learning_rate": 1e12, "training.epochs": 3}}


def study(folder, **keys):
    text = {
        "models": ["ae"], "datasets": [{"kind": "digits", "splits": [60, 30, 30]}], "set": SMALL, "seeds": 2,
        "analyses": ["jacobian_norm"], "out": "out", **keys,
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(text))


def ended(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["study", *words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return end.value.code, said.out, said.err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_plan_to_a_page(here, capsys):
    study(here)
    status, said, _ = ended(capsys, "run", "study.yaml", "--dry-run")
    assert (status, said.splitlines()[0]) == (0, "2 runs: 0 are there, 2 are missing, 0 failed")
    assert "nothing of this study has run yet" in said
    assert not (here / "out").exists()
    status, said, _ = ended(capsys, "run", "study.yaml", "--executor", "serial")
    assert status == 0
    assert "report:   out/report.html" in said
    assert ended(capsys, "status", "out")[1].startswith("2 runs in out: 2 done, 0 done but for an analysis, 0 failed")
    assert ended(capsys, "run", "out", "--dry-run")[1].startswith("2 runs: 2 are there, 0 are missing")
    assert "jacobian_norm: out/results/jacobian_norm.parquet" in ended(capsys, "collect", "study.yaml")[1]


def test_the_exit_status_says_whether_all_succeeded_and_retry_tries_again(here, capsys):
    study(here, models=[WILD, "ae"])
    status, said, trouble = ended(capsys, "run", "study.yaml", "--executor", "serial")
    assert status == 2
    assert "report:" in said
    assert "error: 2 of 4 runs failed, the others are stored: wild, seed 0: training diverged" in trouble
    status, said, _ = ended(capsys, "status", "study.yaml")
    assert status == 0
    assert said.count("\nfailed: wild-") == 2
    status, said, trouble = ended(capsys, "retry", "out", "--executor", "serial")
    assert status == 2
    assert "2 runs are tried again" in said
    assert "as before" not in trouble


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "none.yaml"], "no study file at none.yaml"),
        (["status", "."], ". holds no study"),
        (["merge", "a", "--out", "b"], "at least two folders"),
        (["merge", "a", "b", "--out", "c"], "a holds no study"),
        (["verify", "."], ". holds no study"),
        (["run", "study.yaml", "--executor", "procesess"], "did you mean 'processes'"),
        (["run", "study.yaml", "--executor-option", "adress=x"], "unknown option 'adress'"),
        (["watch", "."], ". holds no study"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(words, sentence, here, capsys):
    study(here)
    status, _, trouble = ended(capsys, *words)
    assert status == 2
    assert sentence in trouble
    assert len(trouble.strip().splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["study.yaml"]


def test_a_folder_takes_neither_smoke_nor_another_folder(here, capsys):
    study(here)
    ended(capsys, "run", "study.yaml", "--executor", "serial")
    assert (
        "--scale smoke makes another study of a study file, but out is a folder"
        in ended(capsys, "run", "out", "--smoke")[2]
    )
    assert "out is the folder of a study already" in ended(capsys, "status", "out", "--out", "other")[2]
    assert [path.name for path in here.iterdir() if path.name != "study.yaml"] == ["out"]


@pytest.fixture
def watched(here, capsys):
    study(here, models=["ae", WILD])
    ended(capsys, "run", "study.yaml", "--executor", "serial")
    with server(here / "out", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{serving.server_port}"
        serving.shutdown()


def test_the_progress_is_served_to_this_machine_only(watched):
    page = urllib.request.urlopen(f"{watched}/").read().decode()
    assert "<title>Progress of out</title>" in page
    found = json.load(urllib.request.urlopen(f"{watched}/status.json"))
    assert (found["runs"], found["finished"]) == (4, 4)
    ae, wild = found["models"]
    assert (ae["done"], ae["failed"], wild["done"], wild["failed"]) == (2, 0, 0, 2)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"{watched}/status.json", headers={"Host": "elsewhere.org:80"}))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{watched}/../study.json")
