"""How many digits a product with J has lost to rounding, seen beside the same product in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from caelab.jacobian.active import ActiveRows
from caelab.jacobian.active_front import below_of
from caelab.jacobian.context import cut
from caelab.jacobian.memory import handful
from caelab.jacobian.products import pulled_back
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.validation.double_precision import in_double

UNSEEN = 64  # times ε, where there is no copy in float64 to compare with: what some thirty layers lose
Pull = Callable[[Tensor, slice], Tensor]
_MARGIN = 4  # one direction is looked at, and others may be worse


@torch.no_grad()
def relative_rounding(strategy: Strategy) -> float:
    """A bound of ‖E‖ / s_1 for the error E of J as products in the inputs' type give it, at the worst example.

    ‖Eᵀ u‖ / ‖Jᵀ u‖ for one u per example that a step of the power method turned towards the leading left singular
    vectors, four times over. Every layer adds rounding of its own, and autocast inside an encoder more than that, so
    that no multiple of ε is known beforehand. 0 where the products are in float64.
    """
    dtype = strategy.inputs.dtype
    if dtype == torch.float64:
        return 0.0
    if isinstance(strategy, ActiveRows):
        return relative_rounding(strategy.whole)
    unseen = UNSEEN * torch.finfo(dtype).eps
    pull = _pull_in_double(strategy)
    if pull is None:
        return unseen
    count = handful(strategy.inputs)
    parts = [slice(first, first + count) for first in range(0, len(strategy.inputs), count)]
    try:
        return _MARGIN * max(_lost(strategy, pull, part) for part in parts)
    except Exception:  # a copy may hold something that stayed in float32, or an operator that float64 lacks
        return unseen


def _pull_in_double(strategy: Strategy) -> Pull | None:
    """Jᵀ u in float64 for some of the examples, or nothing where no copy in float64 can be made."""
    inputs = strategy.inputs.detach().double()
    doubled = below_of([layer.in_double() for layer in strategy.layers], inputs)
    if doubled is not None:
        return lambda u, part: doubled.at(inputs[part], part).vjp(u)
    twin = in_double(getattr(strategy, "encode", None))
    if twin is None:
        return None
    return lambda u, part: pulled_back(cut(twin, part), inputs[part], u[None], False, False)[0]


def _lost(strategy: Strategy, pull: Pull, part: slice) -> float:
    """The largest ‖Eᵀ u‖ / ‖Jᵀ u‖ among some examples."""
    here = strategy.at(strategy.inputs[part], part)
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(len(here.inputs), here.inputs[0].numel(), generator=draws).to(here.inputs)
    u = _unit(here.jvp(start.reshape(here.inputs.shape)))
    found = here.vjp(u).flatten(1).double()
    exact = pull(u.double(), part).flatten(1)
    lost = (found - exact).norm(dim=1) / exact.norm(dim=1)
    return float(lost.nan_to_num(0.0).max())  # 0 / 0 where J is 0


def _unit(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    return vectors / length
