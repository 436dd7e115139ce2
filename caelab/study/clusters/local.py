"""A Dask cluster of this machine's own: a scheduler in this process, and worker processes that are started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any

from caelab.errors import CaelabError
from caelab.study.clusters.extras import needed

PATIENCE = 120  # seconds until the first worker is there, which imports torch on a busy machine

_watching: list[Thread] = []


class LocalWorkers:
    """Worker processes on this machine, and their scheduler; they end with this process, however that ends.

    Workers are started by Dask's own command, so that they never run the user's script again.

    Args:
        count: how many.
        resources: of each worker.

    Raises:
        CaelabError: they cannot be started.
    """

    def __init__(self, count: int, resources: Mapping[str, float]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="caelab-dask-", ignore_cleanup_errors=True)
        self.cluster = needed("distributed", "dask", "dask").LocalCluster(
            n_workers=0,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=False,
        )
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the workers live)
        self.process = subprocess.Popen(
            [*_command(self.cluster.scheduler_address, count, resources), "--local-directory", self.folder.name],
            stdin=subprocess.PIPE,  # it closes when this process ends, however that ends
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # an interrupt of the user is for this process, which then ends them
        )

    def wait_for(self, client: Any) -> None:
        """Return when the first worker is there.

        Raises:
            CaelabError: none comes; it shows what the workers said last.
        """
        end = time.monotonic() + PATIENCE
        while not client.scheduler_info(n_workers=-1)["workers"]:
            if self.process.poll() is not None or time.monotonic() > end:
                raise CaelabError(f"no Dask worker could be started ({self._last_words()}); take --executor processes")
            time.sleep(0.05)

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """End the workers, whatever they do, and their scheduler."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.cluster.close()
        self.log.close()
        self.folder.cleanup()


def _command(address: str, count: int, resources: Mapping[str, float]) -> list[str]:
    each = " ".join(f"{name}={amount:g}" for name, amount in resources.items())
    options: dict[str, Any] = {"--nworkers": count, "--nthreads": 1, "--memory-limit": 0, "--death-timeout": PATIENCE}
    options |= {"--preload-nanny": __name__, "--host": "127.0.0.1"} | ({"--resources": each} if each else {})
    given = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", *given]


def dask_setup(nanny: Any) -> None:
    """Have all workers end when the study's process does; Dask calls this where it starts them, once for each."""
    if not _watching:
        _watching.append(Thread(target=_end_with_stdin, daemon=True))
        _watching[0].start()


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
