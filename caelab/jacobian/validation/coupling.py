"""Detecting outputs that depend on other examples, by gradients that are exactly zero where they do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caelab.jacobian.context import Encode
from caelab.jacobian.validation.double_precision import in_double

_IN_DOUBLE = 1e-9  # of the example's own gradient: more than rounding leaves in float64, and less than any dependence
ROUNDINGS = 32  # units of rounding that may be left where no copy in float64 can be made


class NoWayError(Exception):
    """Autograd sees no way from the inputs to the output."""


def couples(encode: Encode, inputs: Tensor, every_pair: bool) -> bool:
    """Whether some example's output depends on another example, as far as autograd sees.

    Where examples do not mix, the other ones' gradients are sums of zeros, whatever the type: a dependence of a
    millionth shows as well as one of a tenth. A gradient that is not 0 may also be what rounding leaves of terms that
    cancel, as behind a largest value of the whole batch that is subtracted and added again; so it is taken once more in
    float64, where the two are far apart.

    Args:
        encode: maps (batch, *input) to (batch, *code).
        inputs: x; it is not changed.
        every_pair: look at every pair of examples; otherwise at pairs next to each other and at others by chance.

    Raises:
        NoWayError: as it says.
    """
    splits = all_splits(len(inputs)) if every_pair else _some_splits(len(inputs))
    share, unit = _largest_share(encode, inputs, splits)
    if share == 0:
        return False
    if inputs.dtype == torch.float64:
        return share > _IN_DOUBLE
    precise = in_double(encode)
    try:
        share, unit = _largest_share(precise, inputs.double(), splits) if precise else (share, unit)
    except Exception:  # a copy may not run in float64
        return share > ROUNDINGS * unit
    return share > (_IN_DOUBLE if unit < 1e-15 else ROUNDINGS * unit)


def all_splits(count: int) -> list[Tensor]:
    """Halves of the examples such that every two are apart in one of them: the bits of their numbers."""
    numbers = torch.arange(count)
    return [(numbers >> bit) % 2 == 1 for bit in range(max(1, (count - 1).bit_length()))]


def _some_splits(count: int) -> list[Tensor]:
    """Every second example, and a half by chance."""
    numbers = torch.arange(count)
    return [numbers % 2 == 1, torch.randperm(count, generator=torch.Generator().manual_seed(0)) % 2 == 1]


def _largest_share(encode: Encode, inputs: Tensor, splits: Sequence[Tensor]) -> tuple[float, float]:
    """The others' gradients, summed, in terms of the largest own one; and the unit of rounding of the coarser type."""
    with torch.enable_grad():
        leaf = inputs.detach().clone().requires_grad_()
        code = encode(leaf.clone())  # of its own, which an encoder may write to
        code = code.reshape(len(code), -1)
        draws = torch.randn(code.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        weighted = (code * draws.to(code)).sum(dim=1)
        if not weighted.requires_grad:
            raise NoWayError
        shares, seen = [0.0], False
        for half in splits:
            for chosen in (half.to(leaf.device), ~half.to(leaf.device)):
                (grad,) = torch.autograd.grad(weighted[chosen].sum(), leaf, retain_graph=True, allow_unused=True)
                seen = seen or grad is not None
                shares.append(0.0 if grad is None else _share(grad, chosen))
    if not seen:
        raise NoWayError
    return max(shares), max(torch.finfo(each.dtype).eps for each in (code, leaf))


def _share(grad: Tensor, chosen: Tensor) -> float:
    """Σ |others| over the largest own entry; what is not finite tells nothing, since 0 · ∞ is none of the two."""
    sizes = grad.detach().abs().nan_to_num(0, 0, 0).flatten(1).double()
    others = float(sizes[~chosen].sum())
    return 0.0 if others == 0 else others / max(float(sizes[chosen].max()), 1e-300)
