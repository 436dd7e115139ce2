"""Naming the known mistakes that a penalty equals, one or several at once.

    suspect = floor?( factor · quantity(at the clean or the corrupted batch) ), its gradient there, halved or cut

Quantities come from ``caelab.testing.mistakes.known``; factors are a mean over entries, a sum over examples, ½.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.streams import Streams
from caelab.testing.mistakes import known
from caelab.testing.mistakes.known import Mistake, squares
from caelab.testing.penalty.functions import FunctionPenalty, only_weight
from caelab.testing.penalty.observing import Observation, expected_values, same_gradients, same_values, together
from caelab.testing.penalty.quantities import DECODER, ENCODER, HESSIAN, L1, RECONSTRUCTION, WEIGHTS, Claim
from caelab.testing.penalty.settings import EXAMPLES, Noise, Setting, batch, biases
from caelab.testing.penalty.subjects import Subject, Trial

ENOUGH = 3  # settings in which two quantities have to agree

Factor = Callable[[Setting], float]


@dataclass(frozen=True)
class Quantity:
    """What a penalty may compute, and the mistakes in it; the right quantity has none."""

    function: Callable[..., Any] | None
    mistakes: tuple[Mistake, ...] = ()
    at_corrupted: bool = False


@dataclass(frozen=True)
class Suspect:
    """A wrong penalty: a quantity with one mistake, or with several at once.

    Attributes:
        mistakes: the mistakes that it is made of.
        quantity: what is computed.
        factor: what it is multiplied by, given the setting.
        rounded: whether to a whole number.
        kept: the share of its gradient that is left: all, half or nothing.
    """

    mistakes: tuple[Mistake, ...]
    quantity: Quantity
    factor: Factor
    rounded: bool = False
    kept: float = 1.0

    @property
    def flat(self) -> bool:
        """Whether it has no gradient."""
        return self.rounded or not self.kept


@dataclass(frozen=True)
class Found:
    """Values and gradient of a quantity in a setting; of a random one only whether there is a gradient."""

    values: Tensor
    gradient: Tensor

    def changed(self, suspect: Suspect, factor: float) -> Found:
        """The values and gradient times a factor, rounded or cut off."""
        values = (factor * self.values).floor() if suspect.rounded else factor * self.values
        return Found(values, (0.0 if suspect.flat else suspect.kept * factor) * self.gradient)


def _all_weights(reduce: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A sum over all weights of the model of what one weight gives."""
    return lambda model: sum((reduce(p) for p in model.parameters() if p.ndim >= 2), torch.zeros(()))


def _flat(model: Any) -> Tensor:
    return torch.cat([p.flatten() for p in model.parameters() if p.ndim >= 2])


def _squared_sum(W: Tensor, code: Tensor, cut: str = "") -> Tensor:
    return known.squared_sum_of_weights(W.detach() if cut == "W" else W, code.detach() if cut == "code" else code)


def _sigmoid_of_the_layer(model: Any, inputs: Tensor) -> Tensor:
    weight = only_weight(model.encode)
    return known.sigmoid_formula(weight, torch.sigmoid(inputs @ weight.T + biases(model)[0]))


def _elementwise(model: Any, inputs: Tensor) -> Tensor:
    """The diagonal of the reconstruction's Jacobian, whatever map is in question."""
    return known.elementwise_derivative(lambda x: model.decode(model.encode(x)), inputs)


def _diagonal_in_closed_form(model: Any, inputs: Tensor) -> Tensor:
    """The diagonal for sigmoids and tied weights, whatever the activations and the decoder's weights are."""
    code = model.encode(inputs)
    found = model.decode(code)
    diagonal = found * (1 - found) * ((code * (1 - code)) @ only_weight(model.encode).square())
    return torch.mean(diagonal.square().sum(dim=1))


def _slopes(model: Any, inputs: Tensor) -> Tensor:
    """The slopes of a sigmoid output alone."""
    found = model.decode(model.encode(inputs))
    slopes = found * (1 - found)
    return torch.mean(slopes.square().sum(dim=1))


