"""An encoder of today's size, which a GPU is for: seconds an image, and the accuracy of passes in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor
from torch.func import vjp, vmap

from caelab import jacobian
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.encoders import network
from tests.benchmarks.measure import Spread, clock_of
from tests.benchmarks.models import quietly, random_inputs

AIM = at_most(0.2, " s")
ROUNDS = 7
CHUNK = 96  # rows at once by hand; 384 at once are slower


def cases() -> list[Case]:
    """The rows, in the table's order."""
    what = "ViT-S 3×224×224 → 384"
    return [
        Case(f"{what}, exact norm, an image", AIM, partial(_seconds, "norm", 1, False)),
        Case(f"{what}, exact norms, an image of 8", AIM, partial(_seconds, "norm", 8, False)),
        Case(f"{what}, all singular values, an image", AIM, partial(_seconds, "spectrum", 1, False)),
        Case(f"{what}, all singular values, in bfloat16, an image", AIM, partial(_seconds, "spectrum", 1, True)),
        Case(f"{what}, all singular values, in bfloat16, an image of 8", AIM,
             partial(_seconds, "spectrum", 8, True)),
        Case(f"{what}, 10 tangents to 1e-3, an image", None, partial(_seconds, "tangents", 1, False), unit=" s"),
        Case(f"{what}, exact norm / vmap of vjp in chunks of {CHUNK}", at_most(1.25), _against_vmap),
        Case(f"{what}, memory of the exact norm, an image", None, _memory, unit=" MB"),
        Case(f"{what}, in bfloat16: relative error of the largest singular value", None, partial(_error, 0)),
        Case(f"{what}, in bfloat16: relative error of the norm", None, partial(_error, None)),
    ]  # fmt: skip


def asked(question: str, batch: int, coarse: bool, device: str) -> Callable[[], Tensor]:
    """One question to the service about the encoder, whose weights and inputs are bfloat16 where told."""
    kind = torch.bfloat16 if coarse else torch.float32
    encode = deepcopy(network("vit_s")).to(device, kind)
    x = random_inputs(batch, 3, 224, 224, device=device).to(kind)
    ask: dict[str, Callable[[], Tensor]] = {
        "norm": lambda: jacobian(encode, x).squared_norm(),
        "spectrum": lambda: jacobian(encode, x).singular_values(),
        "tangents": lambda: jacobian(encode, x).tangents(10, tolerance=1e-3).values,
    }

    def run() -> Tensor:
        with torch.no_grad():
            return ask[question]()

    return run


def _seconds(question: str, batch: int, coarse: bool, bench: Bench) -> Spread:
    """Seconds an image, after a first call, which finds out how the encoder is differentiated."""
    work, clock = asked(question, batch, coarse, bench.device), clock_of(bench.device)
    work()
    found = []
    for _ in range(ROUNDS):
        started = clock()
        work()
        found.append((clock() - started) / batch)
    return Spread.of(found)


def _against_vmap(bench: Bench) -> Spread:
    encode, x = network("vit_s").to(bench.device), random_inputs(1, 3, 224, 224, device=bench.device)
    units = torch.eye(384, device=bench.device)[:, None]

    def by_hand() -> Tensor:
        _, pull = vjp(encode, x)
        return torch.stack([vmap(pull)(some)[0].square().sum() for some in units.split(CHUNK)]).sum()

    return bench.ratio(asked("norm", 1, False, bench.device), quietly(by_hand))


def _memory(bench: Bench) -> Spread:
    work = asked("norm", 1, False, bench.device)
    work()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    work()
    return Spread.of([(torch.cuda.max_memory_allocated() - held) / 2**20])


def _error(place: int | None, bench: Bench) -> Spread:
    exact, coarse = (asked("spectrum", 1, half, bench.device)() for half in (False, True))
    true, found = (values[0, place] if place is not None else values.norm() for values in (exact, coarse))
    return Spread.of([float((found / true - 1).abs())])
