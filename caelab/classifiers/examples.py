"""The labelled examples of a run: those to learn from, and those to choose by; test examples are not among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from caelab.data import Dataset
from caelab.errors import CaelabError, NotApplicable
from caelab.training.batches import Inputs, Rows

UNKNOWN_CLASS = -1  # of a validation example whose class no labelled training example has: whatever is said is wrong


@dataclass(frozen=True)
class Labelled:
    """Inputs (n, d) and the place of each one's class among the known classes (n,).

    Attributes:
        rows: the inputs, or where they are larger than memory, what gives some of them.
        targets: the places of their classes.
    """

    rows: Inputs
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def inputs(self) -> Tensor:
        """All inputs, in memory."""
        return self.rows if isinstance(self.rows, Tensor) else self.rows[:]

    def to(self, device: str) -> Labelled:
        """The same on a device, whose memory gets only what is asked for of inputs that stay in a file."""
        rows = self.rows.to(device) if isinstance(self.rows, Tensor) else replace(self.rows, device=device)
        return Labelled(rows, self.targets.to(device))


@dataclass(frozen=True)
class Examples:
    """What a classifier sees of a data set while it is made.

    Attributes:
        classes: the labels that occur among the labelled training examples, ascending, shape (classes,).
        train: the labelled training examples.
        valid: the validation examples, by which everything is chosen.
    """

    classes: Tensor
    train: Labelled
    valid: Labelled


def examples_of(dataset: Dataset, count: int | None) -> Examples:
    """The first ``count`` training examples (all where it is None) with their labels, and the validation examples.

    Raises:
        NotApplicable: the data have no labels, or the labelled examples are all of one class, or no validation example
            is of any of theirs.
        CaelabError: more labels are asked for than there are.
    """
    if dataset.labels is None:
        raise NotApplicable(
            f"a classifier needs labels, but the data set {dataset.name!r} has none; give inputs with their labels"
        )
    chosen = dataset.train if count is None else dataset.train[:count]
    if count is not None and count > len(dataset.train):
        raise CaelabError(
            f"expected at most {len(dataset.train)} labels, as many as the data set {dataset.name!r} has training "
            f"examples, but {count} are asked for; ask for fewer, or leave labels out to take all"
        )
    classes = torch.unique(dataset.labels[chosen])  # sorted
    if len(classes) < 2:
        raise NotApplicable(
            f"a classifier needs two classes, but the {len(chosen)} labelled examples of {dataset.name!r} are all of "
            f"the class {int(classes[0])}; ask for more labels, or give other data"
        )
    targets, of_valid = (targets_of(dataset.labels[part], classes) for part in (chosen, dataset.valid))
    if bool((of_valid == UNKNOWN_CLASS).all()):
        raise NotApplicable(
            f"a classifier is chosen by validation examples, but none of the {len(of_valid)} of {dataset.name!r} is of "
            f"a class that the {len(chosen)} labelled training examples have; ask for more labels, or give data whose "
            "labels are classes"
        )
    rows = Rows(dataset.inputs, chosen, "cpu") if dataset.mapped else dataset.inputs[chosen]
    return Examples(classes, Labelled(rows, targets), Labelled(dataset.valid_inputs, of_valid))


def targets_of(labels: Tensor, classes: Tensor) -> Tensor:
    """The place of each label among the classes, shape (n,); ``UNKNOWN_CLASS`` where it is none of them."""
    places = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
    return torch.where(classes[places] == labels, places, UNKNOWN_CLASS)


def error_of(probabilities: Tensor, targets: Tensor) -> float:
    """The share of examples whose likeliest class is not theirs, in percent."""
    return 100 * float((probabilities.argmax(dim=1) != targets).double().mean())


def surprise_of(log_probabilities: Tensor, targets: Tensor) -> float:
    """The mean of -log p(class) over the examples; those of an unknown class do not count."""
    known = targets != UNKNOWN_CLASS
    return -float(log_probabilities[known].gather(1, targets[known][:, None]).double().mean())