def _slopes_by_weights(model: Any, inputs: Tensor) -> Tensor:
    """The slopes of the output times those of the code, passed through the weights as a vector."""
    code = model.encode(inputs)
    found = model.decode(code)
    passed = found * (1 - found) * ((code * (1 - code)) @ only_weight(model.encode))
    return torch.mean(passed.square().sum(dim=1))


def _right(encode: Any, inputs: Tensor) -> Tensor:
    return squares(encode, inputs).mean()


_ELEMENTWISE = tuple(
    Quantity(function, (known.ELEMENTWISE,))
    for function in (_elementwise, _diagonal_in_closed_form, _slopes, _slopes_by_weights)
)
_SUMMED = Quantity(known.gradient_of_the_summed_code, (known.SUMMED_CODE,))

QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    ENCODER: (
        Quantity(_right),
        Quantity(known.sigmoid_formula, (known.SIGMOID_FORMULA,)),
        Quantity(_sigmoid_of_the_layer, (known.SIGMOID_FORMULA,)),
        _SUMMED,
        Quantity(known.squared_sum_of_weights, (known.SQUARED_SUM,)),
        Quantity(known.detached_weights, (known.DETACHED_WEIGHTS,)),
        Quantity(known.detached_code, (known.DETACHED_CODE,)),
        Quantity(known.frozen_initial_weights, (known.FROZEN_WEIGHTS,)),
        Quantity(lambda W, code: _squared_sum(W, code, "W"), (known.SQUARED_SUM, known.DETACHED_WEIGHTS)),
        Quantity(lambda W, code: _squared_sum(W, code, "code"), (known.SQUARED_SUM, known.DETACHED_CODE)),
        Quantity(lambda W0, code: _squared_sum(W0, code), (known.SQUARED_SUM, known.FROZEN_WEIGHTS)),
        *_ELEMENTWISE,
    ),
    RECONSTRUCTION: (Quantity(_right), _SUMMED, *_ELEMENTWISE),
    DECODER: (Quantity(lambda decode, code: squares(decode, code).mean()),),
    WEIGHTS: (
        Quantity(_all_weights(lambda p: p.square().sum())),
        Quantity(lambda W: W.square().sum()),
        Quantity(_all_weights(lambda p: p.square().mean()), (known.MEAN_OF_WEIGHTS,)),
        Quantity(lambda model: _flat(model).square().mean(), (known.MEAN_OF_WEIGHTS,)),
        Quantity(known.mean_of_squared_weights, (known.MEAN_OF_WEIGHTS,)),
        Quantity(_all_weights(lambda p: p.sum().square()), (known.SQUARED_SUM_OF_ALL,)),
        Quantity(lambda model: _flat(model).sum().square(), (known.SQUARED_SUM_OF_ALL,)),
        Quantity(known.squared_sum_of_all_weights, (known.SQUARED_SUM_OF_ALL,)),
    ),
    HESSIAN: (Quantity(None),),
    L1: (Quantity(lambda code: code.abs().sum(dim=1).mean()),),
}
"""What has been computed for each claim, the right quantity first."""

AXES: dict[str, Callable[[Setting], tuple[int, int]]] = {
    ENCODER: lambda at: (at.hidden[-1], at.inputs),
    RECONSTRUCTION: lambda at: (at.inputs, at.inputs),
    DECODER: lambda at: (at.inputs, at.hidden[-1]),
    HESSIAN: lambda at: (at.hidden[-1], at.inputs),
    L1: lambda at: (at.hidden[-1], 1),
}
"""The entries of an example that are summed."""


ENDS = (known.INTEGER_DIVISION, known.DETACHED_PENALTY, known.HALF_THE_GRADIENT)
KEPT = {known.DETACHED_PENALTY.name: 0.0, known.HALF_THE_GRADIENT.name: 0.5}
"""What may happen to a penalty at its end, and the share of the gradient that it leaves."""


