"""Singular values and leading tangents of any J, per example, in float64, from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.linalg import eigenvalues, gram, leading_eigenpairs
from caelab.jacobian.spectrum_gradient import with_gradient
from caelab.jacobian.strategy import Method, Mode, Strategy
from caelab.jacobian.validation.refusals import whole_number

MODES: Sequence[Mode] = ("exact", "strict", "fast")
METHODS: Sequence[Method] = ("gram", "svd")
RANK_TOLERANCE = 1e-7  # below it, against the largest, a Gram matrix no longer holds a singular vector
GRAM_TOLERANCE = 1e-4  # below it J v / s is too inexact for a gradient of log s: off by ε (s_1 / s)²


def differentiated_on_demand(
    strategy: Strategy, values: Callable[[], Tensor], count: int, budget: int, gradient: bool
) -> Tensor:
    """Singular values as they are computed without a record, and on demand with their gradient.

    Args:
        strategy: of which these are the singular values.
        values: computes them, shape (batch, count).
        count: how many.
        budget: bytes.
        gradient: whether to give them the gradient of ‖J v_k‖ along the right singular vectors v_k.
    """
    with torch.no_grad():
        found = values()
        if not gradient:
            return found
        directions = strategy.tangents(count, "exact", budget)[1].to(strategy.inputs.dtype)
    vectors = directions.reshape(*directions.shape[:2], *strategy.inputs.shape[1:])
    return with_gradient(found, strategy.jvp(vectors).norm(dim=2), max(strategy.shape))


def singular_values_by_rows(strategy: Strategy, count: int, method: Method, widest: int, budget: int) -> Tensor:
    """The ``count`` largest singular values, shape (batch, count), from J of a few examples at a time.

    Args:
        strategy: computes J.
        count: how many.
        method: ``gram``, from the Gram matrix on the smaller side; ``svd``, from J itself: exact to rounding against
            the largest, and slower.
        widest: the largest width on the way from the input to the code.
        budget: bytes.
    """
    compute = _by_svd if method == "svd" else _by_gram
    return torch.cat([compute(piece)[:, :count] for piece in _pieces_of(strategy, widest, budget)])


def tangents_by_rows(strategy: Strategy, count: int, widest: int, budget: int) -> tuple[Tensor, Tensor]:
    """The leading singular values (batch, count) and right singular vectors (batch, count, input), by rows too."""
    parts = [tangents_of_matrix(piece, count) for piece in _pieces_of(strategy, widest, budget)]
    values, directions = (torch.cat(part) for part in zip(*parts, strict=True))
    return values, directions


def _pieces_of(strategy: Strategy, widest: int, budget: int) -> Iterator[Tensor]:
    """J of a few examples at a time, so that matrices in float64 fit into the budget as well."""
    at_once = max(1, budget // (4 * 8 * strategy.shape[0] * widest))
    for first in range(0, len(strategy.inputs), at_once):
        part = slice(first, first + at_once)
        yield checked_finite(strategy.at(strategy.inputs[part], part).dense(budget)).double()


def _by_gram(dense: Tensor) -> Tensor:
    return torch.stack([roots(eigenvalues(gram(_tall(matrix)))) for matrix in dense])


def _by_svd(dense: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(dense)
    return values


def tangents_of_matrix(dense: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` leading singular values (batch, count) and right singular vectors (batch, count, input), exact."""
    values, directions = zip(*(tangents_of_one(matrix, count) for matrix in dense.double()), strict=True)
    return torch.stack(values), torch.stack(directions)


def tangents_of_one(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Those of one matrix (code, input), from eigenvectors of the float64 Gram matrix on the smaller side.

    Where a wanted singular value is too small for that, from the singular value decomposition of the matrix.
    """
    squares, vectors = leading_eigenpairs(gram(_tall(matrix)), count)
    values = roots(squares)
    if bool(values[-1] <= GRAM_TOLERANCE * values[0]):
        _, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return values[:count], right[:count]
    wide = matrix.shape[0] < matrix.shape[1]
    return values, (vectors @ matrix) / values[:, None] if wide else vectors


def roots(squares: Tensor) -> Tensor:
    """Square roots of eigenvalues, which rounding may have taken below 0."""
    return squares.clamp(min=0).sqrt()


def _tall(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, whichever has no more columns than rows."""
    return matrix.mT if matrix.shape[0] < matrix.shape[1] else matrix


def checked_finite(numbers: Tensor) -> Tensor:
    """The same numbers.

    Raises:
        CaelabError: one is infinite or not a number, of which nothing has a spectrum.
    """
    if numbers.numel() and not bool(torch.stack(numbers.aminmax()).isfinite().all()):  # which a NaN reaches, too
        raise CaelabError("the Jacobian is not finite, so it has no singular values; check the weights and the inputs")
    return numbers


def checked_count(count: int, code: int, width: int) -> int:
    """A number of singular values that there are.

    Raises:
        CaelabError: below 1, or more than the smaller side has.
    """
    whole = whole_number(count)
    if whole is None or not 1 <= whole <= min(code, width):
        raise CaelabError(
            f"expected between 1 and {min(code, width)} singular values (code {code}, input {width}), "
            f"but {count!r} came"
        )
    return whole


def checked_method(method: Method) -> Method:
    """A method of computing singular values that there is."""
    if method not in METHODS:
        raise CaelabError(f"expected the method gram or svd, but {method!r} came")
    return method


def checked_mode(mode: Mode) -> Mode:
    """A mode of computing tangents that there is."""
    if mode not in MODES:
        raise CaelabError(f"expected the mode exact, strict or fast, but {mode!r} came")
    return mode
