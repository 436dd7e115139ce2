"""Full training steps."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.case import Bench, Case, at_least, at_most
from tests.benchmarks.measure import Spread, Work
from tests.benchmarks.memory import peak_of
from tests.benchmarks.models import step
from tests.benchmarks.peers import (
    Estimated,
    Penalty,
    by_functional_jacobian,
    by_jacfwd,
    by_jacrev,
    by_projection,
    textbook_step,
)

DEEP = (1000, 1000, 500)
BOTTLENECK = (1000, 500, 30)


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [*_one_layer(), *_peers(), *_beyond()]


def _one_layer() -> list[Case]:
    bounds = {128: 1.10, 512: 1.10, 20: 1.0}
    composed = {128: 1.20, 512: 1.20, 20: 1.35}
    return [
        *(
            Case(f"CAE / AE by autograd, batch {b}", at_most(most), partial(_cae, b, True))
            for b, most in bounds.items()
        ),
        *(
            Case(f"CAE / AE, batch {b}", at_most(most) if b > 20 else None, partial(_cae, b, False))
            for b, most in bounds.items()
        ),
        *(
            Case(f"CAE by autograd / AE by autograd, batch {b}", at_most(most), partial(_composed, "cae", b))
            for b, most in composed.items()
        ),
        Case("CAE with weight decay / AE, both by autograd, batch 128", at_most(1.20), partial(_mixed, 128)),
    ]


def _peers() -> list[Case]:
    return [
        Case("CAE against vmap(jacrev), batch 20", at_least(200), partial(_against, by_jacrev, 20)),
        Case("CAE against vmap(jacrev), batch 128", at_least(450), partial(_against, by_jacrev, 128)),
        Case("CAE's memory on top of model and batch, batch 128", at_most(30, " MB"), _memory),
        Case("CAE against vmap(jacfwd), batch 20", None, partial(_against, by_jacfwd, 20), "×"),
        Case(
            "CAE against autograd.functional.jacobian, batch 20",
            None,
            partial(_against, by_functional_jacobian, 20),
            "×",
        ),
        Case(
            "CAE, exact, against 1 projection with double backward, batch 128",
            None,
            partial(_against, by_projection, 128),
            "×",
        ),
        Case("CAE against textbook PyTorch, batch 20", at_least(2), partial(_textbook, 20)),
        Case("CAE against textbook PyTorch, batch 128", at_least(1.3), partial(_textbook, 128)),
    ]


def _beyond() -> list[Case]:
    projected = "with double backward"
    return [
        Case("CAE+H, 4 noisy copies / AE by autograd, batch 128", at_most(3.6), partial(_composed, "cae-h", 128)),
        Case("784-1000-1000-500, 1 projection / AE", at_most(1.6), partial(_deep, DEEP, Estimated(1))),
        Case("784-1000-1000-500, 3 projections / AE", at_most(2.2), partial(_deep, DEEP, Estimated(3))),
        Case(f"784-1000-1000-500, 1 projection {projected} / AE", None, partial(_deep, DEEP, Penalty(by_projection))),
        Case("784-1000-500-30, exact / AE", at_most(14), partial(_exact_deep, BOTTLENECK)),
        Case("784-1000-30, exact / AE", at_most(14), partial(_exact_deep, (1000, 30))),
    ]


def _cae(batch: int, by_autograd: bool, bench: Bench) -> Spread:
    plain = step("ae", batch, by_autograd=by_autograd, device=bench.device)
    return bench.ratio(step("cae", batch, device=bench.device), plain)


def _composed(recipe: str, batch: int, bench: Bench) -> Spread:
    plain = step("ae", batch, by_autograd=True, device=bench.device)
    return bench.ratio(step(recipe, batch, by_autograd=recipe != "cae-h", device=bench.device), plain)


def _mixed(batch: int, bench: Bench) -> Spread:
    from caelab_regularizers.weight_decay import WeightDecay

    observers: dict[str, object] = {"weight-decay": WeightDecay(weight=0.01)}
    mixed = step("cae", batch, observers=observers, by_autograd=True, device=bench.device)
    return bench.ratio(mixed, step("ae", batch, by_autograd=True, device=bench.device))


def _against(norms: object, batch: int, bench: Bench) -> Spread:
    other = step("ae", batch, observers={"p": Penalty(norms)}, by_autograd=True, device=bench.device)  # type: ignore[arg-type]
    return bench.ratio(other, step("cae", batch, device=bench.device))


def _textbook(batch: int, bench: Bench) -> Spread:
    return bench.ratio(textbook_step(batch, bench.device), step("cae", batch, device=bench.device))


def _deep(hidden: tuple[int, ...], penalty: object, bench: Bench) -> Spread:
    penalised = step("ae", 128, hidden, observers={"penalty": penalty}, device=bench.device)
    return bench.ratio(penalised, step("ae", 128, hidden, device=bench.device))


def _exact_deep(hidden: tuple[int, ...], bench: Bench) -> Spread:
    return bench.ratio(step("cae", 128, hidden, device=bench.device), step("ae", 128, hidden, device=bench.device))


def _memory(bench: Bench) -> Spread:
    return Spread.of([peak_of("tests.benchmarks.training:cae_step", 128, device=bench.device)])


def cae_step(batch: int, device: str) -> Work:
    """One step of the contractive auto-encoder."""
    return step("cae", batch, device=device)
