import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from caelab import CaelabError, hookimpl, load_run, train
from caelab.errors import DamagedFile, StorageError
from caelab.runs.run import dataset_of
from caelab.storage.checksums import sealed, unsealed
from caelab.storage.files import aside
from caelab.training import run_folder
from caelab.training.checkpoints import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint


class Interrupt:
    """Stops training after an epoch, as a person would."""

    def __init__(self, epoch):
        self.epoch = epoch

    @hookimpl
    def before_epoch(self, epoch):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("settings", [["gaussian.sigma=0.3"], ["masking.p=0.3", "training.patience=2"]])
def test_an_interrupted_run_resumes_to_bit_equal_weights(settings, small, tmp_path):
    config = small("cae", *settings, "training.epochs=5")
    unbroken = train(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"stop": Interrupt(4)})
    assert not any(path for path in tmp_path.iterdir() if not path.name.startswith(".partial"))
    resumed = train(config, out=tmp_path)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.metrics == unbroken.metrics


SCRIPT = """
import sys
from caelab import train, hookimpl
from caelab.runs.config import load_config
class Waits:
    @hookimpl
    def after_epoch(self, epoch):
        print(epoch, flush=True)
        if epoch == 3:
            sys.stdin.read()  # waits for the end that comes from outside
train(load_config(sys.argv[1]), out=sys.argv[2], observers={"waits": Waits()})
"""


def test_a_killed_process_resumes_to_bit_equal_weights(small, tmp_path):
    config = small("dae-g", "training.epochs=6")
    file = tmp_path / "run.yaml"
    file.write_text(config.to_yaml())
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / "runs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    folder = run_folder(tmp_path / "runs", config, dataset_of(config))
    assert not folder.exists()
    assert (aside(folder) / "checkpoint.safetensors").is_file()
    resumed, unbroken = train(config, out=tmp_path / "runs"), train(config)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_saved_run_is_read_back_and_not_trained_again(small, tmp_path):
    config = small("cae")
    first = train(config, out=tmp_path)

    class Never:
        @hookimpl
        def before_training(self):
            raise AssertionError("trained again")

    again = train(config, out=tmp_path, observers={"never": Never()})
    loaded = load_run(first.path)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
        assert torch.equal(value, loaded.model.state_dict()[name])
    assert loaded.metrics == first.metrics
    assert loaded.config == config
    assert sorted(path.name for path in first.path.iterdir()) == ["history.parquet", "run.json", "weights.safetensors"]


def test_a_damaged_run_is_told(small, tmp_path):
    run = train(small("ae"), out=tmp_path)
    (run.path / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(CaelabError, match="is damaged"):
        load_run(run.path)
    with pytest.raises(CaelabError, match="is not a run"):
        load_run(tmp_path)


def test_changed_data_are_told(small, tmp_path):
    run = train(small("ae"), out=tmp_path)
    facts = unsealed((run.path / "run.json").read_text(encoding="utf-8"))
    facts["record"]["data_hash"] = "0" * 64
    (run.path / "run.json").write_text(sealed(facts), encoding="utf-8")
    with pytest.raises(CaelabError, match="have changed"):
        load_run(run.path)


def test_what_a_kill_inside_a_checkpoint_left_is_not_in_the_run(small, tmp_path):
    config = small("ae")
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"stop": Interrupt(3)})
    partial = aside(run_folder(tmp_path, config, dataset_of(config)))
    (partial / ".partial-17-checkpoint.safetensors").write_bytes(b"half")
    (partial / "run").mkdir()
    (partial / "run" / "weights.safetensors").write_bytes(b"half")
    run = train(config, out=tmp_path)
    assert {path.name for path in run.path.iterdir()} == {"history.parquet", "run.json", "weights.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == [run.path.name]


def test_the_checkpoint_that_a_kill_after_the_last_step_left_is_removed(small, tmp_path):
    run = train(small("ae"), out=tmp_path)
    aside(run.path).mkdir()
    (aside(run.path) / "checkpoint.safetensors").write_bytes(b"old")
    train(small("ae"), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [run.path.name]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_files_of_a_run_have_the_rights_of_the_umask(umask, small, tmp_path):
    before = os.umask(umask)
    try:
        run = train(small("ae"), out=tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.path.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]])
