"""Data that stay in a file, and stacks that are trained layer by layer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from caelab import load_dataset, recipe_config, train
from caelab.data import Dataset, make_dataset
from caelab.runs.config import RunConfig
from caelab.runs.encoded import samples_of
from caelab.runs.layers import KIND, layer_configs
from caelab.training import trainer_of
from caelab.training.asked import asked_for
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.measure import Spread, Work

SPLITS = (4000, 500, 500)
EPOCHS = 10  # of each layer


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [
        Case("data in a memory map / in memory, an epoch of CAE", at_most(1.10), _mapped),
        Case(f"a stack of two layers / the two layers apart, CAE, {EPOCHS} epochs each", at_most(1.05), _stacked),
    ]


def _mapped(bench: Bench) -> Spread:
    """The same digits, in a file and in memory."""
    size = ["model.hidden=[1000]", "training.batch_size=128", "training.epochs=1", f"training.device={bench.device}"]
    inputs = digits().inputs.numpy()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npy"
        np.save(path, inputs)
        data = [load_dataset(kind, path=str(path), splits=SPLITS) for kind in ("memmap", "npy")]
        sides = [epoch(recipe_config("cae", size), each) for each in data]
        return bench.ratio(*sides)


@cache
def digits() -> Dataset:
    """Five thousand handwritten digits."""
    return load_dataset("mnist5k", splits=SPLITS)


def epoch(config: RunConfig, data: Dataset) -> Work:
    """One epoch of training with its validation; every call goes on from the weights that there are."""
    ready = trainer_of(asked_for(config, dataset=data), None, None)

    def run() -> None:
        ready.history = []
        ready.fit()

    return run


def _stacked(bench: Bench) -> Spread:
    """The recipe ``cae-2``; apart, the codes that the second layer is trained on are there already."""
    config = recipe_config("cae-2", [f"training.epochs={EPOCHS}", f"training.device={bench.device}"])
    first, second = layer_configs(config)
    codes = make_dataset(KIND, samples_of(train(first, dataset=digits())))

    def apart() -> None:
        train(first, dataset=digits())
        train(second, dataset=codes)

    return bench.ratio(lambda: train(config, dataset=digits()), apart)
