"""The Classifier: what a run's features are worth, measured by the classes that they tell apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from caelab.classifiers.examples import UNKNOWN_CLASS, error_of, targets_of
from caelab.classifiers.methods import Fitted
from caelab.classifiers.options import Options
from caelab.classifiers.store import name_of, read_folder, write_folder
from caelab.errors import CaelabError, shown
from caelab.process.torch_settings import pinned_settings
from caelab.registry.arguments import path_of, tensor_of
from caelab.runs.run import Run
from caelab.storage.files import aside
from caelab.storage.locks import clear_lock, one_writer

PARTS = ("valid", "test")
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A classifier that was made from a run's encoder.

    Attributes:
        run: the run that it started from; it stays as it was.
        config: the options of its method.
        classes: the labels that it tells apart, as the data set numbers them, ascending, shape (classes,);
            ``class_names`` says what they are called.
        fitted: its rule, and the model whose encoder that uses.
        record: what was found: versions, hash of the data, seconds.
        path: its folder, if it was saved.
    """

    run: Run
    config: Options
    classes: Tensor
    fitted: Fitted = field(repr=False)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: Path | None = None

    @property
    def label(self) -> str:
        """The name of the run's model, and that of the method."""
        return f"{self.run.label} {self.config.method}"

    def __repr__(self) -> str:
        """What it is, in one line."""
        where = "" if self.path is None else f", {str(self.path)!r}"
        return f"<Classifier {self.label!r} of {len(self.classes)} classes{where}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in their order: by the data set, or by their numbers."""
        names = self.run.dataset.label_names
        return tuple(str(label) if names is None else names[label] for label in self.classes.tolist())

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of every epoch of fine-tuning; of other methods, every candidate that was tried."""
        return self.fitted.history

    @property
    def history(self) -> pd.DataFrame:
        """The metrics as a table, one row for each epoch or candidate."""
        return pd.DataFrame(self.metrics)

    def history_table(self) -> pd.DataFrame:
        """The earlier name of ``history``."""
        return self.history

    def best(self) -> dict[str, float]:
        """The entry of the history that was kept: the best epoch, or the candidate that was chosen."""
        if not self.metrics:
            return {"valid_error": self.error()}
        return min(self.metrics, key=lambda row: (row["valid_error"], row.get("valid_loss", 0.0)))

    @property
    def encoder(self) -> Any:
        """f, maps (batch, d) to (batch, code): after fine-tuning the one that came of it, else that of the run."""
        return self.fitted.model.encode

    def predict_proba(self, inputs: Tensor) -> Tensor:
        """p(class | x), float64, shape (batch, classes), in the order of ``classes``; each row sums to 1.

        Of nearest neighbours it is each class's share of them; of support vectors a softmax that was calibrated on the
        validation examples. No gradient is kept.
        """
        return self._log_probabilities(inputs).double().exp()

    def predict(self, inputs: Tensor) -> Tensor:
        """The likeliest class of each input, as the data set numbers it, shape (batch,)."""
        return self.classes[self._log_probabilities(inputs).argmax(dim=1)]

    def score(self, inputs: Tensor, labels: Any) -> float:
        """The accuracy: the share of inputs, from 0 to 1, whose label is predicted.

        Args:
            inputs: shape (batch, d).
            labels: as the data set numbers them, or as it calls them, shape (batch,).

        Raises:
            CaelabError: there are not as many labels as inputs, or none, or they are no labels.
        """
        truth = self._numbered(labels)
        if truth.shape != (len(inputs),) or not len(truth):
            raise CaelabError(
                f"expected one label for each of {len(inputs)} inputs, at least one, but labels of shape "
                f"{tuple(truth.shape)} came"
            )
        return float((self.predict(inputs) == truth).double().mean())

    def _numbered(self, labels: Any) -> Tensor:
        """Labels as the data set numbers them; -1 stands for a text that names none of its classes."""
        names = self.run.dataset.label_names
        try:
            plain = labels.cpu() if isinstance(labels, Tensor) else np.asarray(labels)
            if (
                isinstance(plain, np.ndarray)
                and names is not None
                and all(isinstance(each, str) for each in plain.flat)
            ):
                numbers = {name: number for number, name in enumerate(names)}
                plain = np.array([numbers.get(each, UNKNOWN_CLASS) for each in plain.flat]).reshape(plain.shape)
            return torch.as_tensor(plain)
        except (TypeError, ValueError, RuntimeError) as error:
            known = "numbers" if names is None else f"numbers, or as the names {', '.join(names)}"
            raise CaelabError(f"expected labels as {known}, but {shown(labels)} came") from error

    def error(self, part: Literal["valid", "test"] = "valid") -> float:
        """The share of the run's validation or test examples whose class is not predicted, in percent.

        Test examples are looked at only here, and where they are given to ``score``.
        """
        if part not in PARTS:
            raise CaelabError(
                f"expected 'valid' or 'test' as the part whose error is asked for, but {shown(part)} came"
            )
        data = self.run.dataset
        assert data.labels is not None  # else there would be no classifier
        chosen = data.valid if part == "valid" else data.test
        found = self._log_probabilities(data.inputs[chosen])
        return error_of(found, targets_of(data.labels[chosen], self.classes))

    def as_run(self) -> Run:
        """A run whose encoder is the one after fine-tuning, for every analysis that measures an encoder.

        Its decoder is the run's, which was not trained with that encoder (a tied one has its weights); its label is
        the run's and the method, its folder None, so that nothing of it is stored with the run.
        """
        metrics = self.metrics if self.config.method == "fine-tuning" else self.run.metrics
        config = self.run.config.with_label(self.label)
        return replace(self.run, config=config, model=self.fitted.model, metrics=metrics, path=None)

    def save(self, out: str | Path) -> Classifier:
        """Store it in a folder of classifiers, and return it with its ``path``; one that is there already stays.

        Raises:
            CaelabError: the folder cannot be written.
        """
        return stored(self.run, self.config, path_of(out, "the folder out"), lambda checkpoint: self)

    @staticmethod
    def load(path: str | Path, *, run: Run | None = None) -> Classifier:
        """See :func:`caelab.load_classifier`."""
        return load_classifier(path, run=run)

    def _log_probabilities(self, inputs: Tensor) -> Tensor:
        given = tensor_of(inputs, "inputs, shape (batch, d),")
        width = self.run.dataset.inputs.shape[1]
        if given.ndim != 2 or given.shape[1] != width:
            raise CaelabError(f"expected inputs of shape (batch, {width}), but {tuple(given.shape)} came")
        if not len(given):
            return torch.empty(0, len(self.classes), dtype=torch.float64)
        if not torch.stack(given.aminmax()).isfinite().all():
            raise CaelabError("expected finite inputs, but some of their values are NaN or infinite; impute them")
        with pinned_settings(), torch.no_grad():
            return self.fitted.rule.log_probabilities(given.to(self.run.dataset.inputs.dtype))


def load_classifier(path: str | Path, *, run: Run | None = None) -> Classifier:
    """Read a classifier back from its folder.

    Args:
        path: the folder that ``finetune`` named.
        run: that it started from, where its model or its data were given as objects.

    Raises:
        CaelabError: the folder is no classifier, is not finished or damaged, or it was made from another run.
    """
    folder = path_of(path, "the folder of a classifier")
    found = read_folder(folder, run)
    return Classifier(found.run, found.options, found.classes, found.fitted, found.record, folder)


def stored(run: Run, options: Options, out: Path, make: Callable[[Path], Classifier]) -> Classifier:
    """The classifier in its folder: made by one process, found by all others.

    Args:
        run: that it starts from.
        options: of its method.
        out: the folder of classifiers.
        make: makes it, with its checkpoint at that path.
    """
    folder = out / name_of(run, options)
    if not folder.is_dir():
        with one_writer(folder):
            if not folder.is_dir():
                made = make(aside(folder) / CHECKPOINT)
                write_folder(folder, made.run, made.config, made.record, made.fitted)
                return replace(made, path=folder)
    clear_lock(folder)
    return load_classifier(folder, run=run)
