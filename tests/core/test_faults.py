"""A disk that fails at any step of any command: a true sentence, nothing good lost, and the same command then heals."""

import errno
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from caelab.cli.main import main
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.store import load_comparison
from caelab.storage.files import READ_ONLY
from tests.core.faults import Disk

SETTINGS = ["--set", "training.epochs=2", "--set", "model.hidden=[3]", "--set", "training.batch_size=20"]
NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO, errno.ENAMETOOLONG]
SIGNS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on this disk is used up",
    errno.EFBIG: "would be larger than a file may be here",
    errno.EROFS: "its file system is read-only",
    errno.EACCES: "(Permission denied)",
    errno.EIO: "the disk failed (Input/output error)",
    errno.ENAMETOOLONG: "is longer than the file system allows",
}


def measure(run, streams):
    return pd.DataFrame({"code": run.encode(run.dataset.valid_inputs).mean(dim=0).numpy()})


def draw(table):
    return Figure(figsize=(1, 1))


def quick_figure(self, target, format, **_):
    """Drawing is not what is looked at here."""
    target.write('<svg width="9pt"></svg>' if format == "svg" else format.encode())


@pytest.fixture(autouse=True)
def offered(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", quick_figure)
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    for name in ("one", "two"):
        thing = SimpleNamespace(
            measure=measure, draw=draw, summarise=lambda table, name=name: {name: table["code"].sum()}
        )
        catalogue().offers["analysis", name] = Offer("analysis", name, "test", thing)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.random((40, 5)).astype("float32"), y=rng.integers(0, 2, 40))
    return ["--dataset", f"npz:{path}", *SETTINGS]


def said(*words):
    """Exit status, and what was said on both streams."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0, out.getvalue(), err.getvalue()


def done(*words):
    status, out, err = said(*words)
    assert status == 0, err
    return out


def compare(data, out, *recipes, analyses="one,two"):
    words = ["compare", *recipes, *data, "--seeds", "1", "--executor", "serial", "--analyses", analyses]
    return [*words, "--out", str(out)]


SAY_WHEN = (
    "run.json",
    "comparison.json",
    "analysis.json",
    "study.json",
    "report.html",
)  # with times, and the command's words


def says_the_same(path):
    """Whether a file holds no times; what became of a run says when it ended."""
    return path.name not in SAY_WHEN and path.parent.name != "outcomes"


def content(folder):
    """The bytes of every file that says the same each time; a lock that could not be removed harms no one."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock" and says_the_same(p)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def finished(folder):
    """The same without what waits to be removed."""
    return {name: each for name, each in content(folder).items() if ".partial-" not in name}


COMMANDS = ["train", "compare", "second compare", "figures", "report", "analyse"]


def prepared(command, data, folder):
    """The folder before the command, and the command's words."""
    out, runs = folder / "out", folder / "out" / "runs"
    if command == "train":
        return ["train", "ae", *data, "--out", str(runs)]
    if command == "compare":
        return compare(data, out, "ae", analyses="one")
    done(*compare(data, out, "ae", *(["cae"] if command == "second compare" else []), analyses="one"))
    run = min(runs.iterdir())
    return {
        "second compare": compare(data, out, "ae", analyses="two"),
        "figures": ["figures", str(out)],
        "report": ["report", str(out)],
        "analyse": ["analyse", "two", "--run", str(run), "--out", str(out / "analysis")],
    }[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fails_at_any_step(command, data, tmp_path, monkeypatch):
    start, place = tmp_path / "start", tmp_path / "here"
    start.mkdir()
    words = [str(word).replace(str(start), str(place)) for word in prepared(command, data, start)]
    shutil.copytree(start, place)
    with monkeypatch.context() as patch:
        steps = one_of_each_kind(counted(patch, place, words))
    expected = content(place)
    problems = []
    for number, step in zip(cycle(NUMBERS), steps, strict=False):
        shutil.rmtree(place)
        shutil.copytree(start, place)
        before = content(place)
        with monkeypatch.context() as patch:
            disk = Disk(patch, place, step, number)
            status, _, err = said(*words)
        what = f"{command} {step} {errno.errorcode[number]} {disk.done[step]}"
        last = err.strip().splitlines()[-1] if err.strip() else ""
        if status == 2 and not (last.startswith("error: ") and SIGNS[number] in last):
            problems.append((what, "reason", last))
        if status not in (0, 2) or "Traceback" in err or "mistake in caelab" in err:
            problems.append((what, f"status {status}", err))
        lost = [name for name in before if name.startswith("out/runs") and not (place / name).exists()]
        if lost:
            problems.append((what, "lost", lost))
        missing = dict(finished(place).items() ^ expected.items())
        if number in READ_ONLY:  # a run that may not be written is measured, and stores nothing: results leave it out
            missing = {name: each for name, each in missing.items() if not {"tables", "results"} & {*name.split("/")}}
        if status == 0 and missing:
            problems.append((what, "exit 0, but", sorted(missing)))
        if command in ("second compare", "figures", "report"):
            try:
                load_comparison(place / "out")
            except Exception as error:
                problems.append((what, "no comparison", str(error)))
        status, _, err = said(*words)
        if status != 0:
            problems.append((what, "not healed", err))
        elif content(place) != expected:
            problems.append((what, "healed otherwise", sorted(dict(content(place).items() ^ expected.items()))))
    assert not problems, (len(steps), len(problems), "\n".join(map(str, problems)))
    assert len(steps) >= 12


def one_of_each_kind(done):
    """The first step of each kind: what is done, to a file of which ending, or to a folder of which name."""
    kinds = {}
    for step, (what, path) in enumerate(done):
        name = re.sub(r"[0-9a-f]{8,}|[0-9]+", "", Path(path).name)
        kinds.setdefault((what, Path(name).suffix or name), step)
    return sorted(kinds.values())


def counted(patch, place, words):
    disk = Disk(patch, place)
    done(*words)
    return disk.done
