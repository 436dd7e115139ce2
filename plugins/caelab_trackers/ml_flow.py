"""Runs in MLflow, by its client; the local store is one SQLite file."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from caelab.storage.locks import is_being_written, one_writer
from caelab_trackers.tracker import Tracker, flat, needed

EXPERIMENT = "caelab"
RUN, LABEL, SEED = "caelab_run", "caelab_label", "caelab_seed"
ALWAYS = "valid_reconstruction"  # the metric that every epoch has
AT_ONCE = 100  # parameters of one call
LONGEST = 6000  # letters of a parameter
TRIES = 6  # while another process writes to the same file

Found = TypeVar("Found")


class MLflow(Tracker):
    """Logs the config as parameters, the metrics of every epoch, and label, seed and name of the run as tags.

    Look at them with ``mlflow ui --backend-store-uri target``.

    Args:
        target: a tracking URI such as ``sqlite:///mlruns.db``, or the path of an SQLite file.
        experiment: the MLflow experiment that holds the runs.
    """

    def __init__(self, target: str | Path, experiment: str = EXPERIMENT) -> None:
        super().__init__(store_of(str(target)))
        self.experiment = experiment
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a local store stays local
        self.entities = needed("mlflow.entities", "mlflow")
        self.library = needed("mlflow.tracking", "mlflow")
        if self.target.startswith("sqlite:"):
            needed("alembic", "mlflow")
            needed("sqlalchemy", "mlflow")
        self.client: Any = None
        self.run = ""

    def start(self, name: str, config: Any) -> set[int]:
        """Find the run in the store, or create it with its parameters."""
        with self._set_up():
            self.client = self.library.MlflowClient(tracking_uri=self.target)
        experiment = patiently(self._experiment)
        found = self._found(experiment, name)
        if found:
            self.run = found
            steps = {each.step for each in self.client.get_metric_history(found, ALWAYS)}
            patiently(lambda: self.client.update_run(found, status="RUNNING"))
            return steps
        tags = {RUN: name, LABEL: config.label, SEED: str(config.seed)}
        made = patiently(lambda: self.client.create_run(experiment, run_name=name, tags=tags))
        self.run = made.info.run_id
        self._log_parameters(config)
        return set()

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """Let one process at a time make the tables of a new file, which two at once would leave half-made."""
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        place = Path(self.target.removeprefix("sqlite:///"))
        new = self.target.startswith("sqlite:") and (not place.exists() or is_being_written(place))
        with one_writer(place) if new else nullcontext():
            yield

    def _experiment(self) -> str:
        """The experiment's id; another process may create it at the same moment."""
        found = self.client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id if found else self.client.create_experiment(self.experiment))

    def _found(self, experiment: str, name: str) -> str:
        """The id of the run of this name in the store; empty where there is none."""
        seed = name.rpartition("-")[2]  # letters and digits alone, so that a label needs no quoting
        runs = self.client.search_runs([experiment], f"tags.`{RUN}` LIKE '%{seed}'")
        return next((str(run.info.run_id) for run in runs if run.data.tags.get(RUN) == name), "")

    def _log_parameters(self, config: Any) -> None:
        plain = [
            self.entities.Param(key_of(key), str(value)[:LONGEST]) for key, value in flat(config.as_dict()).items()
        ]
        for start in range(0, len(plain), AT_ONCE):
            part = plain[start : start + AT_ONCE]
            patiently(lambda part=part: self.client.log_batch(self.run, params=part))  # type: ignore[misc]

    def write(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """All metrics of one epoch in one transaction."""
        now = int(time.time() * 1000)
        each = [self.entities.Metric(key_of(name), value, now, epoch) for name, value in metrics.items()]
        patiently(lambda: self.client.log_batch(self.run, metrics=each))

    def finish(self) -> None:
        """Mark the run as finished."""
        patiently(lambda: self.client.set_terminated(self.run))


def store_of(target: str) -> str:
    """The URI of a store with a path that holds in any folder.

    >>> store_of("http://127.0.0.1:5000"), store_of("sqlite:////tmp/runs.db"), store_of("/tmp/runs.db")
    ('http://127.0.0.1:5000', 'sqlite:////tmp/runs.db', 'sqlite:////tmp/runs.db')
    """
    scheme, _, path = target.rpartition("://")
    if scheme not in ("", "sqlite"):
        return target
    path = path[1:] if scheme else path
    return f"sqlite:///{Path(path).expanduser().absolute()}"


def key_of(name: str) -> str:
    """A name with the letters that MLflow takes.

    >>> key_of("train_||J||")
    'train___J__'
    """
    return re.sub(r"[^\w. /-]", "_", name)


def patiently(call: Callable[[], Found]) -> Found:
    """The answer of a call to the store, tried again while another process writes to the same one or sets it up."""
    for attempt in range(TRIES):
        try:
            return call()
        except Exception as error:
            busy = "locked" in str(error) or "exist" in str(error).lower()
            if not busy or attempt == TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError
