"""Nearest neighbours: by Euclidean distance of codes or inputs, and by tangent distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from caelab.classifiers.examples import Labelled, error_of
from caelab.classifiers.network import codes_of
from caelab.classifiers.options import INPUTS, NearestNeighbours, TangentNeighbours
from caelab.classifiers.planes import tangents_of
from caelab.classifiers.tangent_distance import one_sided, two_sided

AT_ONCE = 500  # inputs whose distances to all training examples are computed together


@dataclass
class Neighbours:
    """The nearest training examples, by Euclidean distance of the features.

    Attributes:
        model: whose encoder gives the code.
        options: with the features.
        train: the training examples.
        classes: how many there are.
        count: k, of those that vote.
    """

    model: Any
    options: NearestNeighbours
    train: Labelled
    classes: int
    count: int = 1

    def __post_init__(self) -> None:
        self.known = self.features(self.train.inputs)

    def features(self, inputs: Tensor) -> Tensor:
        """Codes or inputs, shape (n, width)."""
        return inputs if self.options.features == INPUTS else codes_of(self.model.encode, inputs)

    def nearest(self, inputs: Tensor, count: int) -> Tensor:
        """The places of the ``count`` nearest training examples, nearest first, shape (n, count)."""
        found = [_nearest(part, self.known, count) for part in torch.split(self.features(inputs), AT_ONCE)]
        return torch.cat(found)

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """The logarithm of each class's share of the k nearest, -∞ for one that has none, shape (n, classes)."""
        return self.shares(self.nearest(inputs, self.count)).log()

    def shares(self, nearest: Tensor) -> Tensor:
        """Each class's share of the neighbours, shape (n, classes)."""
        return F.one_hot(self.train.targets[nearest], self.classes).double().mean(dim=1)


@dataclass
class TangentDistance(Neighbours):
    """The nearest training examples by tangent distance, among the nearest by Euclidean distance of the inputs.

    Attributes:
        planes: tangents of the training examples, shape (n, k, d).
    """

    options: TangentNeighbours  # type: ignore[assignment]
    planes: Tensor | None = None

    def features(self, inputs: Tensor) -> Tensor:
        """The inputs themselves."""
        return inputs

    def nearest(self, inputs: Tensor, count: int) -> Tensor:
        """The places of the ``count`` nearest training examples, nearest first, shape (n, count)."""
        among = super().nearest(inputs, max(count, min(self.options.candidates, len(self.train))))
        found = []
        for part, places in zip(torch.split(inputs, AT_ONCE), torch.split(among, AT_ONCE), strict=True):
            own = (
                tangents_of(self.model, part, self.options.tangents) if self.options.sides == 2 else [None] * len(part)
            )
            rows = [self.distances(*each) for each in zip(part, own, places, strict=True)]
            order = torch.stack(rows).topk(count, largest=False, sorted=True).indices
            found.append(places.gather(1, order))
        return torch.cat(found)

    def distances(self, example: Tensor, directions: Tensor | None, places: Tensor) -> Tensor:
        """The squared tangent distances of one input to training examples, shape (places,)."""
        assert self.planes is not None
        planes = self.planes[places].to(example)
        difference = example - self.train.inputs[places]
        if directions is None:
            return one_sided(difference, planes)
        return two_sided(difference, directions.to(example), planes)


def _nearest(features: Tensor, known: Tensor, count: int) -> Tensor:
    """The places of the nearest, from ‖x‖² - 2 x·y + ‖y‖²; in float64, so that close ones are told apart."""
    distances = torch.cdist(features.double(), known.double())
    nearest: Tensor = distances.topk(count, largest=False, sorted=True).indices
    return nearest


def tuned_count(found: Neighbours, valid: Labelled) -> list[dict[str, float]]:
    """Set k to the candidate with the lowest validation error, the first of equals; return what was tried.

    Candidates that exceed the number of training examples are left out.
    """
    counts = [k for k in found.options.neighbours if k <= len(found.train)] or [len(found.train)]
    nearest = found.nearest(valid.inputs, max(counts))
    tried = [
        {"neighbours": float(k), "valid_error": error_of(found.shares(nearest[:, :k]), valid.targets)} for k in counts
    ]
    found.count = int(min(tried, key=lambda row: row["valid_error"])["neighbours"])
    return tried
