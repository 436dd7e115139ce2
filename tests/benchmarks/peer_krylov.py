"""Leading singular triplets as one would write them by hand: a block Krylov space of one encoder at one input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
LOOKED_AT = 1.05  # growth of the space between two looks


def products_of(encode: Callable[[Tensor], Tensor], x: Tensor, forward: bool) -> tuple[Product, Product]:
    """J v and Jᵀ u for many vectors at once, (count, input) and (count, code), from one pass forward that is kept.

    J v by forward mode, or by the reverse pass of the reverse pass: what is faster depends on the encoder.
    """
    point = x[None].detach().requires_grad_()
    code = encode(point).flatten(1)

    def pull(covectors: Tensor) -> Tensor:
        one = lambda u: torch.autograd.grad(code, point, u[None], retain_graph=True)[0]  # noqa: E731
        return torch.func.vmap(one)(covectors).flatten(1)

    if forward:
        pushed = lambda v: torch.func.jvp(encode, (x[None],), (v.view_as(x)[None],))[1]  # noqa: E731
        return torch.no_grad()(lambda vectors: torch.func.vmap(pushed)(vectors).flatten(1)), pull
    origin = torch.zeros_like(code, requires_grad=True)
    (pulled,) = torch.autograd.grad(code, point, origin, create_graph=True)

    def push(vectors: Tensor) -> Tensor:
        one = lambda v: torch.autograd.grad(pulled, origin, v.view_as(pulled), retain_graph=True)[0]  # noqa: E731
        return torch.func.vmap(one)(vectors).flatten(1)

    return push, pull


def leading_by_krylov(
    encode: Callable[[Tensor], Tensor], x: Tensor, count: int, tolerance: float, block: int = 4, forward: bool = True
) -> tuple[Tensor, Tensor, int]:
    """The k leading singular values and right singular vectors of the Jacobian at one input, and the products taken.

    Block Lanczos with full orthogonalisation of Jᵀ J or J Jᵀ, whichever is smaller, until the residual over the gap
    behind k is below the tolerance, and no assurance beyond that.
    """
    push, pull = products_of(encode, x, forward)
    narrow = min(encode(x[None]).numel(), x.numel())
    by_code = narrow < x.numel()
    there, back = (pull, push) if by_code else (push, pull)
    draws = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(narrow, block, generator=draws, dtype=torch.float64).to(x.device)).Q.T
    basis, halves = torch.empty(0, narrow, dtype=torch.float64, device=x.device), []
    coordinates, looked_at = torch.empty(0, 0, dtype=torch.float64, device=x.device), 0
    while len(basis) < narrow:
        half = there(q.to(x.dtype))
        images = back(half).double()
        halves.append(half)
        basis = torch.cat([basis, q])
        own = images @ basis.T
        grown = torch.zeros(len(basis), len(basis), dtype=torch.float64, device=x.device)
        grown[: -len(q), : -len(q)] = coordinates
        grown[-len(q) :] = own
        grown[:, -len(q) :] = own.T
        coordinates = grown
        rest = images - own @ basis
        q, triangle = torch.linalg.qr((rest - (rest @ basis.T) @ basis).T)
        q = q.T
        q = torch.linalg.qr((q - (q @ basis.T) @ basis).T).Q.T
        if len(basis) <= count or len(basis) < LOOKED_AT * looked_at:
            continue
        looked_at = len(basis)
        squares, rotation = torch.linalg.eigh((coordinates + coordinates.T) / 2)
        squares, rotation = squares.flip(0), rotation.flip(1)
        residuals = torch.linalg.vector_norm(triangle @ rotation[-block:, : count + 1], dim=0)
        gap = squares[count - 1] - squares[count] - residuals[count]
        if residuals[:count].norm() <= tolerance * gap:
            break
    values, weights = squares[:count].clamp(min=0).sqrt(), rotation[:, :count].T
    if not by_code:
        return values, weights @ basis, len(basis)
    return values, (weights @ torch.cat(halves).double()) / values[:, None], len(basis)