def test_a_damaged_checkpoint_is_told_and_training_starts_anew(damage, small, tmp_path, caplog):
    config = small("ae")
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"stop": Interrupt(3)})
    file = aside(run_folder(tmp_path, config, dataset_of(config))) / "checkpoint.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    resumed, unbroken = train(config, out=tmp_path), train(config)
    assert f"the checkpoint {file} is damaged" in caplog.text
    assert "this run is trained from its start" in caplog.text
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_a_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    file = tmp_path / "c.safetensors"
    parts, facts = {"model": {"w": torch.arange(3.0), "n": torch.tensor(3)}, "best": {}}, {"history": [{"epoch": 1.0}]}
    save_checkpoint(file, parts, facts)
    content, unnoticed = file.read_bytes(), 0
    for place in range(0, len(content), 3):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            file.write_bytes(flipped)
            try:
                tensors, told = load_checkpoint(file, parts)
            except DamagedFile:
                continue
            assert told == facts
            assert tensors["model"].keys() == parts["model"].keys()
            assert all(torch.equal(tensors["model"][name], value) for name, value in parts["model"].items())
            unnoticed += 1
    assert unnoticed < len(content) // 50


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path):
    save_file({"model|w": torch.ones(3)}, tmp_path / "c", metadata={"facts": json.dumps({"note": 1})})
    tensors, facts = load_checkpoint(tmp_path / "c", ["model"])
    assert facts == {"note": 1}
    assert torch.equal(tensors["model"]["w"], torch.ones(3))


def test_a_run_from_before_there_were_checksums_is_read(small, tmp_path):
    run = train(small("ae"), out=tmp_path)
    facts = unsealed((run.path / "run.json").read_text(encoding="utf-8"))
    del facts["files"]
    (run.path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert load_run(run.path).metrics == run.metrics


@pytest.mark.parametrize("file", ["weights.safetensors", "history.parquet", "run.json"])
def test_one_flipped_bit_of_a_run_is_noticed(file, small, tmp_path):
    run = train(small("ae"), out=tmp_path)
    content = (run.path / file).read_bytes()
    for place in range(1, len(content), len(content) // 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        (run.path / file).write_bytes(flipped)
        with pytest.raises(CaelabError, match=f"is damaged \\({file}: "):
            load_run(run.path)


def test_a_run_that_the_disk_does_not_give_back_is_not_called_damaged(small, tmp_path, monkeypatch):
    run = train(small("ae"), out=tmp_path)
    for file in ("weights.safetensors", "history.parquet", "run.json"):
        with monkeypatch.context() as patch:
            patch.setattr("io.open", failing_open(file, errno.EACCES))
            with pytest.raises(StorageError, match=f"{file} may not be read") as told:
                load_run(run.path)
            assert "delete" not in str(told.value)


def failing_open(name, number):
    real = io.open

    def opened(file, *args, **kwargs):
        if str(file).endswith(name):
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *args, **kwargs)

    return opened


def test_optimizer_state_survives_the_file(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "c.safetensors", {"optimizer": flatten_optimizer(optimizer)}, {"note": 1.5})
    parts, facts = load_checkpoint(tmp_path / "c.safetensors", ["optimizer"])
    fresh = torch.optim.Adam(model.parameters(), fused=True)
    restore_optimizer(fresh, parts["optimizer"])
    assert facts == {"note": 1.5}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(value, fresh.state_dict()["state"][index][key])


def test_a_truncated_checkpoint_is_told(tmp_path):
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, {"model": {"w": torch.ones(100)}}, {})
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CaelabError, match="damaged"):
        load_checkpoint(file, ["model"])
