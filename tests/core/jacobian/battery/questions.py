"""Every question of the Jacobian service about one encoder, each answer held against the plain loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from tests.core.jacobian.battery import reference
from tests.core.jacobian.battery.functions import FUNCTIONS
from tests.core.jacobian.battery.modules import ALWAYS_RANDOM, COUPLED, SHAPES, Of

BATCHES = (1, 7)
BUDGETS = [2**power for power in range(10, 29, 3)]
PROJECTIONS = 100


@dataclass(frozen=True)
class Case:
    """One encoder in one mode."""

    name: str
    encode: nn.Module
    shape: tuple[int, ...]
    training: bool
    random: bool  # couples examples, draws numbers, or changes itself: to be refused

    def __str__(self) -> str:
        return f"{self.name}, {'training' if self.training else 'evaluation'}"

    def inputs(self, batch: int) -> Tensor:
        """The batch, different for every case, with no two entries equal."""
        generator = torch.Generator().manual_seed(sum(map(ord, self.name)) + batch)
        return torch.randn((batch, *self.shape), generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Answer:
    """What became of one question."""

    case: str
    question: str
    verdict: str  # right, refused, wrong, raw, not refused
    detail: str = ""


def cases() -> Iterator[Callable[[], Case]]:
    """All encoders, made when they are needed."""
    for training in (False, True):
        for shape, offered in SHAPES.items():
            for name, make in offered.items():
                yield _Later(name, training, shape, make)
    for name, function in FUNCTIONS.items():  # they have no modes
        yield _Later(name, False, (6,), lambda pick, function=function: Of(function))


@dataclass(frozen=True)
class _Later:
    name: str
    training: bool
    shape: tuple[int, ...]
    make: Callable[[Random], nn.Module]

    def __str__(self) -> str:
        return f"{self.name}, {'training' if self.training else 'evaluation'}"

    def __call__(self) -> Case:
        pick = Random(self.name)
        torch.manual_seed(sum(map(ord, self.name)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lazy modules announce themselves
            made = self.make(pick)
            size = int(torch.tensor(self.shape).prod())
            mixed = (
                nn.Sequential(nn.Linear(size, size), nn.Unflatten(1, self.shape), made)
                if len(self.shape) > 1
                else nn.Sequential(nn.Linear(size, size), made)
            )
            behind, shape = pick.random() < 0.7, self.shape
            encode = mixed if behind else nn.Sequential(made)
            shape = (size,) if behind else shape
            with torch.no_grad():
                encode(torch.randn(2, *shape))  # lazy modules take their shapes
        encode = encode.double().train(self.training)
        never = self.name in ALWAYS_RANDOM or (self.training and self.name in COUPLED)
        return Case(self.name, encode, shape, self.training, never)


def asked(case: Case) -> Iterator[Answer]:
    """Every question, at both sizes of the batch."""
    for batch in BATCHES:
        x = case.inputs(batch)
        if case.random:
            yield from _to_be_refused(case, x)
            continue
        try:
            expected = reference.dense_jacobian(case.encode, x)
        except RuntimeError as error:  # torch itself has no derivative here
            yield from _to_be_refused(case, x, str(error))
            continue
        before = x.clone()
        for question, answer in questions(case, x, expected).items():
            yield _judged(case, f"{question}, batch {batch}", answer)
        if not torch.equal(x, before):
            yield Answer(str(case), f"inputs, batch {batch}", "wrong", "the inputs were changed")


def _judged(case: Case, question: str, answer: Callable[[], str]) -> Answer:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fault = answer()
    except CaelabError as error:
        return Answer(str(case), question, "refused", str(error))
    except Exception as error:
        return Answer(str(case), question, "raw", f"{type(error).__name__}: {error}"[:300])
    return Answer(str(case), question, "wrong" if fault else "right", fault)


def _to_be_refused(case: Case, x: Tensor, why: str = "couples or draws") -> Iterator[Answer]:
    if len(x) == 1 and case.random and "Norm" in case.name:
        return  # in a batch of one, some normalisations raise before anyone could ask
    questions = {
        "squared_norm": lambda: str(jacobian(case.encode, x).squared_norm()),
        "jvp": lambda: str(jacobian(case.encode, x).jvp(x)),
    }
    for question, ask in questions.items():
        answer = _judged(case, f"{question}, batch {len(x)}", lambda ask=ask: ask() and "")
        verdict = "not refused" if answer.verdict == "right" else answer.verdict
        yield Answer(
            answer.case, answer.question, verdict if verdict != "refused" else "rightly refused", answer.detail or why
        )


def off(found: Tensor, expected: Tensor, tolerance: float) -> str:
    """How far an answer is from what it should be; nothing where it is right."""
    if found.shape != expected.shape:
        return f"shape {tuple(found.shape)} for {tuple(expected.shape)}"
    worst = float((found - expected).abs().max()) if found.numel() else 0.0
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return "" if worst <= tolerance * max(scale, 1e-3) else f"off by {worst:.3g} of {scale:.3g}"


def questions(case: Case, x: Tensor, expected: Tensor) -> dict[str, Callable[[], str]]:
    """The questions by name; each returns what is wrong with its answer, or nothing."""
    encode, generator = case.encode, torch.Generator().manual_seed(len(x))
    batch, code, width = expected.shape
    v = torch.randn(batch, 2, width, generator=generator, dtype=x.dtype)
    u = torch.randn(batch, 2, code, generator=generator, dtype=x.dtype)
    norm = expected.square().sum(dim=(1, 2))
    least = min(code, width)
    j = lambda **options: jacobian(encode, x, **options)  # noqa: E731
    as_inputs = lambda t: t.reshape(*t.shape[:-1], *x.shape[1:])  # noqa: E731

    def quietly(ask: Callable[[], Tensor], wanted: Tensor, tolerance: float = 1e-9) -> Callable[[], str]:
        def answer() -> str:
            with torch.no_grad():
                return off(ask(), wanted, tolerance)

        return answer

    return {
        "squared_norm": quietly(lambda: j().squared_norm(), norm),
        "squared_norm, small budget": lambda: off(
            _in_little(lambda b: j(memory_budget=b).squared_norm().detach()), norm, 1e-9
        ),
        "dense": quietly(lambda: j().dense(), expected),
        "jvp": quietly(lambda: j().jvp(as_inputs(v[:, 0])), torch.einsum("bci,bi->bc", expected, v[:, 0])),
        "jvp of many": quietly(lambda: j().jvp(as_inputs(v)), torch.einsum("bci,bki->bkc", expected, v)),
        "vjp": quietly(lambda: j().vjp(u[:, 0]).flatten(1), torch.einsum("bci,bc->bi", expected, u[:, 0])),
        "vjp of many": quietly(lambda: j().vjp(u).flatten(2), torch.einsum("bci,bkc->bki", expected, u)),
        "singular_values": quietly(lambda: j().singular_values(), torch.linalg.svdvals(expected), 1e-6),
        "singular_values, small budget": lambda: off(
            _in_little(lambda b: j(memory_budget=b).singular_values(method="svd")), torch.linalg.svdvals(expected), 1e-8
        ),
        "tangents": lambda: _tangents(j().tangents(min(2, least)), expected),
        "estimate": lambda: _estimate(j().squared_norm(samples=PROJECTIONS, generator=generator), expected),
        "method": lambda: "" if j().method else "no method",
        "gradient": lambda: _gradient(case, x, lambda: j().squared_norm().mean(), mean_norm),
        "gradient, small budget": lambda: _gradient(
            case, x, lambda: _in_little(lambda b: j(memory_budget=b, gradients=True).squared_norm()).mean(), mean_norm
        ),
        "gradient of jvp": lambda: _gradient(
            case,
            x,
            lambda: j().jvp(as_inputs(v[:, 0])).square().mean(),
            lambda rows: torch.einsum("bci,bi->bc", rows, v[:, 0]).square().mean(),
        ),
        "gradient of the estimate": lambda: _gradient_of_estimate(case, x),
    }


def mean_norm(rows: Tensor) -> Tensor:
    """Mean of ‖J‖_F²."""
    return rows.square().sum(dim=(1, 2)).mean()


def _in_little(ask: Callable[[int], Tensor]) -> Tensor:
    """The answer within the smallest budget that is enough."""
    for budget in BUDGETS:
        try:
            return ask(budget)
        except CaelabError as error:
            if "budget" not in str(error):
                raise
    raise AssertionError("no budget is enough")


def _tangents(found: tuple[Tensor, Tensor], expected: Tensor) -> str:
    """The values, and that J stretches each direction by its value, the directions being orthonormal."""
    values, directions = found[0], found[1].flatten(2)
    true = torch.linalg.svdvals(expected)[:, : values.shape[1]]
    scale = float(true.max())
    stretched = torch.einsum("bci,bki->bkc", expected, directions).norm(dim=2)
    gram = directions @ directions.mT
    identity = torch.eye(gram.shape[1], dtype=gram.dtype).expand_as(gram)
    return (
        off(values, true, 1e-5)
        or ("" if float((stretched - true).abs().max()) <= 1e-5 * max(scale, 1e-3) else "directions are not leading")
        or off(gram, identity, 1e-8)
    )


def _estimate(found: Tensor, expected: Tensor) -> str:
    """Within six standard errors of the exact norm, these from J itself."""
    narrow = expected if expected.shape[1] <= expected.shape[2] else expected.mT
    gram = narrow @ narrow.mT
    beside = gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))
    error = (2 * beside.square().sum(dim=(1, 2)) / PROJECTIONS).sqrt()
    norm = expected.square().sum(dim=(1, 2))
    far = (found.detach() - norm).abs() - 6 * error - 1e-9 * norm
    return "" if float(far.max()) <= 1e-12 else f"{float(far.max()):.3g} beyond six standard errors"


def _direction(case: Case) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in case.encode.parameters()]


def _gradient(case: Case, x: Tensor, ask: Callable[[], Tensor], of: Callable[[Tensor], Tensor]) -> str:
    """The gradient by the parameters along a direction, against that of the same number made from the plain loop."""
    direction = _direction(case)
    if not direction:
        return ""
    found = reference.along(ask(), case.encode, direction)
    expected, exact = reference.slope(case.encode, x, direction, of)
    return _apart(found, expected, exact)


def _gradient_of_estimate(case: Case, x: Tensor) -> str:
    """The gradient of an estimate is that of the same random signs and the plain loop's J."""

    def by_hand(dense: Tensor) -> Tensor:
        narrow = dense if dense.shape[1] <= dense.shape[2] else dense.mT
        drawn = torch.randint(
            0, 2, (len(dense), 2, narrow.shape[1]), generator=torch.Generator().manual_seed(3), dtype=torch.int8
        )
        return ((2 * drawn - 1).to(dense.dtype) @ narrow).square().sum(dim=2).mean()

    def estimate() -> Tensor:
        return jacobian(case.encode, x).squared_norm(samples=2, generator=torch.Generator().manual_seed(3)).mean()

    return _gradient(case, x, estimate, by_hand)


def _apart(found: float, expected: float, exact: float) -> str:
    close = abs(found - expected) <= exact * max(1e-2, abs(expected))
    return "" if close else f"{found:.8g} for {expected:.8g}"
