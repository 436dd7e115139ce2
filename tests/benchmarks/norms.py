"""Squared norms of a batch, values alone, and what convolutions cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from caelab import jacobian
from caelab.models.autoencoder import autoencoder
from caelab.models.convolutional import convolutional
from tests.benchmarks import peers
from tests.benchmarks.case import Bench, Case, at_least, at_most
from tests.benchmarks.measure import Spread, Work
from tests.benchmarks.memory import peaks_of
from tests.benchmarks.models import fresh, quietly, random_inputs

HERE = "tests.benchmarks.norms"


def cases() -> list[Case]:
    """The rows, in the table's order."""
    conv = "convolutions, 28×28 to 64 units"
    return [
        Case("norms of a batch of 64 against vmap(jacrev)", at_least(500), partial(_against, "one layer", "jacrev")),
        Case("the same against vmap(jacfwd)", None, partial(_against, "one layer", "jacfwd"), "×"),
        Case("the same against autograd.functional.jacobian", None, partial(_against, "one layer", "functional"), "×"),
        Case(
            "ReLU 784-1000-1000-500, active sets against vmap(jacrev)",
            at_least(3.5),
            partial(_against, "relu", "jacrev"),
        ),
        Case(f"{conv}, exact against vmap(jacrev)", at_least(1.5), partial(_against, "conv", "jacrev")),
        Case(f"{conv}, its memory / that of vmap(jacrev)", at_most(1 / 3), _share_of_memory),
        Case(f"{conv}, with gradient, against vmap(jacrev)", at_least(1.5), _conv_with_gradient),
        Case(f"{conv}, with gradient, its memory / that of vmap(jacrev)", at_most(1 / 3), _share_with_gradient),
    ]


def encoder(kind: str, device: str) -> nn.Module:
    """The encoder that a row is about."""
    if kind == "relu":
        return autoencoder(784, hidden=[1000, 1000, 500], activation="relu").encode.to(device)
    if kind == "conv":
        return convolutional(784, (28, 28)).encode.to(device)  # type: ignore[operator]
    return fresh(784, 1000, device)


def work(kind: str, way: str, count: int, gradient: bool = False, device: str = "cpu") -> Work:
    """The squared norms of ``count`` examples by one way."""
    encode, inputs = encoder(kind, device), random_inputs(count, 784, device=device)
    ways: dict[str, Callable[[], object]] = {
        "caelab": lambda: jacobian(encode, inputs, memory_budget=200 * 2**20).squared_norm(),
        "jacrev": lambda: peers.by_jacrev(encode, inputs),
        "jacfwd": lambda: peers.by_jacfwd(encode, inputs),
        "functional": lambda: peers.by_functional_jacobian(encode, inputs),
    }
    if not gradient:
        return quietly(ways[way])

    def run() -> None:
        encode.zero_grad()
        ways[way]().sum().backward()  # type: ignore[attr-defined]

    return run


COUNTS = {"one layer": 64, "relu": 16, "conv": 64}


def _against(kind: str, peer: str, bench: Bench) -> Spread:
    slow, fast = (work(kind, way, COUNTS[kind], device=bench.device) for way in (peer, "caelab"))
    return bench.ratio(slow, fast)


def _conv_with_gradient(bench: Bench) -> Spread:
    return bench.ratio(*(work("conv", way, 64, True, bench.device) for way in ("jacrev", "caelab")))


def _share_of_memory(bench: Bench, gradient: bool = False) -> Spread:
    jobs = [(f"{HERE}:work", "conv", way, 64, gradient) for way in ("caelab", "jacrev")]
    ours, theirs = peaks_of(jobs, bench.device)
    return Spread.of([ours / theirs])


def _share_with_gradient(bench: Bench) -> Spread:
    return _share_of_memory(bench, gradient=True)
