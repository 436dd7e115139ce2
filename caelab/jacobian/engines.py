"""Many products with J at the same inputs, without gradients, from one pass forward that is kept.

Jᵀ u is one reverse pass. For J v there are three ways: forward mode; the reverse pass of a reverse pass that is kept,
which runs nothing forward again; and where very many products are asked for, ``torch.func.linearize``, whose trace
costs some hundred passes and whose products are the cheapest. Which is the fastest depends on the encoder, so it is
measured on the first vectors and remembered; a way that gives other numbers than the one found right is not taken.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.memory import budget_in_bytes
from caelab.jacobian.products import code_at, over, pushed_forward
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.validation.trial import COARSE, TOLERANCE, Directions

Encode = Callable[[Tensor], Tensor]
Push = Callable[[Tensor], Tensor]
MANY = 120  # blocks of vectors after which tracing pays: it costs some forty, and saves a third of each
LINEARIZED = "linearized"
_SHARE = 0.25  # of the budget that what is kept may take
_RECORDED = 3  # what a reverse pass that is recorded keeps, in terms of one that is not


@dataclass(frozen=True, eq=False)
class OwnProducts:
    """Products of a strategy whose own are as cheap as can be."""

    strategy: Strategy

    @torch.no_grad()
    def push(self, vectors: Tensor) -> Tensor:
        """J v, (batch, count, input) to (batch, count, code)."""
        return self.strategy.jvp(vectors.reshape(*vectors.shape[:2], *self.strategy.inputs.shape[1:])).detach()

    @torch.no_grad()
    def pull(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, (batch, count, code) to (batch, count, input)."""
        return self.strategy.vjp(covectors).flatten(2).detach()


@dataclass(eq=False)
class KeptProducts:
    """Products of a map whose inside is not known.

    Attributes:
        strategy: of the map; it takes J v where nothing here does.
        encode: the map.
        rows_together: whether many Jᵀ u may go in one pass.
        directions: the way of taking J v that was found right.
        remembered: what was measured of the encoder, which is kept with it.
    """

    strategy: Strategy
    encode: Encode
    rows_together: bool
    directions: Directions
    remembered: dict[Any, Any]
    pushes: int = field(default=0, init=False)

    @property
    def engine(self) -> str:
        """How J v is taken from now on; measured at the first vectors, and once more where they become many."""
        if self.pushes >= MANY and self.remembered.get("linearized pays") and self._fits:
            return LINEARIZED
        found = self.remembered.get("engine", self.directions)
        return str(found if found == self.directions or self._fits else self.directions)

    def pull(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, (batch, count, code) to (batch, count, input)."""
        point, code = self._pass
        if not code.requires_grad:  # a constant, for these examples
            return point.new_zeros(*covectors.shape[:2], point[0].numel())
        turned = covectors.to(code.dtype).transpose(0, 1)
        found = over(partial(_gradient, code, point), turned, self.rows_together)
        return found.flatten(2).transpose(0, 1).detach()

    def push(self, vectors: Tensor) -> Tensor:
        """J v, (batch, count, input) to (batch, count, code)."""
        shaped = vectors.reshape(*vectors.shape[:2], *self.strategy.inputs.shape[1:])
        self.pushes += 1
        with torch.no_grad():
            if "engine" not in self.remembered:
                return self._chosen("engine", shaped)
            if self.pushes == MANY and "linearized pays" not in self.remembered:
                return self._chosen("linearized pays", shaped)
            return self._ways[self.engine](shaped).detach()

    @property
    def _ways(self) -> Mapping[str, Push]:
        return {self.directions: self._usual, Directions.TWICE: self._twice, LINEARIZED: self._linearized}

    def _chosen(self, what: str, vectors: Tensor) -> Tensor:
        """J v by the way of up to now; another that is faster and gives the same is remembered."""
        expected, least = _timed(self._ways[self.engine], vectors)
        other = LINEARIZED if what == "linearized pays" else Directions.TWICE
        pays = self._may_be(other) and _is_faster(self._ways[other], vectors, expected, least)
        self.remembered[what] = pays if other == LINEARIZED else other if pays else self.directions
        if not pays:  # what was recorded for it is not needed
            self.__dict__.pop("_trace" if other == LINEARIZED else "_way_back", None)
        return expected

    def _may_be(self, other: str) -> bool:
        """Whether another way comes into question: forward mode is right, and there is memory for what is kept."""
        return self.directions is Directions.FORWARD and self._fits and other != self.engine

    @cached_property
    def _fits(self) -> bool:
        needed = _RECORDED * self.strategy.bytes_per_product() * len(self.strategy.inputs)
        return needed <= _SHARE * budget_in_bytes(None, self.strategy.inputs.device)

    def _usual(self, vectors: Tensor) -> Tensor:
        if self.directions is Directions.FORWARD:
            return pushed_forward(self.encode, self.strategy.inputs, vectors)
        if self.directions in (Directions.TWICE, Directions.TWICE_EACH):
            return self._twice(vectors)
        return self.strategy.jvp(vectors)

    def _twice(self, vectors: Tensor) -> Tensor:
        """⟨Jᵀ u, v⟩ differentiated by u, of a reverse pass that is kept."""
        pulled, origin = self._way_back
        if pulled is None:
            return origin.new_zeros(*vectors.shape[:2], origin.shape[1])
        together = self.directions is not Directions.TWICE_EACH
        return over(partial(_gradient, pulled, origin), vectors.transpose(0, 1), together).transpose(0, 1)

    def _linearized(self, vectors: Tensor) -> Tensor:
        return torch.func.vmap(self._trace, in_dims=1, out_dims=1)(vectors)

    @cached_property
    def _pass(self) -> tuple[Tensor, Tensor]:
        """x and f(x), recorded once."""
        with torch.enable_grad():
            point = self.strategy.inputs.detach().requires_grad_()
            return point, code_at(self.encode, point)

    @cached_property
    def _way_back(self) -> tuple[Tensor | None, Tensor]:
        """Jᵀ u at a u that it is linear in, recorded once, and that u."""
        point, code = self._pass
        with torch.enable_grad():
            origin = torch.zeros_like(code, requires_grad=True)
            if not code.requires_grad:
                return None, origin
            (pulled,) = torch.autograd.grad(code, point, origin, create_graph=True, materialize_grads=True)
            return pulled if pulled.requires_grad else None, origin

    @cached_property
    def _trace(self) -> Push:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own constants
            _, push = torch.func.linearize(partial(code_at, self.encode), self.strategy.inputs.detach())
        return push


def _gradient(value: Tensor, source: Tensor, weights: Tensor) -> Tensor:
    return torch.autograd.grad(value, source, weights, retain_graph=True, materialize_grads=True)[0]


def _timed(push: Push, vectors: Tensor) -> tuple[Tensor, float]:
    """J v and the seconds that a second call takes; the first may prepare something."""
    push(vectors)
    before = _now(vectors.device)
    found = push(vectors)
    return found.detach(), _now(vectors.device) - before


def _is_faster(push: Push, vectors: Tensor, expected: Tensor, seconds: float) -> bool:
    """Whether a way gives the same in less time; one that torch has not for some operator does not."""
    try:
        found, needed = _timed(push, vectors)
    except Exception:  # of any operator that a user's encoder may hold
        return False
    return needed < seconds and _agree(found, expected)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _agree(found: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return bool(((found - expected).abs() <= TOLERANCE.get(expected.dtype, COARSE) * largest).all())
