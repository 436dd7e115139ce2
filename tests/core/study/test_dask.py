"""Runs on the workers of a Dask cluster: the same results, and what is wrong is told before anything runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from click.testing import CliRunner

from caelab import CaelabError, Study
from caelab.cli.main import cli
from caelab.study import agreement
from caelab.study.clusters import calls
from caelab.study.clusters import dask as clusters
from caelab.study.clusters.calls import Terms
from caelab.study.clusters.local import LocalWorkers
from caelab.study.clusters.needs import Needs
from caelab.study.executors import made_executor
from caelab.study.workers import WorkerDied
from tests.core.study.small import STUDY, weights

distributed = pytest.importorskip("distributed")
TEN = clusters.ANSWERS_WITHIN
LONG = 600  # seconds that a test waits for what takes a moment
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def cluster():
    local = LocalWorkers(2, {"GPU": 1})
    local.wait_for(clusters.connected(local.cluster.scheduler_address))
    yield local
    local.close()


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch):
    monkeypatch.setattr(clusters, "ANSWERS_WITHIN", 90)


@pytest.fixture
def address(cluster):
    return cluster.cluster.scheduler_address


@pytest.fixture
def pool(address):
    with clusters.dask(2, address=address) as executor:
        yield executor


def nothing(*_):
    """What a study checks in a worker, where it has nothing to check."""


def fails(message):
    raise CaelabError(message)


def eventually(condition):
    end = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
    return found


def test_a_study_on_a_cluster_has_the_weights_of_one_in_this_process_in_every_bit(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = Study(**STUDY, out="alone").run(executor="serial")
    spread = Study(**STUDY, out="spread").run(executor="dask", address=address)
    assert weights("spread") == weights("alone")
    assert len(weights("alone")) == 4
    for ours, theirs in zip(alone.outcomes, spread.outcomes, strict=True):
        assert ours.numbers == theirs.numbers
    assert sorted(each.name for each in (tmp_path / "spread").iterdir()) == sorted(weights("spread"))  # no other file


def test_calls_give_what_they_return_or_raise_and_one_that_kills_its_worker_is_told(pool):
    dies = pool.submit(os._exit, 3)
    failures = [pool.submit(fails, "expected a sentence"), pool.submit(sys.exit, 4), pool.submit(divmod, 1, 0)]
    sums = [pool.submit(sum, (i, 1)) for i in range(6)]
    with pytest.raises(CaelabError, match=r"^expected a sentence$") as raised:
        failures[0].result(LONG)
    assert "in fails" in str(raised.value.__cause__)
    with pytest.raises(CaelabError, match=r"calls sys.exit\(4\)"):
        failures[1].result(LONG)
    with pytest.raises(ZeroDivisionError):
        failures[2].result(LONG)
    with pytest.raises(WorkerDied, match="a worker process ended with status 3, as did 2 others"):
        dies.result(LONG)
    assert [each.result(LONG) for each in sums] == [1, 2, 3, 4, 5, 6]


def test_a_worker_is_prepared_as_local_ones_are(pool):
    assert pool.submit(prepared).result(LONG) == (1, 1, "1", os.getcwd())


def prepared():
    import torch
    from threadpoolctl import threadpool_info

    widest = max(pool["num_threads"] for pool in threadpool_info())
    return torch.get_num_threads(), widest, os.environ["OMP_NUM_THREADS"], os.getcwd()


def test_a_worker_that_is_killed_is_replaced_and_its_call_done_again(pool, tmp_path):
    call = pool.submit(second_time, tmp_path / "pid")
    os.kill(int(eventually(lambda: text_of(tmp_path / "pid"))), signal.SIGKILL)
    assert call.result(LONG) == 2


def second_time(file):
    if not file.exists():
        file.write_text(str(cluster_worker()))
        time.sleep(LONG)
    return 2


def cluster_worker():
    """The process of Dask that this process carries out a call for: beyond the server that it was forked from."""
    return psutil.Process(os.getppid()).ppid()


def text_of(file):
    return file.read_text() if file.exists() else ""


def kills_its_worker():
    os.kill(cluster_worker(), signal.SIGKILL)
    time.sleep(LONG)


def test_no_other_call_is_blamed_for_the_death_of_a_worker_however_many_wait(address):
    with clusters.dask(2, address=address, retries=0) as pool:
        dies, *others = [pool.submit(kills_its_worker), *(pool.submit(abs, i) for i in range(30))]
        with pytest.raises(WorkerDied, match=r"^a worker process at tcp://127.0.0.1:\d+ died; executor"):
            dies.result(LONG)
        assert [each.result(LONG) for each in others] == [*range(30)]


def test_what_has_not_begun_is_called_off_when_the_block_is_left_by_an_error(address):
    started = time.monotonic()
    executor = clusters.dask(2, address=address)
    futures = [executor.submit(time.sleep, 1) for _ in range(2000)]
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt
    assert all(each.done() for each in futures)
    assert sum(each.cancelled() for each in futures) >= 1990
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(os.getpid)
    with clusters.dask(2, address=address) as executor:  # the cluster goes on for others
        assert executor.submit(sum, (1, 2)).result(LONG) == 3
    assert time.monotonic() - started < 1000  # 2000 calls would have taken as many seconds on two workers


def test_a_scheduler_has_ten_seconds():
    assert TEN == 10


OTHER = {**agreement.versions(), "torch": "1.0"}


def test_another_version_is_refused_before_any_run_and_nothing_is_written(address, tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "terms_of", lambda threads: Terms(versions=OTHER, threads=threads))
    with pytest.raises(CaelabError, match=r"^the worker on \S+ has torch 2\.\S+, but 1\.0 is expected; install there"):
        Study(**STUDY, out=tmp_path / "new" / "runs").run(executor="dask", address=address)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", OTHER)
def test_a_worker_that_joins_later_refuses_each_call(pool, name):
    pool.terms = replace(pool.terms, versions={**pool.terms.versions, name: "0.0.1"})
    with pytest.raises(CaelabError, match=rf"the worker on \S+ has {name} .*, but 0\.0\.1 is expected"):
        pool.submit(os.getpid).result(LONG)


def test_another_version_of_a_plugin_is_refused_before_any_run_and_in_the_run(address, tmp_path, monkeypatch):
    from caelab.study import study as studies
    from caelab.study.jobs import carry_out

    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "expected_code", lambda used: {"regularizer mine": "another"})
        study = Study([{**STUDY["configs"][0], "label": "x"}], 1, {}, tmp_path / "runs", [plugin])
        with pytest.raises(CaelabError, match="has no regularizer mine; install there"):
            study.run(executor="dask", address=address)
        (job,) = study.jobs()
    assert not (tmp_path / "runs").exists()
    with clusters.dask(1, address=address) as pool, pytest.raises(CaelabError, match="has no regularizer mine"):
        pool.submit(carry_out, job).result(LONG)
    assert not (tmp_path / "runs").exists()


PLUGIN = """
from caelab import hookimpl

