"""Commands in processes forked from one that has torch in memory: to import it is most of the time of a short command.

A command meets what it would meet in a process of its own: folder, environment, arguments, packages, an empty
``__main__``, no module of these tests.
"""

import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from caelab.cli.main import main
from caelab.study.executors import PRELOADED

LENT = ("_forkserver_address", "_forkserver_authkey")  # by which a process finds its server; the latter since 3.14
OURS = ["caelab.report.publish", "caelab.report.studies", "caelab.testing"]
DRAWN_WITH = ["seaborn", "fontTools.subset", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg"]
ALSO = [*OURS, *DRAWN_WITH, "pyarrow.parquet", "sklearn.datasets"]


def environment(packages: Path | None = None) -> dict[str, str]:
    """That of a command: the interpreter's own scripts come first, one thread, and perhaps further packages."""
    found = {"PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])} if packages else {}
    return {
        **os.environ,
        **found,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


def run(perform: Callable[..., None], *words: object, folder: Path, packages: Path | None = None):
    """Call a function in a warm process, in a folder; its exit status, and what it wrote to stdout and stderr."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *ALSO, __name__])
    forkserver.ensure_running()
    server = {name: getattr(forkserver._forkserver, name) for name in LENT if hasattr(forkserver._forkserver, name)}
    logs = [folder / name for name in (".stdout.txt", ".stderr.txt")]
    process = context.Process(target=within, args=(perform, words, folder, packages, logs, server))
    process.start()
    process.join()
    said = [log.read_text(encoding="utf-8") for log in logs]
    for log in logs:
        log.unlink()
    return process.exitcode, *said


def within(perform, words, folder, packages, logs, server):
    """In the process itself."""
    surroundings = f"""
import os
os.environ.update({environment(packages)!r})
for stream, log in enumerate({[str(log.absolute()) for log in logs]!r}, 1):
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, stream)
    os.close(file)
"""
    exec(surroundings)
    share(server, surroundings)
    os.chdir(folder)
    if packages:
        sys.path.insert(0, str(packages))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")
    perform(*words)


class Surroundings:
    """Environment and output of a command, which a worker takes on when this is unpickled there."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return exec, (self.text,)


def share(server, surroundings):
    """Let workers of the command be forked from the server that it was forked from: one of its own loads torch anew."""
    vars(forkserver._forkserver).update(server)
    forkserver._forkserver.ensure_running = lambda: None
    start = BaseProcess.start

    def start_as_a_child_of_the_command(process):
        process.surroundings = Surroundings(surroundings)
        start(process)

    BaseProcess.start = start_as_a_child_of_the_command


def command(*words):
    """The command line."""
    sys.argv = ["caelab", *words]
    main(list(words))


def script(text):
    """A reader's Python."""
    exec(compile(text, "<string>", "exec"), vars(sys.modules["__main__"]))


def own_tests(*words):
    """pytest, on the tests of somebody's package."""
    import pytest

    sys.exit(pytest.main(list(words)))
