"""Several processes that train one run give the weights of one process on the same batches."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import caelab
from caelab.jacobian.service import jacobian
from caelab.registry.catalogue import catalogue
from caelab.streams import Share, only
from caelab.training.processes import Group
from tests.core.training.together import DIGITS, PLUGIN, RUNS, SMALL, config

LONG = 600
ROOT = Path(__file__).parents[3]


def start(words, **environment):
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places, **environment}
    return subprocess.Popen([sys.executable, *map(str, words)], env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", params=[2])
def trained(request, tmp_path_factory):
    """What each of two processes said, and the folder of their runs."""
    place, size = tmp_path_factory.mktemp("together"), request.param
    (place / "runs").mkdir()
    script = Path(__file__).with_name("together.py")
    processes = [start([script, rank, size, place / "runs", place / "store"]) for rank in range(size)]
    ends = [process.communicate(timeout=LONG)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * size, "\n".join(ends)
    return place / "runs", [json.loads((place / "runs" / f"{rank}.json").read_text()) for rank in range(size)]


def known():
    if ("regularizer", "projected") not in catalogue().offers:
        catalogue().add_file(PLUGIN)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_weights_of_one(trained, name):
    known()
    alone = caelab.train(config(name))
    (folder,) = trained[0].glob(f"{name}-[0-9a-f]*")
    if name != "cae":
        assert folder.name.startswith(f"{name}-")
    together = load_file(folder / "weights.safetensors")
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(together[key], value, rtol=0, atol=1e-5)
    history = caelab.load_run(folder).metrics
    assert [metrics.keys() for metrics in history] == [metrics.keys() for metrics in alone.metrics]
    for ours, theirs in zip(history, alone.metrics, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert json.loads((folder / "run.json").read_text())["record"]["processes"] == 2
    assert "processes" not in alone.record


def test_a_share_alone_would_not_do(trained):
    """The comparison can fail: of half of each batch other weights come."""
    known()
    less = caelab.train(config("cae"), splits=(50, 50, 50)).model.state_dict()
    (folder,) = trained[0].glob("cae-[0-9a-f]*")
    together = load_file(folder / "weights.safetensors")
    assert max(float((together[key] - value).abs().max()) for key, value in less.items()) > 1e-3


def test_the_name_of_the_run_does_not_depend_on_the_processes(trained, tmp_path):
    known()
    alone = caelab.train(config("cae"), out=tmp_path)
    assert {each["again"] for each in trained[1]} == {alone.path.name}


WHY = {
    "over-batch": "the penalty of 'mine' is defined over the whole batch, but each process computes a part of it",
    "drawing": "random numbers are drawn from the stream 'mine' for each process's own examples",
    "dropout": "random numbers are drawn in the model, as dropout does,",
    "normalised": "Chain normalises by the statistics of the whole batch",
    "alike": "the processes that train one run together have different runs to train",
}


@pytest.mark.parametrize("name", WHY)
def test_what_would_depend_on_the_number_of_processes_is_refused_by_all(trained, name):
    for said in trained[1]:
        assert WHY[name] in said[name]


def test_shares_are_all_of_the_batch_and_weigh_as_many_as_they_are():
    for size in (1, 2, 3, 7):
        for count in (1, 2, 5, 33, 100):
            found = [Group(rank, size).share(count) for rank in range(size)]
            rows = [i for share, weight in found if weight for i in range(count)[share.rows]]
            assert rows == [*range(count)]
            assert sum(weight for _, weight in found) == pytest.approx(1)
            for share, weight in found:
                assert weight in (0, len(range(count)[share.rows]) / count)


def test_projections_of_a_share_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    encode = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Sigmoid())
    inputs = torch.rand(7, 6)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    whole = jacobian(encode, inputs).squared_norm(samples=3, generator=generators[0])
    with only(Share(slice(2, 5), 7)):
        part = jacobian(encode, inputs[2:5]).squared_norm(samples=3, generator=generators[1])
    torch.testing.assert_close(part, whole[2:5], rtol=1e-6, atol=0)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def launched(out, timeout, **environment):
    """Two processes of the command, as torchrun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = [*SMALL, "training.batch_size=33", "regularizers.mine={kind: disturbed, weight: 0.1}"]
    words = ["-m", "caelab", "train", "ae", "--dataset", "digits", "--plugin", PLUGIN, "--out", out]
    words += ["--process-timeout", timeout, *(word for each in settings for word in ("--set", each))]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [start(words, **address, RANK=str(rank), LOCAL_RANK=str(rank), **environment) for rank in (0, 1)]


def ends(processes):
    return [process.communicate(timeout=LONG)[1] for process in processes]


def errors(said):
    return [line for text in said for line in text.splitlines() if line.startswith("error: ")]


def test_an_error_in_one_process_ends_both_with_one_sentence(tmp_path):
    processes = launched(tmp_path, 300, DISTURB="fail")
    said = ends(processes)
    assert [process.returncode for process in processes] == [2, 2], said
    (sentence,) = errors(said)
    assert "expected fine weather" in sentence
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_ends_the_other_and_the_same_command_goes_on(number, tmp_path):
    place = tmp_path / "pid"
    processes = launched(tmp_path / "runs", 10, DISTURB="wait", PLACE=str(place))
    limit = time.monotonic() + LONG
    while not (place.exists() and place.read_text()):
        assert time.monotonic() < limit
        assert processes[0].poll() is None, processes[0].stderr.read()
        time.sleep(0.05)
    os.kill(int(place.read_text()), number)
    said = processes[0].communicate(timeout=LONG)[1]
    assert processes[0].returncode == 2
    (sentence,) = errors([said])
    assert "another of the 2 processes that train this run ended, or did not answer in time" in sentence
    processes[1].kill()
    processes[1].communicate(timeout=LONG)
    if number == signal.SIGSTOP:
        return  # going on is tested with the other
    again = launched(tmp_path / "runs", 300)
    said = ends(again)
    assert [process.returncode for process in again] == [0, 0], said
    known()
    settings = [*SMALL, "training.batch_size=33", "regularizers.mine={kind: disturbed, weight: 0.1}"]
    alone = caelab.train(caelab.recipe_config("ae", settings, **DIGITS))
    (file,) = (tmp_path / "runs").glob("ae-*/weights.safetensors")
    for key, value in load_file(file).items():
        torch.testing.assert_close(alone.model.state_dict()[key], value, rtol=0, atol=1e-5)