@hookimpl
def register_models(register):
    pass
"""


def test_what_a_worker_lacks_and_what_it_has_instead_is_said():
    assert agreement.difference({"analysis mine": "a1"}, {"analysis mine": "b2"}) == (
        "has analysis mine b2, but a1 is expected"
    )
    assert agreement.difference({"caelab": "9"}, {}) == "has no caelab"
    assert agreement.difference({"caelab": "9"}, {"caelab": "9", "torch": "1"}) == ""


def test_a_caelab_that_knows_nothing_of_this_is_told(pool):
    error = pool._refusal("tcp://10.0.0.2:1", ModuleNotFoundError("No module named 'caelab.study.clusters'"))
    assert str(error).startswith("the worker tcp://10.0.0.2:1 has no caelab; install there")
    assert "does not answer (OSError: gone)" in str(pool._refusal("tcp://10.0.0.2:1", OSError("gone")))


def test_a_folder_that_workers_do_not_see_is_told(address, tmp_path, monkeypatch):
    monkeypatch.setattr(
        calls.ClusterExecutor,
        "_mark",
        lambda self, folder: setattr(self, "terms", replace(self.terms, folder=folder, token="missing")),
    )
    with pytest.raises(CaelabError, match=r"does not see \S+ as the study does; give with --out a folder that all"):
        Study(**STUDY, out=tmp_path / "runs").run(executor="dask", address=address)
    assert not (tmp_path / "runs").exists()


def test_resources_that_no_worker_has_are_refused_and_others_are_asked_for(address, tmp_path):
    with clusters.dask(2, address=address, resources={"cores": 1, "gpus": 1, "memory": None}) as pool:
        pool.begin(tmp_path, nothing)
        assert pool.submit(sum, (1, 2)).result(LONG) == 3
    for asked, words in [({"gpus": 2}, "GPU 2, but no worker has more than 1"), ({"cores": 4}, "CPU 4, but no")]:
        with clusters.dask(2, address=address, resources=asked) as pool, pytest.raises(CaelabError, match=words):
            pool.begin(tmp_path, nothing)
    with pytest.raises(CaelabError, match="unknown resource 'gpu'; did you mean 'gpus'"):
        Needs.of({"gpu": 1})
    for wrong in ({"cores": 0}, {"gpus": -1}, {"memory": "much"}, {"cores": True}):
        with pytest.raises(CaelabError, match="expected as a number"):
            Needs.of(wrong)


def test_workers_are_waited_for_where_there_are_none(pool, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pool, "_look", dict)
    monkeypatch.setattr(pool, "on_every_worker", lambda *_: {})
    pool.begin(tmp_path, nothing)
    assert "the Dask scheduler has no workers yet; the runs wait for some" in caplog.text


def test_a_worker_of_several_threads_carries_out_as_many_runs_each_in_a_process_of_its_own(tmp_path):
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", protocol="tcp", host="127.0.0.1"
        ) as found,
        clusters.dask(1, address=found.scheduler_address) as pool,
    ):
        met = [pool.submit(meets, tmp_path / a, tmp_path / b) for a, b in ("xy", "yx")]
        assert len({each.result(LONG) for each in met}) == 2


def meets(own, other):
    own.touch()
    eventually(other.exists)
    return os.getpid()


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(clusters, "ANSWERS_WITHIN", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [silent.getsockname()[1], closed.getsockname()[1]]
        closed.close()
        for address in (*(f"tcp://127.0.0.1:{port}" for port in ports), "nonsense", "foo://bar:1", "tcp://x.invalid:1"):
            with pytest.raises(CaelabError, match=r"^no Dask scheduler answers at .* within 1 s") as raised:
                clusters.dask(1, address=address)
            assert "\n" not in str(raised.value)
        words = [
            "compare",
            "ae",
            "--dataset",
            "digits",
            "--executor",
            "dask",
            "--address",
            f"tcp://127.0.0.1:{ports[0]}",
        ]
        done = CliRunner().invoke(cli, [*words, "--seeds", "1", "--out", str(tmp_path / "out")])
        assert isinstance(done.exception, CaelabError)


def test_a_scheduler_that_ends_is_told_by_every_run(monkeypatch):
    monkeypatch.setattr(clusters, "ANSWERS_WITHIN", 3)
    local = LocalWorkers(1, {})
    try:
        pool = clusters.dask(1, address=local.cluster.scheduler_address)
        local.wait_for(pool.client)
        futures = [pool.submit(time.sleep, LONG) for _ in range(3)]
    finally:
        local.close()
    for future in futures:
        with pytest.raises(CaelabError, match="the Dask scheduler is gone"):
            future.result(LONG)
    pool.shutdown(wait=False)


def test_options_are_read_from_the_signature():
    for options, words in [
        ({"adress": "x"}, "the executor dask: unknown option 'adress'; did you mean 'address'?"),
        ({"retries": "many"}, "the executor dask.retries: .* but 'many' came"),
        ({"address": 3}, "the executor dask.address"),
    ]:
        with pytest.raises(CaelabError, match=words):
            made_executor("dask", options)
    with pytest.raises(CaelabError, match="the executor serial: unknown option 'address'"):
        made_executor("serial", {"address": "x"})
    made_executor("serial", {"resources": {"cores": 1}})(1)  # it takes none, and needs none
    found = made_executor("dask", {"address": "tcp://x:1", "retries": 5})
    assert found.keywords == {"address": "tcp://x:1", "retries": 5}


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CaelabError, match=r"install it with: pip install 'caelab\[dask\]'"):
        clusters.dask(1)


BUSY = """
import os, time
from caelab.study.clusters.dask import dask

pool = dask(2)
print(pool.submit(os.getpid).result(), pool.close.__self__.process.pid, flush=True)
pool.submit(sum, range(10**15))
time.sleep(9000)
"""


def test_a_script_without_a_main_guard_works_and_no_worker_outlives_it(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    with subprocess.Popen([sys.executable, tmp_path / "busy.py"], stdout=subprocess.PIPE) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        family = [psutil.Process(pid) for pid in pids]
        family += [each for pid in pids for each in psutil.Process(pid).children(recursive=True)]
        assert len(family) >= 4
        parent.kill()
        parent.wait(LONG)
    _, alive = psutil.wait_procs(family, timeout=LONG)
    assert not alive
