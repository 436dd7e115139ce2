"""The options of each classifier, frozen and checked; without torch, to be quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from caelab.errors import unknown_name
from caelab.options import MANY, Count, Positive, Weight
from caelab.registry.signatures import SENTENCE, readable, refuse_booleans
from caelab.runs.optimisation import Optimisation
from caelab.runs.section import Section

INPUTS = "inputs"
Features = Literal["code", "inputs"]
Dropped = Annotated[float, Field(ge=0, lt=1)]
Candidates = Annotated[tuple[Positive, ...], Field(min_length=1)]
Neighbours = Annotated[tuple[Count, ...], Field(min_length=1)]


class Options(Section):
    """What every classifier is told.

    Attributes:
        method: its name.
        labels: how many labelled training examples it learns from, the first ones of the split; all where it is None.
        seed: of its initial weights and its batches.
    """

    method: str
    labels: Count | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)]


class FineTuning(Options, Optimisation):
    """The encoder under a softmax layer, all weights trained on the cross-entropy, the best epoch kept.

    The best epoch is that with the lowest validation error, of equals the one with the lowest validation
    cross-entropy, of equals the first.

    Attributes:
        dropout: the probability with which each unit of the code is left out of a training step (the others are
            divided by the rest, as torch does it).
        input_dropout: the same for the inputs.
        tangents: k; with it the loss has the term of ``tangent_weight``, the k tangents being those of the run.
        tangent_weight: λ of λ · mean over the examples of Σ_j ‖∂o/∂x · u_j‖².
        tangent_outputs: o, the outputs that do not change along the tangents u_j of an example.
        device: where it is computed.
    """

    method: Literal["fine-tuning"] = "fine-tuning"
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    epochs: Annotated[int, Field(ge=0, le=MANY)] = 60
    batch_size: Count = 50
    patience: Count | None = 10
    dropout: Dropped = 0.0
    input_dropout: Dropped = 0.0
    tangents: Annotated[int, Field(ge=0, le=MANY)] = 0
    tangent_weight: Weight | None = None
    tangent_outputs: Literal["probabilities", "log-probabilities", "logits"] = "probabilities"
    device: str = "cpu"

    @model_validator(mode="after")
    def _penalty_has_both(self) -> FineTuning:
        """Refuse a penalty of which one half is not said."""
        if (self.tangents > 0) != (self.tangent_weight is not None):
            raise PydanticCustomError(
                SENTENCE,
                "expected both the number of tangents and tangent_weight, the weight of their penalty, or neither, as "
                "in --set tangents=10 --set tangent_weight=0.1",
            )
        return self


class Frozen(Options):
    """Multinomial logistic regression on the code, which stays as it is.

    Attributes:
        inverse_penalty: C of scikit-learn's ``LogisticRegression``, chosen among these.
    """

    method: Literal["frozen"] = "frozen"
    inverse_penalty: Candidates = (0.01, 0.1, 1.0, 10.0, 100.0)


class NearestNeighbours(Options):
    """The most frequent class among the k nearest training examples, by Euclidean distance.

    Attributes:
        features: whether distances are those of codes or of inputs.
        neighbours: k, chosen among these.
    """

    method: Literal["nearest-neighbours"] = "nearest-neighbours"
    features: Features = "code"
    neighbours: Neighbours = (1, 3, 5, 7, 9, 15)


class SupportVectors(Options):
    """scikit-learn's support vector classifier with the kernel exp(-γ ‖x - y‖²).

    Attributes:
        features: whether x and y are codes or inputs.
        penalty: C, chosen among these.
        gamma: γ in units of 1 / (d · variance of all entries of the features), d their width, chosen among these.
    """

    method: Literal["svm-rbf"] = "svm-rbf"
    features: Features = "code"
    penalty: Candidates = (1.0, 10.0, 100.0)
    gamma: Candidates = (0.3, 1.0, 3.0)


class TangentNeighbours(Options):
    """Nearest neighbours by the distance between the tangent planes that the run's encoder gives two inputs.

    Attributes:
        tangents: k, the dimensions of each plane.
        sides: 2 for the distance of both planes, 1 for that of the new example to the plane of a training example.
        candidates: how many training examples, the nearest by Euclidean distance, the distance is computed to.
        neighbours: how many vote, chosen among these.
    """

    method: Literal["tangent-nearest-neighbours"] = "tangent-nearest-neighbours"
    tangents: Count = 10
    sides: Literal[1, 2] = 2
    candidates: Count = 100
    neighbours: Neighbours = (1, 3, 5, 7, 9, 15)


METHODS: Mapping[str, type[Options]] = {
    str(kind.model_fields["method"].default): kind
    for kind in (FineTuning, Frozen, NearestNeighbours, SupportVectors, TangentNeighbours)
}


def checked(method: Any, given: Mapping[str, Any]) -> Options:
    """The options of a method, with its defaults filled in.

    Raises:
        CaelabError: there is no such method, or an option is unknown or impossible.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    kind = METHODS[method]
    try:
        found = kind.model_validate({**given, "method": method})
    except ValidationError as error:
        raise readable(error, method, kind) from error
    refuse_booleans({**given}, found.model_dump(), method)
    return found
