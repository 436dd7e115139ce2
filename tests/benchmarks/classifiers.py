"""Fine-tuning beside the loop that most people write."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from caelab.classifiers.descent import Descent
from caelab.classifiers.examples import Examples, Labelled
from caelab.classifiers.network import Network
from caelab.classifiers.options import FineTuning
from caelab.models.autoencoder import autoencoder
from caelab.streams import Streams
from tests.benchmarks.case import Bench, Case, at_least
from tests.benchmarks.measure import Spread, Work
from tests.benchmarks.models import random_inputs

INPUTS, UNITS, CLASSES, BATCH = 784, 1000, 10, 50
MOMENTUM = "SGD with momentum"
EXAMPLES = 1000  # an epoch of twenty batches

OPTIMIZERS = {
    "Adam": ({"optimizer": "adam", "learning_rate": 1e-3}, torch.optim.Adam),
    "SGD": ({"learning_rate": 1e-3, "momentum": 0.0}, torch.optim.SGD),
    MOMENTUM: ({}, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
}


def cases() -> list[Case]:
    """The rows, in the table's order."""
    shape = f"{INPUTS}-{UNITS}-{CLASSES}, batch {BATCH}"
    words = f"fine-tuning {shape}, {{}}, against a loop over a DataLoader"
    return [
        *(Case(words.format(name), at_least(1.5), partial(_against, name)) for name in ("Adam", "SGD")),
        Case(words.format(MOMENTUM), None, partial(_against, MOMENTUM), "×"),
    ]


def _against(name: str, bench: Bench) -> Spread:
    options, theirs = OPTIMIZERS[name]
    return bench.ratio(plain_epoch(theirs, bench.device), epoch(FineTuning(seed=0, device=bench.device, **options)))


def data(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs and classes."""
    targets = torch.randint(CLASSES, (EXAMPLES,), generator=torch.Generator().manual_seed(2))
    return random_inputs(EXAMPLES, INPUTS, device=device), targets.to(device)


def plain_epoch(make: object, device: str) -> Work:
    """An epoch as tutorials write it: DataLoader, autograd, torch's optimiser with its default settings."""
    torch.manual_seed(0)
    inputs, targets = data(device)
    model = nn.Sequential(nn.Linear(INPUTS, UNITS), nn.Sigmoid(), nn.Linear(UNITS, CLASSES)).to(device)
    optimizer, surprise = make(model.parameters()), nn.CrossEntropyLoss()  # type: ignore[operator]
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True)

    def run() -> None:
        for some, classes in loader:
            optimizer.zero_grad()
            surprise(model(some), classes).backward()
            optimizer.step()

    return run


def epoch(options: FineTuning) -> Work:
    """An epoch of caelab's fine-tuning, with its new order and its mean loss."""
    inputs, targets = data(options.device)
    model = autoencoder(INPUTS, hidden=[UNITS])
    network = Network(model, CLASSES, random_inputs(1, INPUTS), torch.Generator().manual_seed(0)).to(options.device)
    labelled = Labelled(inputs, targets)
    examples = Examples(torch.arange(CLASSES), labelled, labelled)
    return Descent(network, options, examples, Streams(0, options.device)).run_epoch
