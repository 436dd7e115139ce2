"""Leading eigenvectors of the symmetric part of a square Jacobian, from the matrix or from products alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from caelab.jacobian.service import Jacobian, jacobian

DENSE = 1000  # inputs: up to here the matrix costs less than the search
PROBES = 8  # of the asymmetry

Map = Callable[[Tensor], Tensor]


def leading_eigenvectors(
    denoise: Map, point: Tensor, count: int, generator: torch.Generator, dense: int = DENSE
) -> tuple[Tensor, Tensor, float]:
    """The largest eigenvalues of S = (J + Jᵀ) / 2 at one point, their eigenvectors, and how asymmetric J is.

    Beyond ``dense`` inputs by implicitly restarted Lanczos (Lehoucq and Sorensen 1996) with the products
    (J v + Jᵀ v) / 2, in a memory of a few dozen vectors. Not differentiable.

    Args:
        denoise: maps (1, d) to (1, d).
        point: shape (1, d), float64.
        count: k; at most d come back.
        generator: of the start of the search and of the probes.
        dense: up to how many inputs J is formed.

    Returns:
        Values (k,), descending; vectors (k, d), orthonormal, their entry of largest size positive; the asymmetry
        ‖J - Jᵀ‖_F / (2 ‖J‖_F), exact, or beyond ``dense`` inputs from 8 random probes.
    """
    found = jacobian(denoise, point)
    width = point.shape[1]
    with torch.no_grad():
        if width <= max(dense, count + 1):
            matrix = found.dense()[0]
            values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
            asymmetry = float((matrix - matrix.mT).norm() / (2 * matrix.norm()))
        else:
            values, vectors = _by_lanczos(found, width, count, generator)
            asymmetry = _probed_asymmetry(found, width, generator)
    vectors = vectors.mT.flip(0)[:count]
    largest = vectors.abs().argmax(dim=1, keepdim=True)
    return values.flip(0)[:count], vectors * vectors.gather(1, largest).sign(), asymmetry


def _by_lanczos(found: Jacobian, width: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Values (k,), ascending, and vectors (d, k)."""

    def product(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.ascontiguousarray(vector.reshape(1, width)))
        return np.asarray((found.jvp(v) + found.vjp(v))[0].detach() / 2)

    start = torch.randn(width, dtype=torch.float64, generator=generator).numpy()
    values, vectors = eigsh(LinearOperator((width, width), product, dtype=np.float64), count, which="LA", v0=start)
    order = np.argsort(values)
    return torch.from_numpy(values[order]), torch.from_numpy(np.ascontiguousarray(vectors[:, order]))


def _probed_asymmetry(found: Jacobian, width: int, generator: torch.Generator) -> float:
    """√(Σ ‖J v - Jᵀ v‖² / (2 Σ (‖J v‖² + ‖Jᵀ v‖²))) over random v, whose parts are unbiased. Hutchinson (1989)."""
    apart = size = 0.0
    for _ in range(PROBES):
        v = torch.randn(1, width, dtype=torch.float64, generator=generator)
        forward, backward = found.jvp(v), found.vjp(v)
        apart += float((forward - backward).square().sum())
        size += float(forward.square().sum() + backward.square().sum())
    return float(np.sqrt(apart / (2 * size))) if size else 0.0
