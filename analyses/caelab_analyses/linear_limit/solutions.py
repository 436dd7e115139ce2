"""Solutions of linear auto-encoders r(x) = V (W x + b) + c, in closed form and by training, in float64.

With mean m and covariance S = U diag(s) Uᵀ of the data (divided by n), and k units, every one of these is
r(x) = m + A (x - m) with A = U diag(a) Uᵀ, a_i = 0 beyond the k largest:

* plain: a = 1, the projection on the first k principal directions (Baldi and Hornik 1989);
* denoising with noise N(0, σ² I): a = s / (s + σ²), ridge regression of x on x with weight n σ²;
* tied and contractive, hence with weight decay, λ ‖W‖²: a = max(0, 1 - λ / 2s), a soft threshold.

Each follows from minimising tr (A - 1) S (A - 1)ᵀ plus σ² ‖A‖² (denoising) or λ tr A (tied, A = Wᵀ W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.models.autoencoder import autoencoder

Numbers = NDArray[np.float64]
Shrink = Callable[[Numbers], Numbers]


def _spectral_map(inputs: Tensor, code: int, shrink: Shrink) -> tuple[Numbers, Numbers]:
    """A = U diag(a) Uᵀ with a = shrink(s) on the k leading eigenvalues s of the covariance and 0 on the others.

    Args:
        inputs: shape (n, d).
        code: k, at most d.
        shrink: from eigenvalues to factors.

    Returns:
        A, shape (d, d), and the mean m, shape (d,).

    Raises:
        CaelabError: the code is wider than the input.
    """
    data = inputs.double().numpy()
    width = data.shape[1]
    if not 1 <= code <= width:
        raise CaelabError(f"expected a code of 1 to {width} units, the width of the input, but {code} came")
    mean = data.mean(axis=0)
    covariance = (data - mean).T @ (data - mean) / len(data)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=[width - code, width - 1])
    return vectors * shrink(values.clip(min=0)) @ vectors.T, mean


def ridge_denoiser(inputs: Tensor, sigma: float, code: int) -> tuple[Numbers, Numbers]:
    """The best linear denoiser of rank k: a = s / (s + σ²); see ``_spectral_map`` for shapes.

    With k = d it is the ridge solution S (S + σ² I)⁻¹. The noise has the same variance in every direction, so the best
    one of rank k has the same eigenvectors.
    """
    return _spectral_map(inputs, code, lambda s: s / (s + sigma**2))


def principal_projection(inputs: Tensor, code: int) -> tuple[Numbers, Numbers]:
    """What a linear auto-encoder of k units learns: the projection on the leading principal directions."""
    return _spectral_map(inputs, code, np.ones_like)


def soft_threshold(inputs: Tensor, weight: float, code: int) -> tuple[Numbers, Numbers]:
    """What the tied linear CAE learns, with a = max(0, 1 - λ / 2s): directions of variance below λ / 2 are given up."""
    return _spectral_map(inputs, code, lambda s: np.where(2 * s > weight, 1 - weight / np.maximum(2 * s, 1e-300), 0.0))


def cross_noise(width: int, sigma: float) -> Tensor:
    """Noise with mean 0 and covariance σ² I exactly: ±σ √d e_i, shape (2 d, d).

    A loss that is quadratic in the noise has over these 2 d points the mean that it has under N(0, σ² I).
    """
    steps = sigma * width**0.5 * torch.eye(width, dtype=torch.float64)
    return torch.cat([steps, -steps])


def trained_linear(
    inputs: Tensor, code: int, *, sigma: float = 0.0, weight: float = 0.0, tied: bool = True, seed: int = 0
) -> nn.Module:
    """A linear auto-encoder trained in float64 on all examples at once, by L-BFGS until the gradient vanishes.

    Minimised: mean over examples and noise of ‖r(x + ε) - x‖² plus λ ‖W‖_F², the noise being ``cross_noise``.

    Args:
        inputs: shape (n, d).
        code: units.
        sigma: σ of the noise; 0 for none.
        weight: λ of the contractive penalty, which is weight decay of the encoder.
        tied: V = Wᵀ.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = autoencoder(inputs.shape[1], hidden=[code], activation="identity", output="identity", tied=tied)
    model = made.double()
    clean = inputs.double()
    noise = cross_noise(clean.shape[1], sigma) if sigma else torch.zeros(1, clean.shape[1], dtype=torch.float64)

    def loss() -> Tensor:
        corrupted = (clean[:, None] + noise).flatten(0, 1)
        errors = (model(corrupted) - clean.repeat_interleave(len(noise), dim=0)).square().sum(dim=1)
        encoder: Any = model.encode[0]
        total: Tensor = errors.mean() + weight * encoder.weight.square().sum()
        return total

    _minimise(loss, list(model.parameters()))
    return model.eval()


def _minimise(loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> None:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=5000, tolerance_grad=1e-10, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


@torch.no_grad()
def linear_part(model: Any, width: int) -> tuple[Numbers, Numbers]:
    """A and r(0) of an affine r(x) = A x + r(0), from its values at 0 and at the unit vectors."""
    at_zero = model(torch.zeros(1, width, dtype=torch.float64))
    columns = model(torch.eye(width, dtype=torch.float64)) - at_zero
    return columns.T.numpy(), at_zero[0].numpy()


def angle_to_principal(model: Any, inputs: Tensor) -> float:
    """The largest principal angle, in radians, between the rows of W and as many leading principal directions."""
    weight = model.encode[0].weight.detach().double().numpy()
    centred = inputs.double().numpy() - inputs.double().numpy().mean(axis=0)
    principal = scipy.linalg.svd(centred, full_matrices=False)[2][: len(weight)]
    return float(scipy.linalg.subspace_angles(weight.T, principal.T).max())
