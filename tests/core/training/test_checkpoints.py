import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from caelab import CaelabError, hookimpl, load_run, train
from caelab.files import aside
from caelab.runs import dataset_of
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
    assert resumed.history == unbroken.history


SCRIPT = """
import sys, time
from caelab import train, hookimpl
from caelab.config import load_config
class Slow:
    @hookimpl
    def after_epoch(self, epoch):
        print(epoch, flush=True); time.sleep(0.3)
train(load_config(sys.argv[1]), out=sys.argv[2], observers={"slow": Slow()})
"""


def test_a_killed_process_resumes_to_bit_equal_weights(small, tmp_path):
    config = small("dae-g", "training.epochs=6")
    file = tmp_path / "run.yaml"
    file.write_text(config.to_yaml())
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":
        assert process.poll() is None
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
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
    assert loaded.history == first.history
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
    record = json.loads((run.path / "run.json").read_text())
    record["record"]["data_hash"] = "0" * 64
    (run.path / "run.json").write_text(json.dumps(record))
    with pytest.raises(CaelabError, match="have changed"):
        load_run(run.path)


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
