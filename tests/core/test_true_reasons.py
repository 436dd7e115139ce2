"""What is unusual about a place, a pipe, a terminal or a stored table is told as what it is, or makes no difference."""

import os
import shutil
import subprocess
import sys
import threading

import pandas as pd
import pytest

from caelab import CaelabError, load_run, recipe_config, train
from caelab.analysis.base import analyse
from caelab.cli.main import main
from caelab.runs.safe_yaml import MOST, read_yaml
from caelab.runs.settings import parse_setting
from caelab.storage.checksums import checksum

SMALL = ["training.epochs=2", "model.hidden=[3]"]
DATA = {"kind": "digits", "splits": [100, 30, 30]}
CONFIG = recipe_config("ae", SMALL, dataset=DATA)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(CONFIG, out=tmp_path_factory.mktemp("trained")).path


@pytest.fixture
def run(trained, tmp_path):
    return load_run(shutil.copytree(trained, tmp_path / trained.name))


def test_a_folder_whose_name_is_no_text_in_utf_8(tmp_path):
    out = tmp_path / os.fsdecode(b"\xff")
    found = train(CONFIG, out=out)
    assert load_run(found.path).metrics == found.metrics
    assert len(analyse(found, "jacobian_norm")) == len(analyse(found, "jacobian_norm"))


@pytest.mark.parametrize("words", [["train"], ["train", "--config"], ["compare"]])
def test_a_config_may_come_through_a_pipe(words, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(CONFIG.to_yaml(), encoding="utf-8"))
    writer.start()
    serial = ["--seeds", "1", "--executor", "serial", "--analyses", "jacobian_norm"] if words == ["compare"] else []
    with pytest.raises(SystemExit) as stopped:
        main([*words, str(pipe), *serial, "--out", str(tmp_path / "out")])
    writer.join()
    assert stopped.value.code == 0, capsys.readouterr().err


def test_many_plain_values_are_not_blamed_on_aliases():
    with pytest.raises(CaelabError, match=f"^it holds more than {MOST} values"):
        read_yaml("[" + ",".join("1" * (MOST + 1)) + "]")


def test_bytes_of_another_encoding_are_told_as_that():
    with pytest.raises(CaelabError, match=r"label=.* holds bytes that are no text in this terminal's encoding \("):
        parse_setting("label=" + "é‖x".encode().decode("ascii", "surrogateescape"))


@pytest.mark.slow
def test_a_terminal_without_signs_is_named_as_the_reason():
    surroundings = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["train", "cae", "--set", "label=é‖x"]
    call = [sys.executable, "-c", "from caelab.cli.main import main; main()", *words]
    told = subprocess.run(call, capture_output=True, env=surroundings)
    assert told.returncode == 2
    assert b"terminal's encoding (ascii)" in told.stderr


def a_file(tables):
    tables.write_text("mine", encoding="utf-8")


def a_dangling_link(tables):
    tables.symlink_to(tables.parent / "nowhere" / "at" / "all")


@pytest.mark.parametrize("put", [a_file, a_dangling_link])
def test_what_lies_in_place_of_the_tables_stays_and_nothing_is_stored(put, run, tmp_path, caplog):
    put(run.path / "tables")
    found = analyse(run, "jacobian_norm")
    assert "what is measured is not stored with the run" in caplog.text
    assert found.equals(analyse(run, "jacobian_norm"))
    assert not (run.path / "tables").is_dir()


def test_a_folder_in_place_of_a_table_that_holds_something_stays(run, caplog):
    right = analyse(run, "jacobian_norm")
    (table,) = run.path.glob("tables/*.parquet")
    table.unlink()
    table.mkdir()
    (table / "mine").write_text("x", encoding="utf-8")
    assert analyse(run, "jacobian_norm").equals(right)
    assert "what is measured is not stored with the run" in caplog.text
    assert (table / "mine").is_file()


def test_a_stored_table_of_another_shape_is_named_with_what_to_delete(run, tmp_path, capsys):
    words = ["analyse", "jacobian_norm", "--run", str(run.path), "--out", str(tmp_path / "out")]
    analyse(run, "jacobian_norm")
    (table,) = run.path.glob("tables/*.parquet")
    pd.DataFrame({"other": [1.0]}).to_parquet(table)
    table.with_suffix(".sha256").write_text(checksum(table.read_bytes()), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert f"delete {table} to measure it again" in capsys.readouterr().err
    table.unlink()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
