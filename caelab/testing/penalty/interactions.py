"""Checking a regularizer beside others: the same result in every order, no shared random stream; and its cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.models.autoencoder import autoencoder
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import OF_TRAINING, OWN_TERMS
from caelab.streams import Streams
from caelab.testing.chance import same_chance
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.settings import Noise, Setting, batch, trial_config
from caelab.testing.penalty.subjects import Subject, Trial, is_refusal
from caelab.testing.trials import trial_options
from caelab.training.loop import Trainer, sum_of
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins

BUILT_IN = "caelab/"
REPEATS = 5


@dataclass(frozen=True)
class Outcome:
    """A few steps of the real training loop: the weights, where the random streams stand, the names of the terms."""

    weights: Mapping[str, Tensor]
    streams: Mapping[str, Tensor]
    terms: frozenset[str]


@dataclass
class Mixed:
    """The built-in regularizers that a subject was mixed with, and those with which something went wrong."""

    count: int = 0
    clashing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)


def check_interactions(subject: Subject) -> Iterator[Check]:
    """Check training beside every built-in regularizer in either order, and the share of a training step."""
    mixed, own = Mixed(), _own_terms(subject)
    for partner, alone in partners(subject):
        if own & alone.terms:
            mixed.clashing.append(partner.name)
        else:
            mix(subject, partner, alone, mixed)
    yield _row("names", "names of terms that no other has", "taken by", mixed.clashing,
               "rename the term: the history tells terms apart by their names")  # fmt: skip
    expected = f"the same weights to the last bit in either order, with {mixed.count} built-in regularizers"
    yield _row("order", expected, "different with", mixed.differing,
               "keep nothing in the class or the module that another run can see, and draw from streams")  # fmt: skip
    yield _row("streams of others", "untouched", "drawn from those of", mixed.disturbed,
               "name your stream after your plugin, so that no one else draws from it")  # fmt: skip
    yield cost(subject)


def mix(subject: Subject, partner: Subject, alone: Outcome, mixed: Mixed) -> None:
    """Train with both plugins in either order, and note what differs."""
    try:
        there, back = (_train_at(subject.home, instances) for instances in _both_orders(subject, partner))
    except CaelabError as error:
        if is_refusal(error):
            return  # both together do not apply to this encoder
        raise
    mixed.count += 1
    if not same(there.weights, back.weights):
        mixed.differing.append(partner.name)
    if not same(alone.streams, {name: there.streams[name] for name in alone.streams}):
        mixed.disturbed.append(partner.name)


def _row(what: str, expected: str, told: str, names: list[str], remedy: str) -> Check:
    found = f"{told} {', '.join(names)}" if names else "so"
    return judged(f"mixing: {what}", not names, expected, found, remedy)


def _own_terms(subject: Subject) -> set[str]:
    """The names of the terms that a subject adds."""
    return {*Trial(subject, subject.home).terms()} - {*OWN_TERMS} if subject.penalises else set()


def partners(subject: Subject) -> Iterator[tuple[Subject, Outcome]]:
    """Every built-in regularizer that can be mixed with the subject and is not the same, with what it does alone."""
    for offer in catalogue():
        if offer.kind != "regularizer" or not offer.provider.startswith(BUILT_IN) or offer.load() is subject.factory:
            continue
        found = _on_its_own(offer.name, subject.home)
        if found and not (found[0].corrupts and subject.corrupts):
            yield found


@lru_cache(maxsize=256)
def _on_its_own(name: str, home: Setting) -> tuple[Subject, Outcome] | None:
    """A built-in regularizer and what it does in a run of its own; none where it does not apply, or fails itself."""
    factory = catalogue().get("regularizer", name)
    try:
        partner = Subject(name, factory, trial_options(name, factory))
        return partner, _train_at(home, {name: partner.make()})
    except CaelabError:
        return None


def _both_orders(subject: Subject, partner: Subject) -> Iterator[dict[str, Any]]:
    """Fresh instances of both, in either order; the second ones are made once the first have run."""
    label = f"{subject.name} (checked)" if subject.name == partner.name else subject.name
    pairs = (label, subject), (partner.name, partner)
    for order in (pairs, pairs[::-1]):
        yield {name: one.make() for name, one in order}


def _train_at(home: Setting, instances: Mapping[str, object]) -> Outcome:
    """A few steps of the real training loop in float32, from the initial weights of a setting."""
    inputs = batch().float()
    trainer = Trainer(
        model=home.initial_model().float(),
        config=trial_config(),
        plugins=TrainingPlugins(instances),
        train_inputs=inputs,
        valid_inputs=inputs,
        streams=Streams(0),
        watched=False,  # what it would refuse has rows of its own
    )
    with same_chance(0):  # who draws from the global state has a row of its own
        history = trainer.fit()
    terms = {key.removeprefix(OF_TRAINING) for key in history[-1] if key.startswith(OF_TRAINING)} - {*OWN_TERMS}
    return Outcome(trainer.model.state_dict(), trainer.streams.state(), frozenset(terms))


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def cost(subject: Subject) -> Check:
    """The time of a training step's loss and gradient, with and without the subject; 100 examples, 196-100 units."""
    activation: Any = subject.home.activation
    model = autoencoder(196, hidden=[100], activation=activation)
    inputs = batch(196, 100).float()
    with_subject = {subject.name: subject.make()}
    rest = {"noise": Noise()} if subject.corrupts else {}
    long, short = (_seconds_of_step(model, inputs, instances) for instances in (with_subject, rest))
    share = max(0.0, 1 - short / long)
    found = f"{share:.0%} of {1e3 * long:.2g} ms ({len(inputs)} examples, 196 inputs, 100 units, {activation})"
    return Check("cost", "reported", "its share of a training step", found)


def _seconds_of_step(model: Any, inputs: Tensor, instances: Mapping[str, object]) -> float:
    """The fastest of a few losses with gradients."""
    plugins = TrainingPlugins(instances)
    plugins.call("before_training", model=model, config=trial_config(), name=trial_config().label)
    plugins.call("before_epoch", 1, model=model)
    objective = Objective(model, "squared-error", plugins, Streams(0))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        sum_of(objective.terms(inputs, 1)).backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - started)
    return min(times)
