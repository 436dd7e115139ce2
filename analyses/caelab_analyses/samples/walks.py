"""Sampling from an auto-encoder: Langevin steps along its score, and walks along its tangents."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from caelab.jacobian.service import jacobian

Map = Callable[[Tensor], Tensor]


@torch.no_grad()
def langevin(score: Map, start: Tensor, step: float, count: int, stream: torch.Generator) -> Tensor:
    """x' = x + (η / 2) score(x) + √η z, z ~ N(0, I): the unadjusted Langevin chain.

    Its stationary law is that of the score up to an error of order η: for N(m, s² I) the mean is m and the variance
    s² / (1 - η / (4 s²)). Roberts and Tweedie (1996), Bernoulli 2(4).

    Args:
        score: maps (chains, d) to (chains, d).
        start: shape (chains, d).
        step: η.
        count: how many steps.
        stream: of z.

    Returns:
        Every state, the start among them, shape (count + 1, chains, d).
    """
    states = [start]
    for _ in range(count):
        x = states[-1]
        noise = torch.randn(x.shape, generator=stream, dtype=x.dtype, device=x.device)
        states.append(x + step / 2 * score(x) + math.sqrt(step) * noise)
    return torch.stack(states)


def walk_step(encode: Map, decode: Map, points: Tensor, noise: Tensor) -> Tensor:
    """x' = g(h + J Jᵀ ε) with h = f(x) and J = J_f(x): a step in the code, along the directions f responds to.

    Rifai, Bengio, Dauphin and Vincent (2012), ICML. J Jᵀ ε is linear in ε and takes one product with Jᵀ and one with J.

    Args:
        encode: f.
        decode: g.
        points: x, shape (chains, d).
        noise: ε, shape (chains, code).

    Returns:
        Shape (chains, d).
    """
    local = jacobian(encode, points)
    moved = local.jvp(local.vjp(noise))
    with torch.no_grad():
        return decode(encode(points) + moved.detach())


def contractive_walk(
    encode: Map, decode: Map, start: Tensor, sigma: float, count: int, stream: torch.Generator
) -> Tensor:
    """The chain of ``walk_step`` with ε ~ N(0, σ² I) in the code.

    Args:
        encode: f.
        decode: g.
        start: shape (chains, d).
        sigma: σ, of the noise in the code.
        count: how many steps.
        stream: of ε.

    Returns:
        Every state, the start among them, shape (count + 1, chains, d).
    """
    states = [start]
    with torch.no_grad():
        code = encode(start)
    for _ in range(count):
        noise = torch.randn(code.shape, generator=stream, dtype=code.dtype, device=code.device)
        states.append(walk_step(encode, decode, states[-1], sigma * noise))
    return torch.stack(states)
