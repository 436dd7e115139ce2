"""A study on a Dask cluster of two nodes, of which a worker and then a whole node are killed while they work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from caelab import Study
from tests.core.study.small import CONFIGS, weights

pytest.importorskip("distributed")
LONG = 900  # seconds that a test waits for what takes a moment
RUNS = {"configs": [{**each, "training": {**each["training"], "epochs": 60}} for each in CONFIGS], "seeds": 4}
NODE_IS_GONE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}  # without an answer for so long

CLIENT = """
import sys
from caelab import Study
from caelab.study.clusters.dask import DaskExecutor
from tests.core.study.test_two_nodes import RUNS

def told(self, call, worker):
    print("died", flush=True)
    died(self, call, worker)

died, DaskExecutor._died = DaskExecutor._died, told
found = Study(**RUNS, analyses=["jacobian_norm"], out=sys.argv[2]).run(
    executor="dask", address=sys.argv[1], done=lambda outcome: print("done", flush=True)
)
print(sum(outcome.reused for outcome in found.outcomes), "reused")
"""


class Loopback:
    """Two nodes that are only two groups of processes of this machine."""

    hosts = ("127.0.0.1", "127.0.0.1")

    def command(self, node):
        return []

    def cut(self):
        """There is no line between them."""

    def close(self):
        """There is nothing to remove."""


class Namespaces:
    """Two nodes that see each other only over one line: two network namespaces, and a pair of virtual devices."""

    def __init__(self):
        self.names = [f"caelab-{os.getpid()}-{node}" for node in "ab"]
        self.hosts = ("10.214.7.1", "10.214.7.2")
        for name in self.names:
            ip("netns", "add", name)
        first, second = self.names
        ip("link", "add", "line", "netns", first, "type", "veth", "peer", "name", "line", "netns", second)
        for name, host in zip(self.names, self.hosts, strict=True):
            ip("-n", name, "addr", "add", f"{host}/24", "dev", "line")
            ip("-n", name, "link", "set", "line", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def command(self, node):
        return ["ip", "netns", "exec", self.names[node]]

    def cut(self):
        """Nothing of the second node arrives any more, not even that its processes end."""
        ip("-n", self.names[1], "link", "set", "line", "down")

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def nodes():
    """Two namespaces, or where none can be made two groups of processes: the rest of the test is the same."""
    try:
        found = Namespaces() if shutil.which("ip") else Loopback()
    except OSError:
        found = Loopback()
    yield found
    found.close()


class Started:
    """Processes of the nodes, which end with the block."""

    def __init__(self, nodes):
        self.nodes, self.processes = nodes, []

    def start(self, node, *words, **options):
        command = [*self.nodes.command(node), sys.executable, *map(str, words)]
        environment = {**os.environ, **NODE_IS_GONE}
        self.processes.append(subprocess.Popen(command, start_new_session=True, env=environment, **options))
        return self.processes[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            end(process)


def end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LONG)


def eventually(condition):
    limit = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.05)
    return found


def workers_of(process):
    """The processes that carry out runs, beneath those that watch them."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [each for each in found if "spawn_main" in " ".join(each.cmdline())]


def test_what_is_killed_is_done_again_and_the_result_is_that_of_an_undisturbed_study(nodes, tmp_path):
    out = tmp_path / "spread"
    file = tmp_path / "scheduler.json"
    (tmp_path / "client.py").write_text(CLIENT)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with Started(nodes) as started:
        place = ["--host", nodes.hosts[0], "--port", 0, "--dashboard-address", f"{nodes.hosts[0]}:0"]
        started.start(0, "-m", "distributed.cli.dask_scheduler", *place, "--scheduler-file", file, **quiet)
        address = eventually(lambda: address_in(file))
        joins = ["-m", "distributed.cli.dask_worker", address, "--nthreads", 1, "--no-dashboard"]
        joins += ["--memory-limit", 0, "--local-directory", tmp_path]
        second = started.start(1, *joins, "--host", nodes.hosts[1], "--nworkers", 2, **quiet)
        eventually(lambda: second.poll() is not None or len(workers_of(second)) == 2)
        assert second.poll() is None, "no worker can be started"
        said = tmp_path / "said.txt"
        with said.open("w") as output:
            client = started.start(0, tmp_path / "client.py", address, out, stdout=output, stderr=subprocess.STDOUT)

        def times(word):
            assert client.poll() in (None, 0), said.read_text()
            return said.read_text().count(word)

        eventually(lambda: times("done") >= 1)  # all on the second node
        eventually(lambda: workers_of(second))[0].kill()
        eventually(lambda: times("died") >= 1)
        started.start(0, *joins, "--host", nodes.hosts[0], "--nworkers", 1, **quiet)
        nodes.cut()
        end(second)
        eventually(lambda: client.poll() is not None)
        assert client.returncode == 0, said.read_text()
        assert said.read_text().count("done") == 8
        assert said.read_text().count("died") >= 2
    Study(**RUNS, analyses=[], out=tmp_path / "alone").run(executor="serial")
    assert weights(out) == weights(tmp_path / "alone")
    assert len(weights(out)) == 8


def address_in(file):
    with suppress(ValueError, FileNotFoundError):  # it is not there, or not whole
        return json.loads(file.read_text())["address"]
