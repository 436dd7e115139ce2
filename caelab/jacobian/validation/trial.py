"""Validation of passes: each kind is compared once with a plain backward pass, one vector at a time.

torch's batched and forward-mode derivatives are wrong for some operators (``cdist``, the product of
``scatter_reduce``), missing for others, and forward mode does not see what is cut by ``torch.no_grad()``. Reverse mode
without ``torch.func.vmap`` is what training uses, so that is what the others are held against: their values, and where
autograd records, their gradients too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.blockwise import reached
from caelab.jacobian.memory import handful
from caelab.jacobian.products import code_at, pulled_back, pushed_forward, reversed_twice
from caelab.jacobian.validation.custom_functions import custom_functions, refuse_marked, refuse_unrecorded
from caelab.jacobian.validation.explanations import FIRST, SECOND, explained, failing_operator

Encode = Callable[[Tensor], Tensor]
Taken = Callable[[bool], Tensor]  # J v, from whether autograd is to record it
_VECTORS = 2
TOLERANCE = {
    torch.float64: 1e-6,
    torch.float32: 1e-3,
}  # against the largest; what is wrong is off by a per cent or more
COARSE = 0.1  # of types with few digits
NOISE = 1e3  # in units of the type's epsilon, against the largest of all gradients


class Directions(StrEnum):
    """The passes by which J v can be taken, the cheapest first."""

    FORWARD = "forward mode"
    FORWARD_EACH = "J v one by one"
    TWICE = "J v by two reverse passes"
    TWICE_EACH = "J v by two reverse passes, one by one"
    ROWS = "J v from all rows"


@dataclass(frozen=True)
class Rows:
    """The passes by which rows of J are taken.

    Attributes:
        together: many in one pass; otherwise one after the other.
        lacking: why torch cannot differentiate them again, if so.
    """

    together: bool
    lacking: CaelabError | None = None


@dataclass(frozen=True)
class Products:
    """The passes by which J v is taken.

    Attributes:
        directions: the cheapest strategy for J v that is right.
        own_record: whether the gradient of what autograd records of it is right as well.
        lacking: why torch cannot differentiate J again, if so.
    """

    directions: Directions
    own_record: bool = True
    lacking: CaelabError | None = None


@dataclass(frozen=True)
class Plain:
    """A row of J by a plain backward pass.

    Attributes:
        inputs: x, shape (few, *input).
        covectors: u, shape (vectors, few, code); the last of them is pulled back.
        vectors: v, shape ``(vectors, few, *input)``; the last of them stands for all.
        row: Jᵀ u, shape (few, input).
        sources: what the row is differentiated by; nothing where autograd does not record.
        gradients: of Σ ⟨Jᵀ u, v⟩ by each of them.
        lacking: why torch cannot take these, if so.
    """

    inputs: Tensor
    covectors: Tensor
    vectors: Tensor
    row: Tensor
    sources: Sequence[Tensor]
    gradients: Sequence[Tensor | None]
    lacking: CaelabError | None = None

    @classmethod
    def of(cls, encode: Encode, inputs: Tensor, recorded: bool) -> Plain:
        """Take the row at a few inputs.

        Raises:
            CaelabError: torch cannot take a row.
        """
        few = inputs.detach().clone()
        if not recorded:
            return cls._of(encode, few)
        try:
            return cls._of(encode, few.requires_grad_(), without=() if inputs.requires_grad else (few,))
        except CaelabError as lacking:
            return replace(cls._of(encode, few.detach()), lacking=lacking)

    @classmethod
    def _of(cls, encode: Encode, few: Tensor, without: Sequence[Tensor] = ()) -> Plain:
        draws, codes, recorded = torch.Generator().manual_seed(0), [], few.requires_grad

        def drawn(code: Tensor) -> Tensor:
            codes.extend([code, _normal(code, draws)])
            codes.append(codes[1][-1:].requires_grad_(recorded))
            return codes[2]

        def suspects() -> list[str]:
            row = partial(pulled_back, encode, few, drawn, recorded, together=False)
            return failing_operator(row) or (custom_functions(codes[0]) if codes else [])

        with explained(encode, SECOND if recorded else FIRST, suspects):
            (row,) = pulled_back(encode, few, drawn, recorded, together=False)
            code, covectors, pulled = codes
            vectors = _normal(few, draws)
            leaves = leaves_of(code) if recorded else []
            sources = [leaf for leaf in leaves if all(leaf is not other for other in without)]
            value = _inner(row, vectors[-1].flatten(1)).sum()
            if functions := custom_functions(code) if sources else []:
                refuse_marked(row, functions)
                values, slopes = _by_example(encode, pulled.detach(), vectors[-1].flatten(1))
                refuse_unrecorded(values, slopes, few, value, functions)
            return cls(few, covectors, vectors, row.detach(), sources, _gradients(value, sources))

    @property
    def recorded(self) -> bool:
        """Whether gradients are compared as well."""
        return bool(self.sources)

    def agrees_with_rows(self, rows: Tensor) -> bool:
        """Whether the rows for the covectors, shape (vectors, few, input), taken otherwise, are right."""
        value = _inner(rows[-1], self.vectors[-1].flatten(1)).sum()
        return _close(rows[-1], self.row, _largest(self.row)) and self.has_gradients(value)

    def has_products(self, taken: Taken) -> bool:
        """Whether J v for the vectors, shape (vectors, few, code), belongs to the same J: ⟨u, J v⟩ = ⟨Jᵀ u, v⟩."""

        def same() -> bool:
            with torch.no_grad():
                products = taken(False)
            found, expected = self._of_products(products), _inner(self.row, self.vectors[-1].flatten(1))
            size = self.covectors[-1].norm(dim=1) * products[-1].norm(dim=1)
            return _close(found, expected, _largest(size))

        return _holds(same)

    def has_gradients_of(self, taken: Taken) -> bool:
        """Whether autograd's record of J v gives its gradient."""
        return not self.recorded or _holds(lambda: self.has_gradients(self._of_products(taken(True)).sum()))

    def _of_products(self, products: Tensor) -> Tensor:
        return _inner(self.covectors[-1], products[-1])

    def has_gradients(self, value: Tensor) -> bool:
        """Whether the gradient of Σ ⟨u, J v⟩, computed otherwise, is right."""
        return _same_gradients(_gradients(value, self.sources), self.gradients)


