"""The moments of a corruption, declared by it or estimated from drawn copies."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from caelab.streams import Streams


@dataclass(frozen=True)
class Renamed:
    """A run's streams under names of one's own, so that drawing from them leaves the others alone."""

    streams: Streams
    owner: str

    def __getitem__(self, name: str) -> torch.Generator:
        return self.streams[f"{self.owner}: {name}"]


def declared_moments(corruption: Any, clean: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of every input given x, shape (batch, *input) each, if the corruption declares them.

    Declared are ``mean(clean)`` and ``covariance_diagonal(clean)``, of inputs that are corrupted independently; or
    it says by ``declares_moments`` that it does not know them, as a chain with a step that declares none.
    """
    named = hasattr(corruption, "mean") and hasattr(corruption, "covariance_diagonal")
    if not getattr(corruption, "declares_moments", named):
        return None
    return corruption.mean(clean), corruption.covariance_diagonal(clean)


def corrupted_copies(corruption: Any, clean: Tensor, samples: int, epoch: int, streams: Any) -> Tensor:
    """Copies x̃ of every example, drawn independently, shape (samples, batch, *input)."""
    wanted = signature(corruption.corrupt_input).parameters  # as pluggy: a hook names only what it wants
    given = {k: v for k, v in {"epoch": epoch, "streams": streams}.items() if k in wanted}
    many = clean.repeat(samples, *[1] * (clean.ndim - 1))
    copies: Tensor = corruption.corrupt_input(clean=many, **given)
    return copies.reshape(samples, *clean.shape)
