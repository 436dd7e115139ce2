"""Several small runs in one process on two cores: one after another on two threads, and side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from caelab import recipe_config, train
from caelab.runs.config import RunConfig
from caelab.training.batched import train_together
from tests.benchmarks.case import Bench, Case, at_least
from tests.benchmarks.measure import Spread, time_ratio

CORES = 2
SEEDS, WEIGHTS = 4, (0.1, 0.3)
MNIST = {"kind": "mnist5k", "splits": [3000, 500, 1500]}
DIGITS = {"kind": "digits", "splits": [1200, 200, 397]}


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [
        Case("8 runs side by side, 300 units, batch 100, two cores", at_least(2), partial(_runs, MNIST, 300, 100, 6)),
        Case("8 runs side by side, 300 units, batch 20, two cores", None, partial(_runs, MNIST, 300, 20, 1), "×"),
        Case("8 runs side by side, 64-30, batch 20, two cores", None, partial(_runs, DIGITS, 30, 20, 4), "×"),
    ]


def _runs(dataset: dict[str, Any], units: int, batch: int, epochs: int, bench: Bench) -> Spread:
    """By the clock on the wall, since both sides use both cores."""
    configs = [*_configs(dataset, units, batch, epochs)]
    with threads(CORES):
        return time_ratio(
            lambda: [train(config) for config in configs],
            lambda: train_together(configs, threads=CORES),
            bench.effort,
            time.perf_counter,
        )


def _configs(dataset: dict[str, Any], units: int, batch: int, epochs: int) -> Iterator[RunConfig]:
    for weight in WEIGHTS:
        for seed in range(SEEDS):
            size = [f"model.hidden=[{units}]", f"training.batch_size={batch}", f"training.epochs={epochs}"]
            yield recipe_config("cae", [*size, f"contractive.weight={weight}"], dataset=dataset, seed=seed)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch takes so many threads."""
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
