"""Singular values and leading tangents, and how exact they are."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from caelab import jacobian
from tests.benchmarks.case import Bench, Case, at_least, at_most
from tests.benchmarks.measure import Spread
from tests.benchmarks.models import fresh, quietly, random_inputs, trained

EXAMPLES = 128  # of ours; the peers get few, and their time per example is what counts
PEERS = 2
SPECTRA = {(784, 1000): 1.5, (784, 500): 2.5, (3072, 1000): 8}
TANGENTS = {("fast", 10): 25, ("fast", 30): 15, ("strict", 10): 10, ("strict", 30): 7}
SINES = {"fast": 2e-2, "strict": 1e-3}


def cases() -> list[Case]:
    """The rows, in the table's order."""
    against = "against vmap(jacrev) and"
    return [
        *(
            Case(
                f"all singular values {against} svdvals, {inputs}-{code}", at_least(bound), partial(_all, inputs, code)
            )
            for (inputs, code), bound in SPECTRA.items()
        ),
        Case("their largest relative error down to 1e-3 of the largest", at_most(1e-6), _error_of_all),
        *(
            Case(f"top {count} tangents, {mode}, {against} svd", at_least(bound), partial(_tangents, mode, count))
            for (mode, count), bound in TANGENTS.items()
        ),
        Case("top 10 tangents, exact, against vmap(jacrev) and svd", None, partial(_tangents, "exact", 10), "×"),
        *(
            Case(f"top {count}, {mode}: relative error of values", at_most(1e-4), partial(_value_error, mode, count))
            for mode, count in TANGENTS
        ),
        *(
            Case(f"top {count}, {mode}: sine of the angle", at_most(SINES[mode]), partial(_sine, mode, count))
            for mode, count in TANGENTS
        ),
    ]


def _all(inputs: int, code: int, bench: Bench) -> Spread:
    encode = fresh(inputs, code, bench.device)
    few, many = (random_inputs(count, inputs, device=bench.device) for count in (PEERS, 8))
    slow = quietly(lambda: torch.linalg.svdvals(vmap(jacrev(encode))(few)))
    return bench.ratio(slow, lambda: jacobian(encode, many).singular_values()).times(len(many) / PEERS)


def _tangents(mode: str, count: int, bench: Bench) -> Spread:
    encode, digits = trained()
    encode, many = encode.to(bench.device), digits[:EXAMPLES].to(bench.device)
    few = many[:PEERS]
    slow = quietly(lambda: torch.linalg.svd(vmap(jacrev(encode))(few), full_matrices=False))
    used = many if mode != "exact" else few
    fast = lambda: jacobian(encode, used).tangents(count, mode)  # type: ignore[arg-type]  # noqa: E731
    return bench.ratio(slow, fast).times(len(used) / PEERS)


def _on_the_processor() -> tuple[nn.Module, Tensor]:
    """The trained encoder, which another row may have moved, and digits."""
    encode, digits = trained()
    return encode.cpu(), digits


@cache
def _exact() -> tuple[Tensor, Tensor]:
    """All singular values and the right singular vectors of some Jacobians, by a float64 decomposition."""
    encode, digits = _on_the_processor()
    dense = vmap(jacrev(encode.double()))(digits[:8].double()).detach()
    encode.float()
    _, values, right = torch.linalg.svd(dense, full_matrices=False)
    return values, right


def _error_of_all(bench: Bench) -> Spread:
    encode, digits = _on_the_processor()
    exact = _exact()[0]
    found = jacobian(encode.double(), digits[:8].double()).singular_values().detach()
    encode.float()
    counted = exact >= 1e-3 * exact[:, :1]
    return Spread.of([float((found / exact - 1).abs()[counted].max())])


def _found(mode: str, count: int) -> tuple[Tensor, Tensor]:
    """By caelab, among the examples that are timed."""
    encode, digits = _on_the_processor()
    values, directions = jacobian(encode.double(), digits[:EXAMPLES].double()).tangents(count, mode)  # type: ignore[arg-type]
    encode.float()
    return values[:8], directions[:8]


def _value_error(mode: str, count: int, bench: Bench) -> Spread:
    values, _ = _found(mode, count)
    return Spread.of([float((values / _exact()[0][:, :count] - 1).abs().max())])


def _sine(mode: str, count: int, bench: Bench) -> Spread:
    _, directions = _found(mode, count)
    true = _exact()[1][:, :count]
    rest = directions - directions @ true.mT @ true
    return Spread.of([float(torch.linalg.matrix_norm(rest, ord=2).max())])
