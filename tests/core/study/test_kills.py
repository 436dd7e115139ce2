"""A comparison whose processes were killed, and that was asked for again, is the one that nobody disturbed."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing import forkserver, get_context

import psutil
import pytest

from caelab.cli.main import main
from caelab.study.executors import PRELOADED

KILLS = int(os.environ.get("CAELAB_KILLS", "4"))
CHAIN = 4  # kills before a comparison is let end
LONG = 600
COMPARE = [
    "compare",
    "ae",
    "cae",
    "--dataset",
    "digits",
    "--seeds",
    "2",
    "--set",
    "training.epochs=6",
    "--workers",
    "2",
]
COMPARE += ["--set", "model.hidden=[8]", "--analyses", "jacobian_norm"]


def started(folder):
    """The command in a process of its own, which is forked from where torch is in memory already."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "caelab.cli.main", "caelab.report.publish"])
    process = context.Process(target=main, args=([*COMPARE, "--out", str(folder)],))
    process.start()
    return process


def ended(process):
    process.join(LONG)
    return process.exitcode


def workers():
    """The processes that the command started; they are forked from the same server as it is."""
    server = psutil.Process(forkserver._forkserver._forkserver_pid)
    return server.children(recursive=True)


def finished(folder):
    assert ended(started(folder)) == 0
    return contents(folder)


def contents(folder):
    """Everything that a comparison holds, but how long it took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        assert ".partial-" not in name, name
        if path.suffix in (".safetensors", ".parquet", ".csv", ".pdf"):
            found[name] = path.read_bytes()
        if path.name == "run.json":
            facts = json.loads(path.read_text(encoding="utf-8"))
            facts["record"].pop("seconds")
            found[name] = [facts["config"], facts["record"]]
    return found


def disturb(folder, chance, longest):
    """Begin the command and kill it, or one of its workers, after a while; nothing goes on afterwards.

    Returns:
        What was killed, nothing where the command had ended before; and the exit status.
    """
    process = started(folder)
    process.join(chance.uniform(0, longest))
    family = [each for each in workers() if each.pid != process.pid]
    what = "" if process.exitcode is not None else "worker" if family and chance.random() < 0.4 else "command"
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if what == "worker":
            chance.choice(family).kill()
        elif what:
            os.kill(process.pid, chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
    status = ended(process)
    assert status in ((0, -9, -15, 130) if what == "command" else (0,)), (what, status)
    _, alive = psutil.wait_procs(family, timeout=LONG)
    assert not alive
    return what, status


@pytest.mark.slow
def test_what_was_killed_and_asked_for_again_is_what_was_never_killed(tmp_path):
    chance = random.Random(os.environ.get("CAELAB_SEED", "0"))
    finished(tmp_path / "first")  # starts the server
    begun = time.monotonic()
    expected = finished(tmp_path / "undisturbed")
    longest = time.monotonic() - begun
    assert len([name for name in expected if name.endswith("run.json")]) == 4
    killed = []
    for place in range(10 * KILLS):
        folder, status, here = tmp_path / f"comparison-{place}", None, []
        while status != 0 and len(here) < CHAIN:
            what, status = disturb(folder, chance, longest)
            here += [f"{what} ({status})"] if what and (what == "worker" or status) else []
        found = finished(folder)
        assert found.keys() == expected.keys(), here
        assert not [name for name in found if found[name] != expected[name]], here
        killed += here
        if len(killed) >= KILLS:
            break
    print(f"{len(killed)} kills in {place + 1} comparisons: {killed}")
    assert len(killed) >= KILLS
