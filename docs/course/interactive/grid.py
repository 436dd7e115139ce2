"""The grid of the interactive page: an auto-encoder for each pair of lambda and sigma, and examples to show it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import caelab
from caelab import CaelabError, Dataset, Run
from caelab.training.batched import train_together

LARGEST = 1_550_000  # bytes of all encoders, one for each weight: with them the page stays below 2 MB
CLASSES = 10  # examples in a row


@dataclass(frozen=True)
class Grid:
    """What is trained.

    Attributes:
        lambdas: weights λ of the contractive penalty, ascending.
        sigmas: standard deviations σ of the noise in training, ascending.
        dataset: name of a data set of grey pictures in [0, 1].
        hidden: units of the code.
        epochs: passes over the training examples.
        seed: of splits, initial weights, order and noise; the same for every model, so that unit j can be compared.
    """

    lambdas: Sequence[float]
    sigmas: Sequence[float]
    dataset: str
    hidden: int
    epochs: int
    seed: int

    def config(self, weight: float, sigma: float) -> dict[str, Any]:
        """The config of one model: tied sigmoid layers, cross-entropy, and the regularizers that are not zero."""
        regularizers: dict[str, Any] = {"contractive": {"weight": weight}} if weight else {}
        if sigma:
            regularizers["gaussian"] = {"sigma": sigma}
        settings = [f"model.hidden=[{self.hidden}]", f"training.epochs={self.epochs}", "training.learning_rate=0.01"]
        base = caelab.recipe_config("ae", [*settings, f"seed={self.seed}"], dataset={"kind": self.dataset}).as_dict()
        return {**base, "label": f"lambda {weight:g}, sigma {sigma:g}", "regularizers": regularizers}


def loaded(grid: Grid) -> Dataset:
    """The data of all models.

    Raises:
        CaelabError: they are no grey pictures in [0, 1], or the page would be too large.
    """
    dataset = caelab.load_dataset(grid.dataset, seed=grid.seed)
    if dataset.image_shape is None or len(dataset.image_shape) != 2:
        raise CaelabError(
            f"the page shows inputs as grey pictures, but those of {grid.dataset!r} have the shape "
            f"{dataset.image_shape or 'of vectors'}; choose another data set, as mnist5k, digits or fashion-mnist"
        )
    if dataset.inputs.min() < 0 or dataset.inputs.max() > 1:
        raise CaelabError(f"expected inputs in [0, 1], as cross-entropy needs, but {grid.dataset!r} goes beyond")
    if len(dataset.valid) < 2 or bool((dataset.valid_inputs == dataset.valid_inputs[0]).all()):
        raise CaelabError(
            f"the contraction curve needs two distinct validation examples, but {grid.dataset!r} has "
            f"{len(dataset.valid)} without; give more examples"
        )
    models = len(grid.lambdas) * len(grid.sigmas)
    entries = models * grid.hidden * dataset.inputs.shape[1]
    if entries > LARGEST:
        raise CaelabError(
            f"{models} encoders of {grid.hidden} by {dataset.inputs.shape[1]} weights have {entries} weights, but at "
            f"most {LARGEST} fit into a page of 2 MB; give fewer lambdas, sigmas or hidden units"
        )
    return dataset


def trained(grid: Grid, runs: Path | None) -> Iterator[tuple[str, list[Run]]]:
    """For each sigma a line that says what was done, and the models of all lambdas.

    Args:
        grid: what to train.
        runs: folder that runs are kept in and found again, if any.
    """
    for sigma in grid.sigmas:
        started = time.perf_counter()
        found = train_together([grid.config(weight, sigma) for weight in grid.lambdas], out=runs)
        yield f"sigma {sigma:g}: {len(found)} models in {time.perf_counter() - started:.0f} s", found


def shown_examples(dataset: Dataset, count: int) -> tuple[Tensor, list[str]]:
    """Validation examples and their labels, in rows with one of each class; without labels, the first ones.

    Returns:
        Inputs (examples, d), at most ``count``, and as many texts, empty ones without labels.
    """
    labels = dataset.valid_labels
    if labels is None:
        found = min(count, len(dataset.valid))
        rows = torch.arange(found if found < CLASSES else found // CLASSES * CLASSES)
        return dataset.valid_inputs[rows], [""] * len(rows)
    classes = labels.unique()[:CLASSES]
    places = [torch.nonzero(labels == each).flatten() for each in classes]
    deep = min(max(1, count // len(classes)), *(len(each) for each in places))
    rows = torch.stack([each[:deep] for each in places], dim=1).flatten()
    names = dataset.label_names
    texts = [str(int(each)) if names is None else names[int(each)] for each in labels[rows]]
    return dataset.valid_inputs[rows], texts
