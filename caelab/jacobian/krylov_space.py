"""The space of a block Krylov search: an orthonormal basis in float64, its images under G, and Rayleigh-Ritz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from caelab.jacobian.linalg import leading_eigenpairs

Product = Callable[[Tensor], Tensor]
CHUNK = 64  # rows that are allocated at once
_PASSES, _MOST_PASSES = 3, 8
_VANISHED = 1e-13  # of its length: what is left of a vector is rounding
_ORTHOGONAL = 1e-12


def orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal rows (batch, count, width), the first j of which span what the first j rows span."""
    turned: Tensor = torch.linalg.qr(rows.mT)[0].mT
    return turned


class Rows:
    """Rows (batch, size, width) that grow, in chunks that are allocated once and never copied."""

    def __init__(self, batch: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._empty = torch.empty(batch, 0, width, dtype=dtype, device=device)
        self.chunks: list[Tensor] = []
        self.size = 0

    def append(self, block: Tensor) -> None:
        """Add a block (batch, count, width) at the end."""
        while block.shape[1]:
            used = self.size % CHUNK
            if used == 0:
                self.chunks.append(self._empty.new_empty(len(block), CHUNK, block.shape[2]))
            fits = min(CHUNK - used, block.shape[1])
            self.chunks[-1][:, used : used + fits] = block[:, :fits]
            self.size, block = self.size + fits, block[:, fits:]

    def filled(self) -> list[Tensor]:
        """The chunks, the last one as far as it is filled."""
        return [chunk[:, : self.size - place * CHUNK] for place, chunk in enumerate(self.chunks)]

    def project(self, block: Tensor) -> Tensor:
        """Inner products of a block (batch, count, width) with all rows, shape (batch, count, size)."""
        parts = [block @ chunk.mT for chunk in self.filled()]
        return torch.cat(parts, dim=2) if parts else block.new_zeros(*block.shape[:2], 0)

    def combined(self, weights: Tensor) -> Tensor:
        """Σ_i weights_i row_i in float64, weights (batch, count, size), shape (batch, count, width)."""
        found = weights.new_zeros(*weights.shape[:2], self._empty.shape[2])
        for place, chunk in enumerate(self.filled()):
            part = weights[:, :, place * CHUNK : place * CHUNK + chunk.shape[1]]
            found.baddbmm_(part, chunk.to(weights.dtype))
        return found

    def replaced_by(self, block: Tensor) -> None:
        """These rows alone."""
        self.chunks, self.size = [], 0
        self.append(block)

    def narrow_to(self, part: Tensor) -> None:
        """Some of the examples alone."""
        self._empty, self.chunks = self._empty[part], [chunk[part] for chunk in self.chunks]


@dataclass(frozen=True)
class Ritz:
    """The leading Ritz pairs of a space.

    Attributes:
        values: θ, (batch, pairs), descending.
        rotation: coordinates of the Ritz vectors in the basis, (batch, pairs, size).
        residuals: G x - θ x, (batch, pairs, narrow).
    """

    values: Tensor
    rotation: Tensor
    residuals: Tensor


class Space:
    """A space on the narrower side of J, of width n, whose basis vectors q have images G q; G = J Jᵀ or Jᵀ J.

    Attributes:
        asymmetry: the largest ‖D - Dᵀ‖_F of a diagonal block D of Q G Qᵀ, (batch,): what the products' rounding is.
        products: how many vectors were multiplied, there and back, in each example.
    """

    def __init__(self, there: Product, back: Product, template: Tensor, widths: tuple[int, int], keeps: bool) -> None:
        """An empty space.

        Args:
            there: from the narrower side to the other, (batch, count, narrow) to (batch, count, wide).
            back: from the other side to the narrower.
            template: a tensor (batch, ...) of the products' type, on their device.
            widths: (narrow, wide).
            keeps: whether what ``there`` gives is kept, for the singular vectors on the wide side.
        """
        self.there, self.back, self.dtype, self.device = there, back, template.dtype, template.device
        batch, (self.narrow, wide) = len(template), widths
        self.basis = Rows(batch, self.narrow, torch.float64, template.device)
        self.images = Rows(batch, self.narrow, template.dtype, template.device)
        self.halfway = Rows(batch, wide, template.dtype, template.device) if keeps else None
        self.projected = torch.zeros(batch, 0, 0, dtype=torch.float64, device=template.device)
        self.asymmetry = self.projected.new_zeros(batch)
        self.products = 0
        self.draws = torch.Generator().manual_seed(0)

    @property
    def size(self) -> int:
        """The dimension."""
        return self.basis.size

    @property
    def exhausted(self) -> bool:
        """Whether it is the whole space."""
        return self.size >= self.narrow

    def fresh(self, count: int) -> Tensor:
        """Random vectors outside of the space, orthonormal, (batch, count, narrow)."""
        return self.outside(self._random(count))

    def extended(self, block: Tensor) -> Tensor:
        """Take in an orthonormal block from outside of the space; what its images have outside, orthonormal."""
        halfway = self.there(block.to(self.dtype))
        images = self.back(halfway.to(self.dtype))
        self.products += block.shape[1]
        self.basis.append(block)
        self.images.append(images)
        if self.halfway is not None:
            self.halfway.append(halfway)
        images = images.double()
        coordinates = self.basis.project(images)
        self._grow(coordinates)
        return self.outside(images - self.basis.combined(coordinates), images)

    def _grow(self, coordinates: Tensor) -> None:
        batch, count, size = coordinates.shape
        corner = coordinates[:, :, size - count :]
        rounding = torch.linalg.matrix_norm(corner - corner.mT)
        self.asymmetry = torch.maximum(self.asymmetry, rounding)
        grown = coordinates.new_zeros(batch, size, size)
        grown[:, : size - count, : size - count] = self.projected
        grown[:, size - count :] = coordinates
        grown[:, :, size - count :] = coordinates.mT
        grown[:, size - count :, size - count :] = (corner + corner.mT) / 2
        self.projected = grown

    def outside(self, block: Tensor, whole: Tensor | None = None) -> Tensor:
        """The part of a block that is orthogonal to the space, made orthonormal; random where nothing is left of it.

        Orthogonalised three times and made orthonormal each time: with less, what is left in an exhausted space is
        rounding, which points back into it.

        Args:
            block: shape (batch, count, narrow).
            whole: the block before something was taken from it, against which the rest counts as nothing.
        """
        block = block[:, : max(0, self.narrow - self.size)]
        reference = (block if whole is None else whole[:, : block.shape[1]]).norm(dim=2, keepdim=True)
        for turn in range(_MOST_PASSES):
            lost = block.norm(dim=2, keepdim=True) <= _VANISHED * reference
            block = torch.where(lost, self._random(block.shape[1]), block) if bool(lost.any()) else block
            block = orthonormal(block)
            inside = self.basis.project(block)
            if turn >= _PASSES - 1 and not bool((inside.abs() > _ORTHOGONAL).any()):
                return block
            block = block - self.basis.combined(inside)
            reference = torch.ones_like(reference)
        return orthonormal(block)

    def _random(self, count: int) -> Tensor:
        batch = self.asymmetry.shape[0]
        drawn = torch.randn(batch, count, self.narrow, generator=self.draws, dtype=torch.float64)
        return drawn.to(self.device)

    def ritz(self, pairs: int) -> Ritz:
        """The leading Ritz pairs with their residuals, as many as there are."""
        values, rotation = leading_eigenpairs(self.projected, min(pairs, self.size))
        residuals = self.images.combined(rotation) - values[:, :, None] * self.basis.combined(rotation)
        return Ritz(values, rotation, residuals)

    def restart(self, ritz: Ritz) -> None:
        """Keep the Ritz vectors alone, with their images."""
        for rows in (self.basis, self.images, self.halfway):
            if rows is not None:
                rows.replaced_by(rows.combined(ritz.rotation))
        self.projected = torch.diag_embed(ritz.values)

    def narrow_to(self, part: Tensor, there: Product, back: Product) -> None:
        """Go on with some of the examples."""
        self.there, self.back = there, back
        for rows in (self.basis, self.images, self.halfway):
            if rows is not None:
                rows.narrow_to(part)
        self.projected, self.asymmetry = self.projected[part], self.asymmetry[part]
