"""A reconstruction as a vector field: (r(x) - x) / σ² as an estimate of the score, and the energy of that field.

A field F has an energy E with F = -∇E exactly where its Jacobian is symmetric. For r(x) = Wᵀ s(W x + b) + c, tied
weights and a linear output, J_r = Wᵀ diag(s') W is, and with S an antiderivative of s

    r(x) - x = -∇E(x),    E(x) = ½‖x‖² - cᵀx - Σ_j S(w_j·x + b_j).

Kamyshanska and Memisevic (2015), IEEE TPAMI 37(6). Other networks have no such E; a line integral stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.jacobian.service import jacobian
from caelab.models.layers import TiedLinear
from caelab.runs.run import Run

Map = Callable[[Tensor], Tensor]

ANTIDERIVATIVES: dict[type[nn.Module], Map] = {
    nn.Sigmoid: F.softplus,
    nn.Tanh: lambda z: z.abs() + F.softplus(-2 * z.abs()) - math.log(2),  # log cosh z, without overflow
    nn.ReLU: lambda z: z.clamp(min=0).square() / 2,
    nn.Identity: lambda z: z.square() / 2,
}


def double_model(run: Run) -> Any:
    """A copy of the run's model with its weights in float64, in evaluation mode."""
    return deepcopy(run.model).double().eval()


def score_estimate(reconstruct: Map, points: Tensor, sigma: float) -> Tensor:
    """(r(x) - x) / σ², shape (batch, d).

    For the best denoiser r(x~) = E[x | x~] it is, exactly, the score at x~ of the data blurred by N(0, σ² I) (Vincent
    2011, Neural Computation 23(7)); as σ → 0 that of the data itself (Alain and Bengio 2014, JMLR 15).

    Args:
        reconstruct: r, maps (batch, d) to (batch, d).
        points: x, shape (batch, d).
        sigma: σ, the noise that r was trained to remove.
    """
    with torch.no_grad():
        return (reconstruct(points) - points) / sigma**2


def asymmetry(reconstruct: Map, points: Tensor) -> Tensor:
    """‖J_r - J_rᵀ‖_F / (2 ‖J_r‖_F): 0 where r(x) - x is a gradient, 1 where it only turns; shape (batch,)."""
    dense = jacobian(reconstruct, points).dense().detach()
    norm = torch.linalg.matrix_norm
    return cast(Tensor, norm(dense - dense.mT) / (2 * norm(dense)))


def closed_form_energy(model: Any) -> Map | None:
    """E with r(x) - x = -∇E(x), a map from (batch, d) to (batch,); None where the network is not of that form.

    Args:
        model: with ``encode`` and ``decode``; one tied layer and a linear output have an energy.
    """
    steps = [*_steps(model.encode), *_steps(model.decode)]
    if [type(step) for step in steps[::2]] != [nn.Linear, TiedLinear] or len(steps) != 4:
        return None
    layer, activation, back, output = cast(tuple[nn.Linear, nn.Module, TiedLinear, nn.Module], steps)
    antiderivative = ANTIDERIVATIVES.get(type(activation))
    if antiderivative is None or not isinstance(output, nn.Identity) or back.layer is not layer:
        return None
    return lambda x: x.square().sum(dim=1) / 2 - x @ back.bias - antiderivative(layer(x)).sum(dim=1)


def _steps(module: Any) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.Sequential) else []


def line_energy(field: Map, origin: Tensor, points: Tensor, nodes: int = 32) -> Tensor:
    """-∫ F(o + t (x - o)) · (x - o) dt over [0, 1], by Gauss-Legendre quadrature, shape (batch,).

    Equals E(x) - E(o) where F = -∇E; where F turns, it is the energy of what of F points along lines through o.

    Args:
        field: F, maps (batch, d) to (batch, d).
        origin: o, shape (d,).
        points: x, shape (batch, d).
        nodes: of the quadrature; polynomials in t up to degree 2·nodes - 1 are exact.
    """
    t, weights = (torch.as_tensor(part, dtype=points.dtype) for part in np.polynomial.legendre.leggauss(nodes))
    apart = points - origin
    stations = origin + ((t + 1) / 2)[:, None, None] * apart  # (nodes, batch, d)
    with torch.no_grad():
        along = (field(stations.flatten(0, 1)).reshape(stations.shape) * apart).sum(dim=2)
    return -(weights @ along) / 2


def energy_of(model: Any, reconstruct: Map, origin: Tensor, points: Tensor) -> Tensor:
    """E(x) - E(o), in closed form where there is one, else along straight lines from o, shape (batch,)."""
    energy = closed_form_energy(model)
    if energy is None:
        return line_energy(lambda x: reconstruct(x) - x, origin, points)
    with torch.no_grad():
        return energy(points) - energy(origin[None])


def along_segments(reconstruct: Map, starts: Tensor, ends: Tensor, positions: Tensor, sigma: float) -> Tensor:
    """The estimated score's component along the segments a → b, at a + t (b - a): u·(r(x) - x) / σ², u the unit vector.

    Where examples are attractors it is positive just before them and negative just after (Alain and Bengio 2014).

    Args:
        reconstruct: r.
        starts: a, shape (pairs, d).
        ends: b, shape (pairs, d).
        positions: t, shape (count,); 0 is a, 1 is b.
        sigma: σ.

    Returns:
        Shape (pairs, count).
    """
    apart = ends - starts
    stations = starts[:, None] + positions[None, :, None] * apart[:, None]  # (pairs, count, d)
    field = score_estimate(reconstruct, stations.flatten(0, 1), sigma).reshape(stations.shape)
    return (field * F.normalize(apart, dim=1)[:, None]).sum(dim=2)
