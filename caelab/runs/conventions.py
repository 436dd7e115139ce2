"""Which lambda? The weight of a contractive penalty, turned from the conventions of other code into caelab's.

caelab minimises R + weight P: R is the reconstruction error, summed over inputs, P = ‖J‖_F² the sum of the squared
entries of the encoder's Jacobian, both a mean over examples. Other code minimises r R + lambda p P with factors r and p
that depend on how it sums or averages. That is r (R + lambda p / r P): caelab takes the same steps at the weight
lambda p / r and r times the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from caelab.errors import CaelabError, shown, unknown_name
from caelab.registry.arguments import texts_of

Sizes = Mapping[str, int]
OWN = "caelab"
PENALTY, RECONSTRUCTION = "penalty", "reconstruction"
SIZES = {"inputs": "the number of inputs", "units": "the number of units of the code", "batch_size": "the batch size"}


@dataclass(frozen=True)
class Convention:
    """A term of the loss as other code has it.

    Attributes:
        formula: how it is computed there, from examples b, units j and inputs i.
        factor: what it is times caelab's, given the sizes.
        needs: the sizes that the factor depends on.
        about: where it is met, and what else is to be known of it.
        note: what a user of the converted weight has to know, if anything.
    """

    formula: str
    factor: Callable[[Sizes], Fraction]
    needs: tuple[str, ...] = ()
    about: str = ""
    note: str = ""


PENALTIES = {
    OWN: Convention("mean_b Σ_ji J_ji²", lambda _: Fraction(1), about="Rifai et al. (2011), caelab"),
    "half": Convention(
        "½ mean_b Σ_ji J_ji²", lambda _: Fraction(1, 2), about="the literature on Jacobian regularization"
    ),
    "mean-over-units": Convention(
        "mean_bj Σ_i J_ji²", lambda at: Fraction(1, at["units"]), ("units",), "a mean over the code"
    ),
    "mean-over-inputs": Convention(
        "mean_bi Σ_j J_ji²", lambda at: Fraction(1, at["inputs"]), ("inputs",), "a mean over the inputs"
    ),
    "mean-over-entries": Convention(
        "mean_bji J_ji²",
        lambda at: Fraction(1, at["units"] * at["inputs"]),
        ("units", "inputs"),
        "torch.mean, or .mean() without dim, of the squared Jacobian",
    ),
    "sum-over-batch": Convention(
        "Σ_bji J_ji²", lambda at: Fraction(at["batch_size"]), ("batch_size",), "torch.sum over everything"
    ),
    "rifai-2012": Convention(
        "mean_b Σ_ji J_ji², with half its gradient",
        lambda _: Fraction(1, 2),
        about="Dauphin and Rifai's script (2012): the gradient that it applies is half that of the penalty it prints",
    ),
    "alain-2012": Convention(
        "mean_b Σ_ji J_ji²",
        lambda _: Fraction(1),
        about="Alain's script (2012): squared error, rate .001, batches of 10, 200 epochs",
        note="set training.reconstruction=squared-error; its sums are taken to be caelab's, so name others beside it "
        "where your copy averages",
    ),
    "theano-tutorial": Convention(
        "⌊Σ_bji J_ji² / batch size⌋",
        lambda _: Fraction(0),
        about="the Theano tutorial's cA: the division of whole numbers leaves no gradient, so it acts as 0",
        note="it trains a plain auto-encoder, whatever its weight",
    ),
}
"""The penalty, by how other code reduces it."""

RECONSTRUCTIONS = {
    OWN: Convention("mean_b Σ_i L_i", lambda _: Fraction(1), about="summed over inputs, a mean over examples"),
    "mean-over-inputs": Convention(
        "mean_bi L_i",
        lambda at: Fraction(1, at["inputs"]),
        ("inputs",),
        "PyTorch's losses as they are, reduction='mean'",
    ),
    "sum-over-batch": Convention(
        "Σ_bi L_i", lambda at: Fraction(at["batch_size"]), ("batch_size",), "PyTorch's losses with reduction='sum'"
    ),
    "half": Convention("½ mean_b Σ_i (r_i - x_i)²", lambda _: Fraction(1, 2), about="half the squared error"),
}
"""The reconstruction error, by how other code reduces it."""

NOT_SQUARED = "norm"
"""The penalty ‖J‖_F, which no constant factor turns into its square."""


@dataclass(frozen=True)
class ConvertedWeight:
    """A weight in caelab's convention.

    Attributes:
        weight: of the penalty, for ``contractive.weight``.
        learning_rate_factor: what the learning rate of SGD is to be multiplied by; Adam needs no other rate.
        notes: what else is to be known of the conventions.
    """

    weight: float
    learning_rate_factor: float
    notes: tuple[str, ...] = field(default=())


def convert_weight(
    weight: float,
    penalty: str | Sequence[str] = OWN,
    reconstruction: str | Sequence[str] = OWN,
    *,
    inputs: int | None = None,
    units: int | None = None,
    batch_size: int | None = None,
) -> ConvertedWeight:
    """The weight at which caelab takes the same steps as code of another convention: lambda p / r.

    >>> convert_weight(0.1, "rifai-2012")
    ConvertedWeight(weight=0.05, learning_rate_factor=1.0, notes=())
    >>> convert_weight(1.0, reconstruction="mean-over-inputs", inputs=784).weight
    784.0

    Args:
        weight: lambda in the other code.
        penalty: how that code reduces the penalty (``PENALTIES``); several names, as ("half", "sum-over-batch"), where
            it does several things.
        reconstruction: how it reduces the reconstruction error (``RECONSTRUCTIONS``), likewise.
        inputs: d, the number of inputs; needed where a convention depends on it, as are the others.
        units: m, the number of units of the code.
        batch_size: examples in a batch; with sums over the batch the same steps need batches of one size.

    Raises:
        CaelabError: an unknown convention, one that no constant converts, a size that is needed and missing, or a
            weight or size that is none.
    """
    given = _checked_weight(weight)
    sizes = _checked_sizes({"inputs": inputs, "units": units, "batch_size": batch_size})
    penalties = _named(PENALTY, penalty, PENALTIES)
    errors = _named(RECONSTRUCTION, reconstruction, RECONSTRUCTIONS)
    p, r = _factor(penalties, sizes), _factor(errors, sizes)
    notes = [found.note for found in (*penalties.values(), *errors.values()) if found.note]
    return ConvertedWeight(_as_number(given, p / r), _as_number(1.0, r), tuple(notes))


def _as_number(weight: float, factor: Fraction) -> float:
    try:
        found = weight * factor.numerator / factor.denominator
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise CaelabError(
            f"{weight:g} times the factor of these conventions is too large for a number; check the weight, and the "
            "numbers of inputs, units and examples in a batch"
        )
    return found


def _checked_weight(weight: Any) -> float:
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not math.isfinite(weight) or weight < 0:
        raise CaelabError(
            f"expected the weight of a penalty as a finite number of at least 0, but {shown(weight)} came"
        )
    return float(weight)


def _checked_sizes(given: Mapping[str, Any]) -> dict[str, int]:
    sizes = {name: value for name, value in given.items() if value is not None}
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CaelabError(f"expected {SIZES[name]} as a whole number of at least 1, but {shown(value)} came")
    return sizes


def _named(part: str, names: str | Iterable[str], known: Mapping[str, Convention]) -> dict[str, Convention]:
    found: dict[str, Convention] = {}
    for name in texts_of(names, f"the conventions of the {part}"):
        if part == PENALTY and name == NOT_SQUARED:
            raise CaelabError(
                "a penalty of the norm ‖J‖_F, not squared, cannot be converted by a constant: its gradient is that of "
                "the squared norm over 2 ‖J‖_F, which changes in training; choose the weight anew, by validation"
            )
        if name not in known:
            raise unknown_name(f"convention of the {part}", name, known)
        if name in found:
            raise CaelabError(f"the convention {name!r} of the {part} came twice; name it once")
        found[name] = known[name]
    return found


def _factor(conventions: Mapping[str, Convention], sizes: Sizes) -> Fraction:
    for name, convention in conventions.items():
        for size in convention.needs:
            if size not in sizes:
                raise CaelabError(
                    f"the convention {name!r} depends on {SIZES[size]}; give it: {size}=N in Python, "
                    f"--{size.replace('_', '-')} N on the command line"
                )
    return math.prod((convention.factor(sizes) for convention in conventions.values()), start=Fraction(1))
