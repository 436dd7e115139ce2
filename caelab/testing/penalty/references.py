"""Brute-force references of known quantities: explicit derivatives, entry by entry, in float64.

Slow and obvious on purpose. Nothing here shares code with the Jacobian service or with any plugin.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


def jacobian_matrix(function: Map, example: Tensor) -> list[list[float]]:
    """∂f_j/∂x_i of one example (input,), one row per output."""
    inputs = example[None].detach().double().requires_grad_()
    outputs = function(inputs)[0].flatten()
    rows = [torch.autograd.grad(output, inputs, retain_graph=True, allow_unused=True)[0] for output in outputs]
    return [[0.0] * example.numel() if row is None else row[0].flatten().tolist() for row in rows]


def mean_squared_jacobian_norm(function: Map, inputs: Tensor) -> float:
    """Mean over the examples x of Σ_j Σ_i (∂f_j/∂x_i)²."""
    total = 0.0
    for example in inputs:
        for row in jacobian_matrix(function, example):
            for entry in row:
                total += entry**2
    return total / len(inputs)


def mean_squared_jacobian_differences(function: Map, inputs: Tensor, sigma: float, draws: int) -> list[float]:
    """Mean over the examples x of ‖J(x) - J(x + ε)‖_F², one number for every draw of ε ~ N(0, σ² I).

    The rows of many examples come from one call each, since ``Σ_b f_j(x_b)`` has ∂f_j/∂x_b as its gradient at x_b.
    """
    stream = torch.Generator().manual_seed(5)
    noise = sigma * torch.randn((draws, *inputs.shape), generator=stream, dtype=torch.float64)
    here, there = _rows(function, inputs), _rows(function, (inputs + noise).flatten(0, 1))
    differences = there.reshape(draws, *here.shape) - here
    found: list[float] = differences.square().sum(dim=(2, 3)).mean(dim=1).tolist()
    return found


def _rows(function: Map, inputs: Tensor) -> Tensor:
    points = inputs.detach().double().requires_grad_()
    outputs = function(points).sum(dim=0)
    rows = [torch.autograd.grad(output, points, retain_graph=True)[0] for output in outputs]
    return torch.stack(rows, dim=1)  # (batch, code, input)


def sum_of_squared_weights(model: nn.Module) -> float:
    """Σ W_ij² over every parameter with two axes or more, each once."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    return float(sum(entry**2 for weight in weights for entry in weight.detach().double().flatten().tolist()))


def mean_absolute_code(codes: Tensor) -> float:
    """Mean over the examples of Σ_j |h_j|."""
    return float(sum(abs(entry) for code in codes for entry in code.flatten().tolist())) / len(codes)


def divergence_of_mean_activation(codes: Tensor, target: float) -> float:
    """Σ_j KL(ρ ‖ ρ̂_j), ρ̂_j the mean of unit j over the examples."""
    total = 0.0
    for column in codes.detach().double().T.tolist():
        mean = sum(column) / len(column)
        total += target * math.log(target / mean) + (1 - target) * math.log((1 - target) / (1 - mean))
    return total


def parameter_differences(value: Callable[[], float], parameter: nn.Parameter, step: float = 1e-5) -> Tensor:
    """Central differences of ``value()`` in every entry of a parameter, which is changed in place and put back."""
    flat, found = parameter.detach().view(-1), torch.zeros(parameter.numel(), dtype=torch.float64)
    for place in range(len(flat)):
        kept = flat[place].item()
        flat[place] = kept + step
        above = value()
        flat[place] = kept - step
        below = value()
        flat[place] = kept
        found[place] = (above - below) / (2 * step)
    return found.view_as(parameter)


def directions(parameter: Tensor) -> Tensor:
    """A few directions in which a parameter is moved, always the same, shape (2, *parameter)."""
    stream = torch.Generator().manual_seed(17)
    return torch.randn((2, *parameter.shape), generator=stream, dtype=torch.float64).to(parameter.dtype)


@torch.no_grad()
def directional_differences(value: Callable[[], float], parameter: nn.Parameter, step: float = 1e-5) -> Tensor:
    """Central differences of ``value()`` along ``directions``, shape (2,); the parameter is put back."""
    kept, found = parameter.detach().clone(), []
    for direction in directions(parameter):
        parameter.copy_(kept + step * direction)
        with torch.enable_grad():
            above = value()
        parameter.copy_(kept - step * direction)
        with torch.enable_grad():
            below = value()
        found.append((above - below) / (2 * step))
    parameter.copy_(kept)
    return torch.tensor(found, dtype=torch.float64)
