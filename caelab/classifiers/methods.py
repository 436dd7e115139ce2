"""The methods: how each classifier is fitted, what of it is stored, and how it is made again from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from caelab.classifiers import scikit
from caelab.classifiers.descent import WEIGHTS, Descent, Told
from caelab.classifiers.examples import Examples
from caelab.classifiers.neighbours import Neighbours, TangentDistance, tuned_count
from caelab.classifiers.network import Network, copied_model, load_tensors, tensors_of
from caelab.classifiers.options import (
    FineTuning,
    Frozen,
    NearestNeighbours,
    Options,
    SupportVectors,
    TangentNeighbours,
)
from caelab.classifiers.planes import kept_tangents
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training import checked_device

RULE = "rule/"  # before the names of a rule's own arrays in the file of a classifier; the model's begin with model/

History = list[dict[str, float]]


class Rule(Protocol):
    """What gives inputs their classes."""

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """log p(class | x), shape (n, classes)."""
        ...


@dataclass(frozen=True)
class Task:
    """All that a classifier is made from.

    Attributes:
        run: whose encoder it starts from.
        options: of its method.
        examples: with labels.
        out: where tangents are kept; None for nowhere.
        checkpoint: where fine-tuning stores its state; None for nowhere.
        progress: is told the metrics of every epoch.
    """

    run: Run
    options: Any
    examples: Examples
    out: Path | None = None
    checkpoint: Path | None = None
    progress: Told | None = None

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.examples.classes)

    def tangents(self, model: Any) -> Tensor:
        """Those of the labelled training examples, (n, k, d), from the run's encoder as it is before fine-tuning."""
        return kept_tangents(model, self.examples.train.rows, self.options.tangents, self.out)


@dataclass(frozen=True)
class Fitted:
    """A classifier's rule.

    Attributes:
        model: whose encoder it uses: a copy of the run's, or what became of it.
        rule: gives inputs their classes.
        tensors: that the rule is made of, beside the model.
        history: of every epoch, or of every candidate that was tried.
    """

    model: Any
    rule: Rule
    tensors: Mapping[str, Tensor]
    history: History


@dataclass(frozen=True)
class Method:
    """How a classifier is fitted, and how it is made again from what was stored of it."""

    fit: Callable[[Task], Fitted]
    restore: Callable[[Task, Any, dict[str, Tensor]], Rule]


def _network(task: Task, model: Any, streams: Streams | None) -> Network:
    stream = None if streams is None else streams[WEIGHTS]
    return Network(model, task.classes, task.examples.train.rows[:1], stream)


def _fine_tuned(task: Task) -> Fitted:
    options: FineTuning = task.options
    device = checked_device(options.device)
    model = copied_model(task.run)
    network = _network(task, model, Streams(options.seed))
    tangents = task.tangents(model) if options.tangents else None
    train, valid = task.examples.train.to(device), task.examples.valid.to(device)
    examples = Examples(task.examples.classes, train, valid)
    streams = Streams(options.seed, device)
    descent = Descent(network.to(device), options, examples, streams, tangents, task.checkpoint, task.progress)
    history = descent.fit()
    network.to("cpu").eval()
    own = {name: value for name, value in tensors_of(network).items() if name.startswith("softmax/")}
    return Fitted(model, network, own, history)


def _network_again(task: Task, model: Any, tensors: dict[str, Tensor]) -> Rule:
    network = _network(task, model, None)
    load_tensors(network, {**tensors_of(network), **tensors})
    return network.eval()


def _frozen(task: Task) -> Fitted:
    options: Frozen = task.options
    model, examples = copied_model(task.run), task.examples
    rule, tried = scikit.fitted_logistic(model, examples.train, examples.valid, task.classes, options)
    return Fitted(model, rule, rule.arrays, tried)


def _frozen_again(task: Task, model: Any, tensors: dict[str, Tensor]) -> Rule:
    return scikit.Logistic(model, tensors)


def _machine(task: Task) -> Fitted:
    options: SupportVectors = task.options
    model, examples = copied_model(task.run), task.examples
    rule, tried = scikit.fitted_machine(model, examples.train, examples.valid, options)
    return Fitted(model, rule, rule.arrays, tried)


def _machine_again(task: Task, model: Any, tensors: dict[str, Tensor]) -> Rule:
    return scikit.Machine(model, task.options, task.examples.train, tensors)


def _neighbours_of(task: Task, model: Any) -> Neighbours:
    options: NearestNeighbours = task.options
    return Neighbours(model, options, task.examples.train, task.classes)


def _planes_of(task: Task, model: Any) -> Neighbours:
    options: TangentNeighbours = task.options
    return TangentDistance(model, options, task.examples.train, task.classes, planes=task.tangents(model))


def _by_neighbours(make: Callable[[Task, Any], Neighbours]) -> Method:
    """The method whose neighbours are made so; of it only k is stored, since the examples are those of the data."""

    def fit(task: Task) -> Fitted:
        model = copied_model(task.run)
        rule = make(task, model)
        tried = tuned_count(rule, task.examples.valid)
        return Fitted(model, rule, {"neighbours": torch.tensor(rule.count)}, tried)

    def restore(task: Task, model: Any, tensors: dict[str, Tensor]) -> Rule:
        rule = make(task, model)
        rule.count = int(tensors["neighbours"])
        return rule

    return Method(fit, restore)


METHODS: Mapping[type[Options], Method] = {
    FineTuning: Method(_fine_tuned, _network_again),
    Frozen: Method(_frozen, _frozen_again),
    NearestNeighbours: _by_neighbours(_neighbours_of),
    SupportVectors: Method(_machine, _machine_again),
    TangentNeighbours: _by_neighbours(_planes_of),
}


def method_of(options: Options) -> Method:
    """The method that these are the options of."""
    return METHODS[type(options)]
