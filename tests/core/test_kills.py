"""A comparison whose processes were killed, and that was asked for again, is the one that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

KILLS = int(os.environ.get("CAELAB_KILLS", "20"))
CHAIN = 5  # kills before the comparison may end
LONG = 600
COMPARE = [sys.executable, "-c", "from caelab.cli import main; main()", "compare", "ae", "cae", "--dataset", "digits"]
COMPARE += ["--seeds", "2", "--set", "training.epochs=6", "--set", "model.hidden=[8]", "--analyses", "jacobian_norm"]
COMPARE += ["--workers", "2", "--out", "out"]


def started(folder):
    return subprocess.Popen(
        COMPARE, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(folder):
    with started(folder) as process:
        said = process.communicate(timeout=LONG)[0]
    assert process.returncode == 0, said
    return contents(folder / "out")


def contents(folder):
    """Everything that a comparison holds, but how long it took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix in (".safetensors", ".parquet", ".csv") and not name.parts[0].startswith("."):
            found[str(name)] = path.read_bytes()
        if path.name == "run.json":
            facts = json.loads(path.read_text(encoding="utf-8"))
            facts["record"].pop("seconds")
            found[str(name)] = [facts["config"], facts["record"]]
    return found


def disturb(folder, chance, longest):
    """Begin the command and kill it, or one of its workers, after a while; say which, and what was left running."""
    with started(folder) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, longest))
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        whole = chance.random() < 0.6 or not family
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if whole:
                process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            else:
                chance.choice(family).kill()
        said = process.communicate(timeout=LONG)[0]
    assert process.returncode in ((0, -9, -15, 130) if whole else (0, 2)), said
    _, alive = psutil.wait_procs(family, timeout=LONG)
    assert not alive
    return "all" if whole else "one"


@pytest.mark.slow
@pytest.mark.timeout(LONG * 10)
def test_what_was_killed_and_asked_for_again_is_what_was_never_killed(tmp_path):
    chance = random.Random(os.environ.get("CAELAB_SEED", "0"))
    (tmp_path / "undisturbed").mkdir()
    begun = time.monotonic()
    expected = finished(tmp_path / "undisturbed")
    longest = time.monotonic() - begun
    assert len([name for name in expected if name.endswith("run.json")]) == 4
    for chain in range(-(-KILLS // CHAIN)):
        folder = tmp_path / f"chain-{chain}"
        folder.mkdir()
        kills = [disturb(folder, chance, longest) for _ in range(CHAIN)]
        found = finished(folder)
        assert found.keys() == expected.keys(), kills
        different = [name for name in found if found[name] != expected[name]]
        assert not different, (chain, kills, different)
