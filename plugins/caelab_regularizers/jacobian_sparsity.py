"""Sparse Jacobians between codes: few units of one code depend on few of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from caelab import Jacobian, hookimpl, jacobian
from caelab.jacobian.recording import recorded
from caelab.options import Count, Weight
from caelab.streams import Streams


def absolute_entries(
    found: Jacobian, code: Tensor, columns: tuple[Tensor, Tensor], rows: int, draws: torch.Generator
) -> Tensor:
    """Mean over the examples of Σ_i Σ_j |∂h_i/∂a_j|, i over units with h_i ≠ 0, j over the columns that are given.

    Of an example with n active units and n above ``rows``, so many are drawn without replacement and their sum is
    multiplied by n / rows: unbiased. With ``rows`` at least n it is exact. No division by the number of pairs.

    Farnik, Lawson, Houghton and Aitchison (2025), ICML.

    Args:
        found: the Jacobian ∂h/∂a.
        code: h, shape (batch, code), which tells the rows.
        columns: their places, (batch, count), and whether each of them counts, as ``nonzero_places`` gives them.
        rows: how many rows of an example are taken.
        draws: of the rows.

    Returns:
        Scalar, shape (); differentiable with respect to the parameters of the map.
    """
    units, weights = drawn(*nonzero_places(code), rows, draws, code.dtype)
    places, present = columns
    entries = found.between(units, places).abs()
    return (torch.einsum("bij,bj->bi", entries, present.to(entries)) * weights).sum(dim=1).mean()


def nonzero_places(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the entries of every row that are not 0, (batch, most), at least one, and whether each is one."""
    where = (numbers != 0).flatten(1)
    most = max(1, int(where.sum(dim=1).max()))
    present, places = where.to(torch.uint8).topk(most, dim=1)
    return places, present.bool()


def all_places(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Every place of every row, in the same form."""
    present = torch.ones_like(numbers, dtype=torch.bool).flatten(1)
    return torch.arange(present.shape[1], device=present.device).expand(present.shape), present


def drawn(
    places: Tensor, present: Tensor, count: int, draws: torch.Generator, kind: torch.dtype
) -> tuple[Tensor, Tensor]:
    """So many of the present places of each row, (batch, count), and what each stands for: n / count, or 1 of all."""
    if count >= places.shape[1]:
        return places, present.to(kind)
    keys = torch.rand(places.shape, generator=draws, dtype=kind, device=places.device).masked_fill(~present, -1.0)
    chosen = keys.topk(count, dim=1).indices
    there, total = present.gather(1, chosen), present.sum(dim=1, keepdim=True)
    return places.gather(1, chosen), there * (total.to(kind) / total.clamp(min=1, max=count))


@dataclass(eq=False)
class JacobianSparsity:
    """Adds λ · mean over examples of Σ_i Σ_j |∂h_i/∂a_j| over pairs of active units (after Farnik et al. 2025, ICML).

    Of a model with ``code_map``, which maps its code a to another one h, as the pair of sparse auto-encoders around a
    block has, i runs over the units of h that are not 0 and j over those of a. Of any other model, h is its code and a
    its clean input, j over all of it: the sum of absolute entries of the encoder's Jacobian.

    Attributes:
        weight: λ.
        rows: how many of the active units i of each example are taken, at random; all, where there are fewer.
    """

    weight: Weight
    rows: Count

    @hookimpl
    def penalty_terms(
        self, model: Any, clean: Tensor, code: Tensor, encoder_jacobian: Jacobian, streams: Streams
    ) -> dict[str, Tensor]:
        """The weighted penalty; see ``absolute_entries``."""
        found, after, columns = _between_codes(model, code) or (encoder_jacobian, code, all_places(clean))
        total = absolute_entries(found, after.detach(), columns, self.rows, streams["jacobian sparsity"])
        return {"jacobian-sparsity": self.weight * total}


def _between_codes(model: Any, code: Tensor) -> tuple[Jacobian, Tensor, tuple[Tensor, Tensor]] | None:
    code_map = getattr(model, "code_map", None)
    if code_map is None:
        return None
    columns = nonzero_places(code.detach())
    passed = recorded(code_map, code, columns[0])
    return jacobian(code_map, code, passed, gradients=True), passed.outputs, columns