def suspects(claim: Claim) -> list[Suspect]:
    """Every way to be wrong about a claim, those of fewest mistakes first."""
    found = [
        Suspect((*quantity.mistakes, *(e for e, _ in factors), *ends), quantity, _product([f for _, f in factors]),
                known.INTEGER_DIVISION in ends, math.prod(KEPT.get(end.name, 1.0) for end in ends))
        for quantity in _quantities(claim)
        for factors in _factors(claim)
        for ends in ((), *((end,) for end in _known(claim, *ENDS)))
    ]  # fmt: skip
    return sorted((suspect for suspect in found if suspect.mistakes), key=lambda suspect: len(suspect.mistakes))


def _known(claim: Claim, *mistakes: Mistake) -> list[Mistake]:
    return [mistake for mistake in mistakes if claim.name in (*mistake.claims, *mistake.also)]


def _quantities(claim: Claim) -> Iterator[Quantity]:
    for quantity in QUANTITIES.get(claim.name, ()):
        yield quantity
        for point in _known(claim, known.CORRUPTED_POINT):
            yield Quantity(quantity.function, (*quantity.mistakes, point), at_corrupted=True)


def _factors(claim: Claim) -> Iterator[list[tuple[Mistake, Factor]]]:
    """Every combination of a mean over entries (all, or along one axis), a sum over examples, and ½."""
    axes = AXES.get(claim.name, lambda _: (1, 1))
    sizes: list[Callable[[tuple[int, int]], int]] = [math.prod, itemgetter(0), itemgetter(1)]
    means = [_mean_over(axes, size) for size in sizes]
    kinds: list[list[tuple[Mistake, Factor] | None]] = [
        [
            None,
            *((e, mean) for e in _known(claim, known.MEAN_OF_ENTRIES, known.MEAN_OF_DIFFERENCES) for mean in means),
        ],
        [None, *((e, lambda _: EXAMPLES) for e in _known(claim, known.SUM_OVER_EXAMPLES))],
        [None, *((e, lambda _: 0.5) for e in _known(claim, known.ONE_HALF))],
    ]
    for chosen in product(*kinds):
        yield [factor for factor in chosen if factor]


def _mean_over(axes: Callable[[Setting], tuple[int, int]], size: Callable[[tuple[int, int]], int]) -> Factor:
    return lambda at: 1 / size(axes(at))


def _product(factors: list[Factor]) -> Factor:
    return lambda setting: math.prod(factor(setting) for factor in factors)


