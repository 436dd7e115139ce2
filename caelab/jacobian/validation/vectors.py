"""Validation of the vectors that a Jacobian is multiplied by: one for each example, or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError


def are_many(given: Any, one: Sequence[int], kind: torch.dtype, what: str) -> bool:
    """Whether there are many vectors for each example, ``(batch, count, *vector)``, or one, ``(batch, *vector)``.

    Args:
        given: the vectors.
        one: the shape of one vector for each example.
        kind: the type that they are to have.
        what: what they are called.

    Raises:
        CaelabError: they have another shape or type.
    """
    if not isinstance(given, Tensor) or given.dtype != kind:
        came = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise CaelabError(f"expected {what} of type {kind}, as the inputs, but {came} came; convert them")
    shape, expected = tuple(given.shape), tuple(one)
    if shape == expected:
        return False
    if given.ndim == len(expected) + 1 and (shape[0], *shape[2:]) == expected:
        return True
    raise CaelabError(f"expected {what} of shape {expected}, or with a further axis after the first, but {shape} came")


def recordable(tensor: Any) -> Any:
    """The tensor, or a copy of it that autograd can record, where it was made in torch.inference_mode()."""
    made_without = isinstance(tensor, Tensor) and tensor.is_inference() and not torch.is_inference_mode_enabled()
    return tensor.clone() if made_without else tensor
