"""A regularizer in a run with others: the same to the last bit in every order, their random streams untouched; cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from caelab.catalogue import catalogue
from caelab.errors import CaelabError
from caelab.models.autoencoder import autoencoder
from caelab.streams import Streams
from caelab.testing.outcome import Check, judged
from caelab.testing.settings import Noise, batch, trial_config
from caelab.testing.subjects import Subject, is_refusal
from caelab.testing.trials import trial_options
from caelab.training.loop import Trainer, sum_of
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins

BUILT_IN = "caelab/"
REPEATS = 5


def check_company(subject: Subject) -> Iterator[Check]:
    """Mixing with every built-in regularizer in either order, and the share of a training step."""
    differing: list[str] = []
    disturbed: list[str] = []
    mixed = 0
    for partner in partners(subject):
        try:
            alone, there, back = (trained(subject, run) for run in orders(subject, partner))
        except CaelabError as error:
            if is_refusal(error):
                continue  # the partner, or both together, do not apply to this encoder
            raise
        mixed += 1
        differing += [partner.name] * (not same(there[0], back[0]))
        disturbed += [partner.name] * (not all(torch.equal(there[1][name], state) for name, state in alone[1].items()))
    expected = f"the same weights to the last bit in either order, with {mixed} built-in regularizers"
    found = f"different with {', '.join(differing)}" if differing else "the same"
    yield judged("mixing: order", not differing, expected, found,
                 "keep nothing in the class or the module that another instance or run can see")  # fmt: skip
    found = f"drawn from those of {', '.join(disturbed)}" if disturbed else "untouched"
    yield judged("mixing: streams of others", not disturbed, "untouched", found,
                 "name your stream after your plugin, so that no one else draws from it")  # fmt: skip
    yield cost(subject)


def partners(subject: Subject) -> Iterator[Subject]:
    """Every built-in regularizer but the subject itself, and but a second one that corrupts."""
    for offer in catalogue():
        if offer.kind != "regularizer" or not offer.provider.startswith(BUILT_IN) or offer.name == subject.name:
            continue
        partner = Subject(offer.name, factory := offer.load(), trial_options(offer.name, factory))
        if not (partner.corrupts and subject.corrupts):
            yield partner


def orders(subject: Subject, partner: Subject) -> list[dict[str, Any]]:
    """The partner alone; both; both the other way round."""
    first, second = (subject.name, subject), (partner.name, partner)
    return [{name: one.make() for name, one in pairs} for pairs in ((second,), (first, second), (second, first))]


def trained(subject: Subject, instances: Mapping[str, object]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and states of the random streams after a few steps of the real training loop, in float32."""
    inputs = batch().float()
    trainer = Trainer(
        model=subject.home.initial_model().float(),
        config=trial_config(),
        plugins=TrainingPlugins(instances),
        train_inputs=inputs,
        valid_inputs=inputs,
        streams=Streams(0),
    )
    trainer.fit()
    return trainer.model.state_dict(), trainer.streams.state()


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two sets of weights are equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def cost(subject: Subject) -> Check:
    """The time of a training step's loss and gradient, with and without the subject; 100 examples, 196-100 units."""
    activation: Any = subject.home.activation
    model = autoencoder(196, hidden=[100], activation=activation)
    inputs = batch(196, 100).float()
    with_subject = {subject.name: subject.make()}
    rest = {"noise": Noise()} if subject.corrupts else {}
    long, short = (seconds_of_step(model, inputs, instances) for instances in (with_subject, rest))
    share = max(0.0, 1 - short / long)
    found = f"{share:.0%} of {1e3 * long:.2g} ms ({len(inputs)} examples, 196 inputs, 100 units, {activation})"
    return Check("cost", "reported", "its share of a training step", found)


def seconds_of_step(model: Any, inputs: Tensor, instances: Mapping[str, object]) -> float:
    """The fastest of a few losses with gradients."""
    plugins = TrainingPlugins(instances)
    plugins.call("before_training", model=model, config=trial_config())
    objective = Objective(model, "squared-error", plugins, Streams(0))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        sum_of(objective.terms(inputs, 1)).backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - started)
    return min(times)