def rows_of(encode: Encode, inputs: Tensor, recorded: bool) -> Rows:
    """The passes that give right rows of J: all at once, unless that differs from one after the other.

    Raises:
        CaelabError: torch cannot take them at all.
    """
    plain = Plain.of(encode, inputs, recorded)
    together = _holds(
        lambda: plain.agrees_with_rows(pulled_back(encode, plain.inputs, plain.covectors, plain.recorded))
    )
    return Rows(together, plain.lacking)


def products_of(many: bool, encode: Encode, inputs: Tensor, recorded: bool) -> Products:
    """The first kind of passes whose J v agrees with the rows, for one vector per example or for many.

    Raises:
        CaelabError: torch cannot take rows.
    """
    plain = Plain.of(encode, inputs, recorded)
    x, v = plain.inputs, plain.vectors
    turned = v.transpose(0, 1).contiguous()  # laid out as they come: a batched rule may go by that
    strategies: dict[Directions, Taken] = {
        Directions.FORWARD: lambda _: pushed_forward(encode, x, turned, together=many).transpose(0, 1),
        Directions.FORWARD_EACH: lambda _: pushed_forward(encode, x, turned, together=False).transpose(0, 1),
        Directions.TWICE: lambda recorded: reversed_twice(encode, x, v, recorded, together=many),
        Directions.TWICE_EACH: lambda recorded: reversed_twice(encode, x, v, recorded, together=False),
    }
    for directions, taken in strategies.items():
        if plain.has_products(taken):
            return Products(directions, plain.has_gradients_of(taken), plain.lacking)
    return Products(Directions.ROWS, True, plain.lacking)


