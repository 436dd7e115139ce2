"""What one would write without caelab: the same numbers by other means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, vmap
from torch.nn import functional as F

from caelab import Jacobian, hookimpl
from caelab.streams import Streams
from tests.benchmarks.measure import Work

Norms = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def alone(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The encoder of one example, as ``vmap`` wants it; a convolution asks for the batch axis all the same."""
    return lambda one: encode(one[None])[0]


def by_jacrev(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """‖J‖_F² per example from all Jacobians, by reverse mode."""
    return vmap(jacrev(alone(encode)))(inputs).square().flatten(1).sum(dim=1)


def by_jacfwd(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The same by forward mode."""
    return vmap(jacfwd(alone(encode)))(inputs).square().flatten(1).sum(dim=1)


def by_functional_jacobian(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The same by the summed code, whose gradient is that of each example, as torch's documentation advises."""
    rows = torch.autograd.functional.jacobian(
        lambda x: encode(x).flatten(1).sum(dim=0), inputs, create_graph=torch.is_grad_enabled(), vectorize=True
    )
    return rows.square().transpose(0, 1).flatten(1).sum(dim=1)


def by_projection(encode: Callable[[Tensor], Tensor], inputs: Tensor, count: int = 1) -> Tensor:
    """An estimate from random unit vectors with double backward; Hoffman, Roberts and Yaida (2019), algorithm 1."""
    inputs = inputs.detach().requires_grad_()
    code = encode(inputs)
    total = inputs.new_zeros(len(inputs))
    for _ in range(count):
        unit = F.normalize(torch.randn_like(code), dim=1)
        (row,) = torch.autograd.grad(code, inputs, unit, create_graph=True)
        total = total + code.shape[1] * row.square().flatten(1).sum(dim=1) / count
    return total


@dataclass(eq=False)
class Penalty:
    """A contractive penalty computed in some other way, as a plugin."""

    norms: Norms
    weight: float = 1.0

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor) -> dict[str, Tensor]:
        """The weighted mean of the squared norms."""
        return {"penalty": self.weight * self.norms(model.encode, clean).mean()}


@dataclass(eq=False)
class Estimated:
    """The contractive penalty by random projections, as caelab's Jacobian estimates it."""

    samples: int

    @hookimpl
    def penalty_terms(self, encoder_jacobian: Jacobian, streams: Streams) -> dict[str, Tensor]:
        """The weighted mean of the estimates."""
        found = encoder_jacobian.squared_norm(samples=self.samples, generator=streams["projections"])
        return {"penalty": found.mean()}


def textbook_step(batch: int, device: str = "cpu") -> Work:
    """The contractive auto-encoder as tutorials write it: closed form, autograd, Adam with its default settings."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.empty(1000, 784, device=device).uniform_(-0.05, 0.05))
    bias, back = (nn.Parameter(torch.zeros(n, device=device)) for n in (1000, 784))
    optimizer = torch.optim.Adam([weight, bias, back], lr=1e-3)
    x = torch.rand(batch, 784, device=device)

    def run() -> None:
        h = torch.sigmoid(F.linear(x, weight, bias))
        y = torch.sigmoid(F.linear(h, weight.t(), back))
        error = F.binary_cross_entropy(y, x, reduction="sum") / len(x)
        norm = ((h * (1 - h)) ** 2 @ (weight**2).sum(dim=1)).mean()
        optimizer.zero_grad()
        (error + norm).backward()
        optimizer.step()

    return run
