"""One writer at a time, whatever becomes of it."""

import contextlib
import errno
import signal
import subprocess
import sys
import threading
import time

import pytest

from caelab.errors import StorageError
from caelab.storage.locks import clear_lock, is_being_written, lock_file, one_writer

COUNT_UP = """
import sys
from pathlib import Path
from caelab.storage.locks import one_writer
target = Path(sys.argv[1])
for _ in range(100):
    with one_writer(target):
        target.write_text(str(int(target.read_text()) + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from caelab.storage.locks import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(3600)
"""


def start(script, target):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", script, target], text=True, **pipes)


def until_waiting(caplog):
    """Until somebody has said that a lock is held by another process."""
    while "waiting for another process" not in caplog.text:
        time.sleep(0.01)


def test_processes_and_threads_that_count_up_one_number_lose_none(tmp_path):
    target = tmp_path / "number"
    target.write_text("0")
    processes = [start(COUNT_UP, target) for _ in range(3)]
    scope = {"__name__": "thread"}

    def count():
        exec(COUNT_UP.replace("sys.argv[1]", repr(str(target))), dict(scope))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert target.read_text() == "500"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_without_the_lock_that_test_would_lose_some(tmp_path):
    target = tmp_path / "number"
    target.write_text("0")
    unlocked = COUNT_UP.replace("with one_writer(target):", "if True:")
    slow = unlocked.replace("target.write_text(", "before = target.read_text(); time.sleep(0.001); target.write_text(")
    slow = slow.replace("int(target.read_text())", "int(before or 0)").replace("import sys", "import sys, time")
    slow = slow.replace("for _ in", 'print("ready", flush=True); sys.stdin.readline()\nfor _ in')
    processes = [start(slow, target) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3  # so that they run at one time
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert int(target.read_text()) < 300


def test_the_lock_of_a_killed_process_is_free(tmp_path, caplog):
    target = tmp_path / "run"
    process = start(HOLD, target)
    assert process.stdout.readline() == "held\n"
    assert is_being_written(target)
    threading.Thread(target=lambda: (until_waiting(caplog), process.send_signal(signal.SIGKILL))).start()
    with one_writer(target):
        assert f"waiting for another process, which is writing {target}" in caplog.text
        assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not is_being_written(target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"4711", b"\xff" * 1000])
def test_a_file_that_was_left_is_taken_over(content, tmp_path, caplog):
    lock_file(tmp_path / "run").write_bytes(content)
    with one_writer(tmp_path / "run"):
        assert caplog.text == ""
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_what_is_held_stays(tmp_path):
    target = tmp_path / "run"
    clear_lock(target)  # none is there
    lock_file(target).touch()
    clear_lock(target)
    assert list(tmp_path.iterdir()) == []
    with one_writer(target):
        clear_lock(target)
        assert lock_file(target).exists()


def test_a_lock_that_cannot_be_made_is_told(tmp_path):
    lock_file(tmp_path / "run").mkdir()
    with pytest.raises(StorageError, match="run cannot be used: Is a directory"), one_writer(tmp_path / "run"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run cannot be used: "), one_writer(tmp_path / "file" / "run"):
        pass


def test_where_files_cannot_be_locked_it_is_said_and_work_goes_on(tmp_path, monkeypatch, caplog):
    def unsupported(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with one_writer(tmp_path / "run"):
        (tmp_path / "run").touch()
    assert "lies where files cannot be locked: let only one process write there" in caplog.text


def test_an_exception_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), one_writer(tmp_path / "run"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path):
    with contextlib.suppress(ZeroDivisionError), one_writer(tmp_path / "new" / "deep" / "run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with one_writer(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run").mkdir()
    assert (tmp_path / "new" / "run").is_dir()
    (tmp_path / "empty").mkdir()
    with one_writer(tmp_path / "empty" / "run"):
        pass
    assert (tmp_path / "empty").is_dir()  # it was there before


def test_who_waited_for_a_lock_makes_its_folder_again(tmp_path, caplog):
    """The holder fails and takes the folder away, while another thread waits for the lock."""
    target, entered = tmp_path / "runs" / "run", threading.Event()

    def wait():
        with one_writer(target):
            entered.set()
            target.mkdir()

    waiting = threading.Thread(target=wait)
    with one_writer(target):
        waiting.start()
        until_waiting(caplog)
        assert not entered.is_set()
    waiting.join()
    assert target.is_dir()