def agrees_once(
    found: dict[Any, Any], pull: Callable[[Tensor, Tensor], Tensor], encode: Encode, inputs: Tensor
) -> bool:
    """The answer of ``agrees``, found once for an encoder in one state and kept in ``found``."""
    recorded = torch.is_grad_enabled()
    key = ("layers", recorded, inputs.requires_grad)
    if key not in found:
        found[key] = agrees(pull, encode, inputs[: handful(inputs)], recorded)
    return bool(found[key])


def agrees(pull: Callable[[Tensor, Tensor], Tensor], encode: Encode, inputs: Tensor, recorded: bool) -> bool:
    """Whether Jᵀ u, as a function of x and of covectors (few, vectors, code), is what plain backward passes give.

    Raises:
        CaelabError: torch cannot take rows.
    """
    plain = Plain.of(encode, inputs, recorded)

    def same() -> bool:
        rows = pull(plain.inputs, plain.covectors.transpose(0, 1)).transpose(0, 1).flatten(2)
        if plain.lacking is not None:  # layers that say their derivatives may have the second one, too
            _gradients(rows.sum(), leaves_of(rows))
        return plain.agrees_with_rows(rows)

    return _holds(same)


def _holds(comparison: Callable[[], bool]) -> bool:
    """Whether a comparison comes out well; a pass that torch has not for some operator is not right either."""
    try:
        return comparison()
    except Exception:  # of any operator that a user's encoder may hold
        return False


def _by_example(encode: Encode, covectors: Tensor, vectors: Tensor) -> tuple[Encode, Encode]:
    """⟨u, f(x)⟩ and ⟨Jᵀ u, v⟩ as functions of x, one number for each example."""

    def values(inputs: Tensor) -> Tensor:
        return _inner(code_at(encode, inputs), covectors[0])

    def slopes(inputs: Tensor) -> Tensor:
        return _inner(pulled_back(encode, inputs.detach(), covectors, False, together=False)[0], vectors)

    return values, slopes


def _normal(like: Tensor, draws: torch.Generator) -> Tensor:
    drawn = torch.randn(_VECTORS, *like.shape, generator=draws, dtype=torch.float64)
    return drawn.to(dtype=like.dtype, device=like.device)


def leaves_of(code: Tensor) -> list[Tensor]:
    """What a code depends on and can be differentiated by; the point it was computed at is one of them."""
    return [node.variable for node in reached(code.grad_fn) if hasattr(node, "variable")]


def _gradients(value: Tensor, sources: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not value.requires_grad or not sources:
        return [None] * len(sources)
    return torch.autograd.grad(value, sources, retain_graph=True, allow_unused=True)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=1)


def _largest(numbers: Tensor) -> float:
    return float(numbers.detach().abs().nan_to_num(posinf=0).max()) if numbers.numel() else 0.0


def _close(found: Tensor, expected: Tensor, scale: float, noise: float = 0.0) -> bool:
    """Whether two results agree to a part of a scale; where the plain one is not finite nothing is compared."""
    kinds = (found.dtype, expected.dtype)
    tolerance = max(TOLERANCE.get(kind, COARSE) for kind in kinds) * scale + noise
    difference = torch.where(expected.isfinite(), found.detach() - expected.detach(), 0)
    return bool((difference.abs() <= tolerance).all())


def _same_gradients(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> bool:
    scales = [0.0 if each is None else _largest(each) for each in expected]
    most = max(scales, default=0.0)
    for mine, plain, scale in zip(found, expected, scales, strict=True):
        present = mine if mine is not None else plain
        if present is None:
            continue
        zero = torch.zeros_like(present)
        noise = min(COARSE, NOISE * torch.finfo(present.dtype).eps) * most
        if not _close(zero if mine is None else mine, zero if plain is None else plain, scale, noise):
            return False
    return True
