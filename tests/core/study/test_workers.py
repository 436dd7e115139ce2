"""Worker processes: what dies is told, tried again and replaced; none outlives its parent; nothing waits for long."""

import operator
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError

import psutil
import pytest

from caelab import CaelabError
from caelab.process.limits import refuse_little_memory
from caelab.study.executors import SerialExecutor, processes
from caelab.study.workers import WorkerDied, WorkerPool

LONG = 900  # seconds that a test waits for what takes a moment, so that it does not hang


def pool(workers):
    return WorkerPool(workers, os.getpid)


def eventually(condition):
    end = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


def test_calls_give_what_they_return_or_raise_and_the_death_of_one_worker_harms_no_other():
    with pool(2) as executor:
        deaths = [executor.submit(os._exit, 3), executor.submit(signal.raise_signal, signal.SIGSEGV)]
        failures = [executor.submit(operator.truediv, 1, 0), executor.submit(sys.exit, 4)]
        sums = [executor.submit(operator.add, i, 1) for i in range(6)]
        with pytest.raises(WorkerDied, match="a worker process ended with status 3, as did 2 others"):
            deaths[0].result()
        with pytest.raises(WorkerDied, match="was killed by SIGSEGV"):
            deaths[1].result()
        with pytest.raises(ZeroDivisionError) as raised:
            failures[0].result()
        assert "operator.py" in str(raised.value.__cause__) or "answered" in str(raised.value.__cause__)
        with pytest.raises(CaelabError, match=r"calls sys.exit\(4\)"):
            failures[1].result()
        assert [each.result() for each in sums] == [1, 2, 3, 4, 5, 6]
        with pytest.raises((AttributeError, TypeError)):
            executor.submit(lambda: 1)  # it cannot be sent
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(os.getpid)


def test_a_worker_that_was_killed_is_replaced_and_its_call_done_again():
    with pool(1) as executor:
        first = executor.submit(os.getpid).result()
        slept = executor.submit(time.sleep, 1)
        eventually(slept.running)
        os.kill(first, signal.SIGKILL)
        assert slept.result() is None
        assert executor.submit(os.getpid).result() != first


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a worker goes on to the end of its call")
def test_workers_end_with_the_server_that_they_were_forked_from_and_a_new_one_is_started():
    with pool(1) as executor:
        first = executor.submit(os.getpid).result()
        slept = executor.submit(time.sleep, 1)
        eventually(slept.running)
        worker = psutil.Process(first)
        os.kill(worker.ppid(), signal.SIGKILL)
        assert slept.result() is None
        assert executor.submit(os.getpid).result() != first
        assert psutil.wait_procs([worker], timeout=LONG)[1] == []


def test_a_worker_that_ends_before_it_says_its_number_is_replaced(monkeypatch):
    from multiprocessing import popen_forkserver

    launch, failures = popen_forkserver.Popen._launch, [EOFError(), ConnectionResetError(), EOFError()]

    def fails_at_first(self, process):
        if failures:
            raise failures.pop()
        launch(self, process)

    monkeypatch.setattr(popen_forkserver.Popen, "_launch", fails_at_first)
    with pool(1) as executor:
        assert executor.submit(operator.add, 1, 2).result() == 3
    assert failures == []


def test_what_runs_is_ended_at_once_when_the_block_is_left_by_an_error():
    executor = pool(2)
    running = [executor.submit(time.sleep, 10 * LONG) for _ in range(2)]
    waiting = executor.submit(os.getpid)
    eventually(lambda: len(executor.workers) == 2)
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt
    assert waiting.cancelled()
    for each in running:
        with pytest.raises((CaelabError, CancelledError)):
            each.result(timeout=LONG)
    assert not any(worker.process.is_alive() for worker in executor.workers)


BUSY = """
import os, signal, time
from caelab.study.workers import WorkerPool

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored

if __name__ == "__main__":
    executor = WorkerPool(3, os.getpid)
    pids = {executor.submit(os.getpid).result() for _ in range(20)}
    calls = [executor.submit(time.sleep, 9000), executor.submit(sum, range(10**15)), executor.submit(time.sleep, 9000)]
    while len(executor.workers) < 3:
        time.sleep(0.05)
    print(*(worker.process.pid for worker in executor.workers), flush=True)
    time.sleep(9000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(number, tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, tmp_path / "busy.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 3
        family = [*workers, *psutil.Process(parent.pid).children(recursive=True)]
        parent.send_signal(number)
        parent.wait(LONG)
    _, alive = psutil.wait_procs(family, timeout=LONG)
    assert not alive


UNGUARDED = """
import os
import caelab.study.executors
caelab.study.executors.PRELOADED = ["json"]
caelab.study.executors.prepare_worker = abs
with caelab.study.executors.processes(1) as executor:
    print(executor.submit(os.getpid).result() > 0)
"""


def test_a_script_without_a_main_guard_is_told_in_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "imports the script" not in done.stdout
    assert done.stderr.count("_bootstrap") == 0  # nothing of what happens inside the worker
    assert done.stderr.splitlines()[-1].endswith("or run with executor='serial'")
    assert "mine.py anew, and it would start workers again each time; put what it runs under" in done.stderr


def test_nothing_is_imported_from_the_folder_where_a_command_is_given(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED.replace("with", "if __name__ == '__main__':\n  with"))
    hostile = tmp_path / "received"
    hostile.mkdir()
    for name in ("json", "signal", "selectors", "socket", "multiprocessing", "threading", "os", "torch", "caelab"):
        (hostile / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], cwd=hostile, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr
    assert not (tmp_path / "ran").exists()


def limited(monkeypatch, what, soft, hard):
    import resource

    real, changed = resource.getrlimit, []
    limits = {getattr(resource, what): (soft, hard)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which) or real(which))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: changed.append(pair))
    return changed


def test_too_few_open_files_are_told_and_a_soft_limit_is_raised(monkeypatch):
    assert limited(monkeypatch, "RLIMIT_NOFILE", 16, 4096) == []
    changed = limited(monkeypatch, "RLIMIT_NOFILE", 16, 4096)
    processes(2).shutdown()
    assert changed == [(60, 4096)]
    limited(monkeypatch, "RLIMIT_NOFILE", 16, 16)
    with pytest.raises(CaelabError, match=r"need up to 60 open files, but this process may have 16 \(see: ulimit -n\)"):
        processes(2)


def test_an_address_space_in_which_libraries_hang_is_refused_before_they_start(monkeypatch, capsys):
    from caelab.cli.main import main

    limited(monkeypatch, "RLIMIT_AS", 1100 * 2**20, -1)
    for command in (["train", "ae"], ["compare"], ["analyse", "filters", "--run", "x"]):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2
        assert "this process may use 1100 MiB of address space (see: ulimit -v)" in capsys.readouterr().err
    limited(monkeypatch, "RLIMIT_AS", 4096 * 2**20, -1)
    refuse_little_memory()


def test_the_serial_executor_tells_of_what_would_end_the_program():
    with pytest.raises(CaelabError, match=r"calls sys.exit\(3\)"):
        SerialExecutor().submit(sys.exit, 3).result()
