"""Classifiers: from a run's encoder to the classes of its data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from caelab.classifiers.classifier import Classifier, load_classifier, stored
from caelab.classifiers.descent import Told
from caelab.classifiers.examples import examples_of
from caelab.classifiers.methods import Task, method_of
from caelab.classifiers.network import copied_model
from caelab.classifiers.options import FineTuning, Options, checked
from caelab.errors import CaelabError, shown
from caelab.process.torch_settings import pinned_settings
from caelab.progress import Steps
from caelab.progress import checked as progress_of
from caelab.registry.arguments import path_of
from caelab.runs.run import Run, load_run, versions
from caelab.storage.files import PARTIAL

__all__ = ["Classifier", "finetune", "load_classifier"]


def finetune(
    run: Run | str | Path,
    *,
    method: str = "fine-tuning",
    labels: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    progress: Told | bool | None = None,
    **options: Any,
) -> Classifier:
    """Make a classifier from a run's encoder, or read it back if ``out`` already holds it.

    It learns from the labelled training examples, and everything is chosen by the validation examples; test examples
    are not looked at. The run stays as it is.

    Args:
        run: a run, or the folder of one.
        method: ``fine-tuning`` (all weights of the encoder, under a softmax layer), ``frozen`` (logistic regression on
            the code), ``nearest-neighbours``, ``svm-rbf`` or ``tangent-nearest-neighbours``.
        labels: how many labelled training examples, the first ones of the split; all of them by default.
        out: the folder of classifiers, in which it gets a folder of its own; without it nothing is stored.
        seed: of initial weights and batches; that of the run by default.
        progress: whether progress over the epochs of fine-tuning is shown; None shows it in a notebook and on a
            terminal. A function is told the metrics of every epoch instead.
        options: of the method, as ``learning_rate=0.05``, ``schedule="cosine"``, ``dropout=0.5``, or, of two methods,
            ``features="inputs"``.

    Raises:
        NotApplicable: the data have no labels, or the labelled examples are of one class, or there is nothing to tune.
        CaelabError: the run is not finished or has no encoder; an option is wrong; there are fewer labels than are
            asked for; fine-tuning diverges; something cannot be stored.
    """
    run = _run(run)
    chosen = checked(method, {"labels": labels, "seed": run.seed if seed is None else seed, **options})
    place = None if out is None else path_of(out, "the folder out")
    copied_model(run)  # one without an encoder is refused before anything is written
    examples = examples_of(run.dataset, chosen.labels)

    with pinned_settings(), _told(run.label, chosen, progress) as told:

        def make(checkpoint: Path | None) -> Classifier:
            return _made(run, Task(run, chosen, examples, place, checkpoint, told), chosen)

        return make(None) if place is None else stored(run, chosen, place, make)


@contextmanager
def _told(label: str, options: Options, progress: Told | bool | None) -> Iterator[Told]:
    """What is told of each epoch: the caller's function, or a display; other methods have no epochs."""
    if callable(progress):
        yield progress
        return
    total = options.epochs if isinstance(options, FineTuning) else 0
    with Steps(label, total, progress_of(progress, ", a function")) as steps:
        yield lambda row: steps.step(
            f"epoch {row['epoch']:.0f}, validation error {row['valid_error']:.4g} %", int(row["epoch"])
        )


def _made(run: Run, task: Task, options: Options) -> Classifier:
    started = time.perf_counter()
    fitted = method_of(options).fit(task)
    record = {
        "seconds": round(time.perf_counter() - started, 3),
        "threads": torch.get_num_threads(),
        "labels": len(task.examples.train),
        "versions": versions(),
    }
    return Classifier(run, options, task.examples.classes, fitted, record)


def _run(given: Any) -> Run:
    """A run, or that of a folder.

    Raises:
        CaelabError: it is neither, or the run is not finished.
    """
    if isinstance(given, Run):
        return given
    if not isinstance(given, str | Path):
        raise CaelabError(f"expected a run or the folder of one, but {shown(given)} came")
    folder = path_of(given, "the folder of a run")
    if folder.name.startswith(PARTIAL):
        raise CaelabError(
            f"the run {folder} is not finished; the command that was interrupted goes on with it: give that again, and "
            "then the folder that it names"
        )
    return load_run(folder)
