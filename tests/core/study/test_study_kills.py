"""A study that is killed again and again at random moments, and one that several processes carry out at once."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml

from caelab.cli.main import main
from caelab.study.executors import PRELOADED

KILLS = int(os.environ.get("CAELAB_STUDY_KILLS", "30"))
CHAIN = 10  # kills before a study is let end
LONG = 600
COUNTING = """
import os
from dataclasses import dataclass
from caelab import hookimpl

@dataclass(eq=False)
class Counting:
    into: str

    @hookimpl
    def before_training(self, config):
        with open(os.environ["COUNTED"], "a") as file:
            file.write(f"{config.label} {config.seed}\\n")

@hookimpl
def register_regularizers(register):
    register("counting", Counting)
"""


def study_file(folder, **keys):
    """A study of six runs that take a moment each."""
    study = {
        "models": ["ae", {"recipe": "cae", "grid": {"contractive.weight": [0.1, 1]}}],
        "datasets": [{"kind": "digits", "splits": [200, 50, 50]}],
        "set": {"training.epochs": 4, "model.hidden": [8]},
        "seeds": 2, "analyses": ["jacobian_norm"], "out": "out", **keys,
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def command(path, out, words, variables):
    os.environ.update(variables)
    os.chdir(path.parent)
    main(["study", "run", str(path), "--out", str(out), *words])


def started(path, out, *words, **variables):
    """The command in a process that is forked from where torch is in memory already."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "caelab.cli.main", "caelab.report.studies"])
    process = context.Process(target=command, args=(path, out, words, variables))
    process.start()
    return process


def finished(path, out, *words):
    process = started(path, out, *words)
    process.join(LONG)
    assert process.exitcode == 0
    return contents(out)


def contents(out):
    """Everything that a study holds, but where, when, by whom and how long."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        assert ".partial-" not in name, name
        if path.suffix in (".safetensors", ".parquet", ".csv", ".pdf", ".yaml") or name == "plan.json":
            found[name] = path.read_bytes()
        if path.name == "run.json":
            facts = json.loads(path.read_text(encoding="utf-8"))
            facts["record"].pop("seconds")
            found[name] = [facts["config"], facts["record"]]
        if path.parent.name == "outcomes":
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: facts[key] for key in facts if key not in ("spent", "files", "checksum")}
    return found


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_is_the_one_that_nobody_disturbed(tmp_path):
    path, chance = study_file(tmp_path), random.Random(os.environ.get("CAELAB_SEED", "0"))
    finished(path, tmp_path / "first", "--executor", "serial")  # starts the server
    begun = time.monotonic()
    expected = finished(path, tmp_path / "undisturbed", "--executor", "serial")
    longest = time.monotonic() - begun
    assert len([name for name in expected if name.startswith("outcomes/")]) == 6
    kills, place = 0, 0
    while kills < KILLS:
        out = tmp_path / f"study-{place}"
        kills += disturbed(path, out, chance, longest, min(CHAIN, KILLS - kills))
        found = finished(path, out, "--executor", "serial")
        assert found.keys() == expected.keys()
        assert not [name for name in found if found[name] != expected[name]]
        place += 1
        assert place < KILLS
    print(f"{kills} kills in {place} studies")


def disturbed(path, out, chance, longest, most):
    """Begin the study and kill it after a while, until it has ended before the kill; how often it was killed."""
    for kills in range(most):
        process = started(path, out, "--executor", "serial")
        process.join(chance.uniform(0, longest / 3))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        with suppress(ProcessLookupError):
            os.kill(process.pid, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        process.join(LONG)
        assert process.exitcode in (0, -9, -15), process.exitcode
    return most


@pytest.mark.slow
def test_several_processes_do_no_run_twice(tmp_path):
    (tmp_path / "counting.py").write_text(COUNTING)
    path = study_file(tmp_path, plugins=["counting.py"])
    text = yaml.safe_load(path.read_text())
    text["models"] = [{"recipe": name, "set": {"counting.into": "here"}} for name in ("ae", "cae", "dae-g")]
    path.write_text(yaml.safe_dump(text))
    counted = tmp_path / "counted.txt"
    words = ["--executor", "serial"]
    several = [started(path, tmp_path / "out", *words, COUNTED=str(counted)) for _ in range(3)]
    for process in several:
        process.join(LONG)
    assert [process.exitcode for process in several] == [0, 0, 0]
    lines = counted.read_text().splitlines()
    assert sorted(lines) == sorted(f"{model} {seed}" for model in ("ae", "cae", "dae-g") for seed in (0, 1))
    together = contents(tmp_path / "out")
    alone = started(path, tmp_path / "alone", *words, COUNTED=str(tmp_path / "more.txt"))
    alone.join(LONG)
    assert together == contents(tmp_path / "alone")
    assert Path(tmp_path / "out" / "report.html").is_file()
