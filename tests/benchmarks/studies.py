"""Studies: what the engine adds, what two cores save, and how long very many runs take to look through and collect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from caelab import recipe_config, run_study, train
from caelab.study.folder import PlannedRun, read_plan, write_plan
from caelab.study.records import Entry, files_of, read_entry, write_entry
from caelab.study.study import Study
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.measure import Spread

MANY = 10_000
LONG_RUN = 30.0  # seconds of the run that what the engine adds is compared with
TINY = {"training.epochs": 1, "model.hidden": [8]}
MEASURED = """
import resource, sys, time
from pathlib import Path
from caelab.study.results import collect
started = time.perf_counter()
collect(Path(sys.argv[1]))
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [
        Case("16 runs, mnist5k, 500 units, on two cores / one after another", at_most(0.6), _grid),
        Case("what the engine adds to a run of 30 s", at_most(3, " %"), _added),
        Case(f"status of {MANY} runs, the whole command", at_most(2, " s"), _status),
        Case(f"collecting {MANY} runs", at_most(30, " s"), partial(_collect, 0, 1.0)),
        Case(f"memory of collecting {MANY} runs", at_most(1, " GiB"), partial(_collect, 1, 2.0**-30)),
    ]


def _grid(bench: Bench) -> Spread:
    """By the clock on the wall; with a few epochs, so that starting the workers counts more than it would."""
    epochs = 3 if bench.quick else 10
    weights = [0.1, 0.3, 1.0, 3.0]
    configs = [
        recipe_config("cae", ["model.hidden=[500]", f"training.epochs={epochs}", f"contractive.weight={weight}"],
                      label=f"cae {weight}")
        for weight in weights
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        both = [
            _seconds(Study(configs, 4, ["jacobian_norm"], Path(folder) / name), executor="processes", workers=workers)
            for name, workers in (("one", 1), ("two", 2))
        ]
    return Spread(both[1] / both[0], both[1] / both[0], both[1] / both[0])


def _seconds(study: Study, **how: object) -> float:
    started = time.perf_counter()
    study.run(**how)  # type: ignore[arg-type]
    return time.perf_counter() - started


def _added(bench: Bench) -> Spread:
    """Check, locks, record and results of a tiny run, over 30 seconds; its worker is there already."""
    config = recipe_config("ae", ["training.epochs=1", "model.hidden=[8]"], dataset={"kind": "digits"})
    shares = []
    with TemporaryDirectory() as folder:
        train(config)  # what is imported once
        for place in range(5):
            study = Study([config], 1, {}, Path(folder) / f"s{place}" / "runs", folder=Path(folder) / f"s{place}")
            plain, engine = _alone(config, Path(folder) / f"t{place}"), _seconds(study, executor="serial")
            shares.append(100 * (engine - plain) / LONG_RUN)
    shares.sort()
    return Spread(shares[2], shares[0], shares[-1])


def _alone(config: object, out: Path) -> float:
    started = time.perf_counter()
    train(config, out=out)  # type: ignore[arg-type]
    return time.perf_counter() - started


@contextmanager
def many_runs(count: int) -> Iterator[Path]:
    """A finished study of very many runs: one real run many times, by links to its files."""
    with TemporaryDirectory() as place:
        study = {"models": ["ae"], "datasets": ["digits"], "set": TINY, "seeds": 1, "analyses": ["jacobian_norm"]}
        folder = run_study({**study, "out": f"{place}/study"}, executor="serial")
        (planned,) = read_plan(folder)
        entry = read_entry(folder, planned.run)
        assert entry is not None
        plan = [replace(planned, run=f"ae-{number:012x}", seed=number) for number in range(count)]
        for each in plan:
            _copy(folder, entry, each)
        write_plan(folder, plan, "")
        yield folder


def _copy(folder: Path, entry: Entry, each: PlannedRun) -> None:
    target = folder / "runs" / each.run
    shutil.copytree(folder / "runs" / entry.folder, target, copy_function=os.link)
    files = files_of(target, entry.tables.values())
    write_entry(folder, replace(entry, run=each.run, folder=each.run, seed=each.seed, files=files))


def _status(bench: Bench) -> Spread:
    """The command, from its start to its end."""
    with many_runs(MANY) as folder:
        found = sorted(_command("study", "status", str(folder)) for _ in range(3))
    return Spread(found[1], found[0], found[2])


def _command(*words: str) -> float:
    started = time.perf_counter()
    script = "from caelab.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def _collect(which: int, factor: float, bench: Bench) -> Spread:
    """In a process of its own, for its memory."""
    with many_runs(MANY) as folder:
        done = subprocess.run([sys.executable, "-c", MEASURED, str(folder)], check=True, capture_output=True, text=True)
    value = float(done.stdout.split()[which]) * factor
    return Spread(value, value, value)