class Lineup:
    """The quantities of a claim in the settings of a subject, each computed once."""

    def __init__(self, subject: Subject, claim: Claim, observations: list[Observation]) -> None:
        self.subject, self.claim = subject, claim
        self.right = Suspect((), QUANTITIES[claim.name][0], lambda _: 1.0)
        seen = [o for o in observations if o.values is not None]
        self.plain = [o for o in seen if not o.setting.layer]
        self.mixed = [o for o in seen if o.setting.layer == "BatchNorm"]
        self.known: dict[tuple[int, bool, str], Found | None] = {}

    def found(self, quantity: Quantity, setting: Setting) -> Found | None:
        """A quantity in a setting; none where it does not apply."""
        key = id(quantity.function), quantity.at_corrupted, setting.name
        if key not in self.known:
            self.known[key] = self._found(quantity, setting)
        return self.known[key]

    def _found(self, quantity: Quantity, setting: Setting) -> Found | None:
        try:
            if quantity.function is None:
                expected = expected_values(self.subject, self.claim, setting)
                return Found(expected / self.subject.weight, torch.ones(1))
            return computed(quantity, setting, self.claim)
        except CaelabError:
            return None

    def culprit(self) -> tuple[Mistake, ...]:
        """The mistakes of the first suspect that the penalty equals; none if it equals none."""
        if self.is_mixed_by_batch_norm():
            return (known.BATCH_NORM,)
        if self.equals(self.right):
            return ()
        return next((suspect.mistakes for suspect in suspects(self.claim) if self.equals(suspect)), ())

    def equals(self, suspect: Suspect) -> bool:
        """Whether penalty and suspect agree wherever both can be looked at, and it matters somewhere."""
        pairs: list[tuple[Tensor, Tensor]] = []
        matters = False
        for seen in self.plain:
            found = self.found(suspect.quantity, seen.setting)
            if found is None or seen.values is None or not (found.values.any() or seen.values.any()):
                continue
            other = found.changed(suspect, self.subject.weight * suspect.factor(seen.setting))
            if not agree(seen, other):
                return False
            pairs.append((seen.values, other.values))
            matters = matters or suspect is self.right or not self.is_right(seen.setting, other)
        telling = sum(bool(expected.any()) for _, expected in pairs)
        enough = len(pairs) >= ENOUGH and telling >= (1 if suspect.rounded else ENOUGH)
        return enough and matters and together(pairs) and self._sums(suspect) and self._reaches(suspect)

    def _reaches(self, suspect: Suspect) -> bool:
        """A gradient somewhere, unless the suspect has none: of random values it is compared no closer."""
        return suspect.flat or any(seen.gradient is not None and seen.gradient.any() for seen in self.plain)

    def is_right(self, setting: Setting, other: Found) -> bool:
        """Whether a suspect cannot be told from the right quantity in a setting."""
        right = self.found(self.right.quantity, setting)
        if right is None:
            return False
        weight = self.subject.weight
        same = same_values(other.values, weight * right.values)
        return same and same_gradients(other.gradient, weight * right.gradient)

    def _sums(self, suspect: Suspect) -> bool:
        """A sum over examples is another number of examples times the mean, not merely six times of it."""
        if known.SUM_OVER_EXAMPLES not in suspect.mistakes or suspect.rounded:
            return True
        trial = Trial(self.subject, self.subject.home)
        once, twice = trial.number(), trial.number(batch().repeat(2, 1))
        return trial.is_random or math.isclose(twice, 2 * once, rel_tol=1e-6)

    def is_mixed_by_batch_norm(self) -> bool:
        """Whether the penalty is right but for what batch normalisation does to it in training mode."""
        if not _known(self.claim, known.BATCH_NORM) or not self.mixed or len(self.plain) < ENOUGH:
            return False
        pairs = [(seen, self.found(self.right.quantity, seen.setting)) for seen in (*self.plain, *self.mixed)]
        return all(found and agree(seen, found.changed(self.right, self.subject.weight)) for seen, found in pairs)


def computed(quantity: Quantity, setting: Setting, claim: Claim) -> Found:
    """Value and gradient of a function in a setting."""
    assert quantity.function is not None
    model, clean = setting.initial_model(), batch(setting.inputs)
    penalty = FunctionPenalty(
        quantity.function, of_reconstruction=claim.name == RECONSTRUCTION, at_corrupted=quantity.at_corrupted
    )
    penalty.before_training(model)
    setting.finish(model, clean)
    corrupted = Noise().corrupt_input(clean) if setting.corrupted else clean
    value = penalty.penalty_terms(model, clean, corrupted, None, None, 1, Streams(0))["penalty"]
    gradients = torch.autograd.grad(value, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return Found(value.detach().reshape(1), torch.cat([gradient.flatten() for gradient in gradients]))


def agree(seen: Observation, other: Found) -> bool:
    """Whether values are equal, and the gradients of what is not random."""
    if seen.values is None or seen.gradient is None or not same_values(seen.values, other.values):
        return False
    if len(seen.values) > 1:
        return bool(other.gradient.any()) or not seen.gradient.any()
    return same_gradients(seen.gradient, other.gradient)


def named_mistakes(subject: Subject, observations: list[Observation]) -> tuple[Mistake, ...]:
    """The mistakes that a penalty equals in value and gradient, wherever both can be looked at."""
    claim = subject.claim
    return Lineup(subject, claim, observations).culprit() if claim and claim.name in QUANTITIES else ()
