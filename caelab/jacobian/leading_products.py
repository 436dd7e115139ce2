"""Products with a strategy's Jacobian for a search: many, at the same inputs, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from caelab.jacobian.autodiff import Autodiff
from caelab.jacobian.products import code_at, over
from caelab.jacobian.strategy import Strategy


class Kept:
    """J v and Jᵀ u at one batch; of an encoder whose inside is not known the pass forward is kept for all Jᵀ u."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self._point: Tensor | None = None
        self._code: Tensor | None = None

    def push(self, vectors: Tensor) -> Tensor:
        """J v, (batch, count, input) to (batch, count, code)."""
        with torch.no_grad():
            return self.strategy.jvp(vectors.reshape(*vectors.shape[:2], *self.strategy.inputs.shape[1:])).detach()

    def pull(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, (batch, count, code) to (batch, count, input)."""
        if not isinstance(self.strategy, Autodiff):
            with torch.no_grad():
                return self.strategy.vjp(covectors).flatten(2).detach()
        return self._pulled(self.strategy, covectors)

    def _pulled(self, strategy: Autodiff, covectors: Tensor) -> Tensor:
        if self._point is None or self._code is None:
            with torch.enable_grad():
                self._point = strategy.inputs.detach().requires_grad_()
                self._code = code_at(strategy.encode, self._point)
        point, code = self._point, self._code
        if not code.requires_grad:  # a constant, for these examples
            return covectors.new_zeros(*covectors.shape[:2], point[0].numel())

        def one(covector: Tensor) -> Tensor:
            return torch.autograd.grad(code, point, covector, retain_graph=True, materialize_grads=True)[0]

        turned = covectors.to(code.dtype).transpose(0, 1)
        with torch.no_grad():
            together = strategy.rows().together
        return over(one, turned, together).flatten(2).transpose(0, 1).detach()
