"""Warm processes: what a command and its workers meet there is what they meet in processes of their own."""

from tests import warm

WORKERS = """
import os
from caelab.study.executors import processes

with processes(2) as pool:
    print("same server:", pool.submit(os.getppid).result() == os.getppid())
    print("same folder:", pool.submit(os.getcwd).result() == os.getcwd())
    print("same path:", pool.submit(os.getenv, "PATH").result() == os.environ["PATH"])
    print("mine:", pool.submit(os.getenv, "PYTHONPATH").result().split(os.pathsep)[0])
    pool.submit(os.write, 1, b"said by a worker\\n").result()
    pool.submit(os.write, 2, b"told by a worker\\n").result()
print("said by the command")
raise SystemExit(3)
"""


def test_workers_come_from_the_same_server_and_write_where_the_command_writes(tmp_path):
    status, said, told = warm.run(warm.script, WORKERS, folder=tmp_path, packages=tmp_path / "mine")
    assert status == 3
    assert {f"same {what}: True" for what in ("server", "folder", "path")} < {*said.splitlines()}
    assert f"mine: {tmp_path / 'mine'}" in said
    assert "said by a worker" in said.splitlines()
    assert "said by the command" in said.splitlines()
    assert "told by a worker" in told.splitlines()


def test_a_traceback_of_a_worker_is_seen(tmp_path):
    text = "import os\nfrom caelab.study.executors import processes\nwith processes(1) as pool:\n    "
    _, _, told = warm.run(warm.script, f"{text}pool.submit(os.rmdir, '/nowhere').result()", folder=tmp_path)
    assert "FileNotFoundError" in told
