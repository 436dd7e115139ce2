"""Leading right singular vectors of diag(s'_b) W for many examples b, without forming the matrices.

Every example has the same W. In the eigenvectors of the mean Gram matrix Wᵀ diag(mean s'²) W, each example's own
A = Wᵀ diag(s'²) W is nearly diagonal, and its leading eigenvectors lie nearly in the first coordinates. Rayleigh-Ritz
there costs little. What a Ritz vector v with value θ lacks in coordinate i is, to first order, r_i / (θ - A_ii) with
the residual r = A v - θ v (Davidson 1975, Journal of Computational Physics 17); so corrected, it joins the basis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from caelab.jacobian.linalg import leading_eigenpairs

MOST_STEPS = 8
_TELLING = 0.3  # a sine above which its estimate may be wrong
_STARTS = 3  # random vectors that look for what the head misses
_DEPENDENT = 1e-10  # squared length below which a correction says nothing that the others do not


@dataclass(frozen=True)
class Operator:
    """W in coordinates in which the examples' Gram matrices are nearly diagonal.

    Attributes:
        axes: the coordinates' directions, orthonormal rows, shape (axes, input); they span the rows of W.
        head: W along the first of them, shape (head, code), float64.
        tail: W along the others, shape (axes - head, code).
        rough_tail: the same in float32, which is enough to see whether something large is left there.
    """

    axes: Tensor
    head: Tensor
    tail: Tensor
    rough_tail: Tensor

    @classmethod
    def shared_by(cls, weight: Tensor, slope: Tensor, count: int) -> Operator:
        """The eigenvectors of the mean Gram matrix; the head holds twice as many as are wanted, and 20 more."""
        scaled = slope.square().mean(dim=0).sqrt()[:, None] * weight
        if weight.shape[0] < weight.shape[1]:
            _, left = leading_eigenpairs(scaled @ scaled.T, len(weight))
            axes = torch.linalg.qr((left @ scaled).T).Q.T
        else:
            _, axes = leading_eigenpairs(scaled.T @ scaled, weight.shape[1])
        rotated = axes @ weight.T
        size = min(2 * count + 20, len(axes))
        tail = rotated[size:].contiguous()
        return cls(axes, rotated[:size].contiguous(), tail, tail.float())


@dataclass(frozen=True)
class Search:
    """The space in which the leading vectors of some examples are sought.

    Attributes:
        slope: s', shape (examples, code).
        tail_diagonal: A_ii of the tail's coordinates, shape (examples, tail).
        images: diag(s') W times the basis, shape (examples, basis, code).
        gram: of the images, shape (examples, basis, basis).
        added: what joined the basis, orthonormal and in the tail alone, shape (examples, added, tail).
    """

    slope: Tensor
    tail_diagonal: Tensor
    images: Tensor
    gram: Tensor
    added: Tensor

    @classmethod
    def within_head(cls, operator: Operator, slope: Tensor) -> Search:
        """Begin with the head's coordinates."""
        diagonal = slope.square() @ operator.tail.square().T
        images = operator.head * slope[:, None]
        return cls(slope, diagonal, images, images @ images.mT, slope.new_empty(len(slope), 0, len(operator.tail)))

    def of(self, examples: Tensor) -> Search:
        """The search for some of the examples."""
        if bool(examples.all()):
            return self
        return Search(*(getattr(self, each.name)[examples] for each in fields(self)))

    def widened(self, operator: Operator, corrections: Tensor) -> Search:
        """The search with the directions added that the corrections give."""
        new = corrections - (corrections @ self.added.mT) @ self.added
        new = orthonormal(new)
        images = _times(new, operator.tail).mul_(self.slope[:, None])
        across, own = self.images @ images.mT, images @ images.mT
        gram = torch.cat([torch.cat([self.gram, across], 2), torch.cat([across.mT, own], 2)], 1)
        added = torch.cat([self.added, new], 1)
        return replace(self, images=torch.cat([self.images, images], 1), gram=gram, added=added)


def orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of what the rows (batch, count, n) span; zero where they depend on each other."""
    basis: Tensor = _orthonormalising(rows) @ rows
    return basis


def _orthonormalising(rows: Tensor) -> Tensor:
    """What turns rows into an orthonormal basis of their span, shape (batch, count, count)."""
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp(min=1e-300)
    scaled = rows / lengths
    squares, rotation = torch.linalg.eigh(scaled @ scaled.mT)
    scale = torch.where(squares > _DEPENDENT, squares.clamp(min=_DEPENDENT).rsqrt(), 0.0)
    turn: Tensor = (rotation * scale[:, None]).mT / lengths.mT
    return turn


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenpairs of A, with their residuals.

    Attributes:
        values: θ, shape (examples, count), descending.
        rotation: the vectors in terms of the basis, shape (examples, count, basis).
        corrections: what the vectors lack outside the basis, to first order, shape (examples, count, tail).
        sine: an estimate of the sine of the largest angle to the true space, shape (examples,).
    """

    values: Tensor
    rotation: Tensor
    corrections: Tensor
    sine: Tensor

    def of(self, examples: Tensor) -> Ritz:
        """The eigenpairs of some of the examples."""
        return Ritz(*(getattr(self, each.name)[examples] for each in fields(self)))


def ritz(operator: Operator, search: Search, count: int) -> Ritz:
    """The best that the space holds, and how far from the truth that is.

    Vectors v_i of the space with values θ_i and residuals r_i lack t_i outside of it. Folded into the space, that
    turns their matrix diag(θ) into diag(θ) + (t_i·r_j) (Löwdin 1951), whose eigenvectors mix the wanted with some
    that are not.
    """
    keep = count + max(4, count // 4)
    values, rotation = leading_eigenpairs(search.gram, keep)
    back = _times((rotation @ search.images).mul_(search.slope[:, None]), operator.tail.T)
    head = len(operator.head)
    residual = back - values[:, :, None] * (rotation[:, :, head:] @ search.added)
    floor = (0.05 * values[:, count - 1, None, None]).clamp(min=1e-300)
    corrections = residual / (values[:, :, None] - search.tail_diagonal[:, None]).clamp(min=floor)
    folded = corrections @ residual.mT
    better, mixing = leading_eigenpairs((folded + folded.mT) / 2 + torch.diag_embed(values), count)
    outside = mixing @ corrections
    error = outside @ outside.mT + mixing[:, :, count:] @ mixing[:, :, count:].mT
    sine = torch.linalg.eigvalsh(error)[:, -1].clamp(min=0).sqrt()
    return Ritz(better, mixing @ rotation, outside, sine)


def reach_of_tail(operator: Operator, search: Search) -> Tensor:
    """How large an eigenvalue the coordinates outside the head may hold of their own, shape (examples,).

    What is not coupled to the head has no residual there, so no correction ever points to it: an eigenvector that is
    missing is not missed. Two steps of a block Krylov space from a few random vectors tell the largest eigenvalue μ of
    A's tail, to about the residual ρ of its vector; μ + 3ρ is taken, or the largest diagonal entry.
    """
    count, tail = len(search.slope), len(operator.tail)
    if tail == 0:
        return search.slope.new_zeros(count)
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(min(_STARTS, tail), tail, generator=draws).to(operator.rough_tail)
    first = start.expand(count, -1, -1)
    second = _applied(operator, search, first)
    images = torch.cat([second, _applied(operator, search, second)], 1).double()
    basis = torch.cat([first, second], 1).double()
    turned = _orthonormalising(basis)
    basis, images = turned @ basis, turned @ images
    projected = basis @ images.mT
    values, vectors = leading_eigenpairs((projected + projected.mT) / 2, 1)
    rest = torch.linalg.vector_norm(vectors @ images - values[:, :, None] * (vectors @ basis), dim=2)
    return torch.maximum((values + 3 * rest)[:, 0], search.tail_diagonal.amax(dim=1))


def _applied(operator: Operator, search: Search, rows: Tensor) -> Tensor:
    """A's tail times some vectors of every example, (examples, count, tail), in float32."""
    weights = search.slope.square().to(rows)
    return _times(_times(rows, operator.rough_tail).mul_(weights[:, None]), operator.rough_tail.T)


def leading_right_vectors(operator: Operator, slope: Tensor, count: int, sine: float) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values and right singular vectors, and for which examples they are good enough.

    Args:
        operator: W.
        slope: s', shape (batch, code).
        count: how many.
        sine: of the largest angle that is good enough between the found and the true space.

    Returns:
        Values (batch, count), descending; vectors (batch, count, input), orthonormal; settled (batch,), false where
        so many steps did not reach the angle, as where the singular values have no gap behind the last one wanted.
    """
    settled = torch.zeros(len(slope), dtype=torch.bool, device=slope.device)
    values, vectors = slope.new_empty(len(slope), count), slope.new_empty(len(slope), count, operator.axes.shape[1])
    search, left = Search.within_head(operator, slope), torch.arange(len(slope), device=slope.device)
    before = torch.full_like(slope[:, 0], torch.inf)
    reach = reach_of_tail(operator, search)
    for step in range(MOST_STEPS + 1):
        found = ritz(operator, search, count)
        if step == 0:
            certain = reach < found.values[:, -1]
            search, found, left, before = search.of(certain), found.of(certain), left[certain], before[certain]
        done = _sine_after(found.sine, before) <= sine
        values[left[done]] = found.values[done].clamp(min=0).sqrt()
        vectors[left[done]] = _in_inputs(operator, search.of(done), found.rotation[done], found.corrections[done])
        settled[left[done]] = True
        if bool(done.all()) or step == MOST_STEPS:
            break
        search, left = search.of(~done).widened(operator, found.corrections[~done]), left[~done]
        before = found.sine[~done]
    return values, vectors, settled


def _sine_after(sine: Tensor, before: Tensor) -> Tensor:
    """What a correction leaves of the sine, going by what the last step left of the sine before it.

    Where that was not small yet, nothing can be told, and a correction counts for nothing.
    """
    return torch.where(before <= _TELLING, sine * (3 * sine / before).clamp(0.2, 1), sine)


def _in_inputs(operator: Operator, search: Search, rotation: Tensor, corrections: Tensor) -> Tensor:
    head = len(operator.head)
    tail = rotation[:, :, head:] @ search.added + corrections
    coordinates = torch.cat([rotation[:, :, :head], tail], dim=2)
    lengths, turn = torch.linalg.eigh(coordinates @ coordinates.mT)
    return _times((turn * lengths.rsqrt()[:, None]) @ turn.mT @ coordinates, operator.axes)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Rows (batch, count, n) times a shared matrix (n, m): one product for the whole batch."""
    return torch.unflatten(rows.flatten(0, 1) @ matrix, 0, rows.shape[:2])
