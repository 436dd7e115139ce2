"""Principal directions of what a denoiser leaves uncertain: leading eigenvectors of its Jacobian.

Let y = x + σ z and D(y) = E[x | y], the best denoiser. Differentiating Tweedie's formula, Cov[x | y] = σ² J_D(y): the
eigenvectors of J_D are the posterior's principal components, and σ² times its eigenvalues their variances. Manor and
Michaeli (2024), "On the posterior distribution in denoising: application to uncertainty quantification", ICLR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.pieces import in_pieces
from caelab.data.truth import Score
from caelab.errors import NotApplicable
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map
from caelab_analyses.denoiser_directions.eigenvectors import leading_eigenvectors
from caelab_analyses.denoiser_directions.figure import DIRECTION, NOISY, RECONSTRUCTION, directions_figure
from caelab_analyses.shared import fields
from caelab_analyses.shared import tiles as images
from caelab_analyses.shared.noise_levels import noise_level

title = "Where a denoiser is uncertain"
caption = (
    "Leading eigenvectors of the Jacobian of the reconstruction, at noisy examples: for the best denoiser the "
    "principal components of what the clean example may have been, with the posterior's variance. The asymmetry of the "
    "Jacobian says how far the model is from any such denoiser."
)
columns = (
    Column(name="largest posterior variance", heading="largest\nposterior variance"),
    Column(name="asymmetry of the Jacobian", heading="asymmetry\nof J", better="smaller"),
    Column(name="posterior cosine", heading="cosine with the\nposterior's direction", better="larger", optional=True),
    Column(name="posterior variance error", heading="relative error of\nthe variance", better="smaller", optional=True),
)


def measure(
    run: Run, streams: Streams, *, sigma: Positive | None = None, examples: Count = 8, directions: Count = 5
) -> pd.DataFrame:
    """Eigenvalues λ_k and eigenvectors of (J + Jᵀ) / 2 of the reconstruction at noisy validation examples, in float64.

    An eigenvector has its entry of largest size positive. An eigenvalue may be negative, which no posterior variance
    is: the model is no posterior mean there.

    Args:
        run: with a decoder; the denoiser is decode(encode(y)).
        streams: ``denoiser directions`` draws the noise, and the probes of the asymmetry where J is large.
        sigma: σ of the noise; by default the run's own.
        examples: how many validation examples, each of another class where the data have labels.
        directions: how many, k, of each.

    Returns:
        One row per image: ``example``, ``role`` (noisy, reconstruction or direction), ``rank`` from 1 (0 for the
        others), ``eigenvalue``, ``variance`` σ² λ, ``asymmetry`` ‖J - Jᵀ‖_F / (2 ‖J‖_F), ``sigma``; on data whose
        density is known the posterior's own ``true_variance`` and the ``cosine`` with its direction of that rank; then
        ``pixels``, ``height``, ``width``.

    Raises:
        NotApplicable: an encoder alone, or no noise level.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"directions of a denoiser need a decoder, but {run.label!r} is an encoder alone")
    sigma = sigma or noise_level(run, "denoiser_directions.sigma")
    denoise = reconstruction_map(fields.double_model(run))
    chosen = images.distinct_examples(run.dataset, examples)
    generator = streams["denoiser directions"]
    parts = [
        _at(run, denoise, position, clean.double(), sigma, directions, generator)
        for position, clean in zip(chosen, in_pieces(run.dataset.valid_inputs[chosen], 1), strict=True)
    ]
    return pd.DataFrame([row for part in parts for row in part]).assign(sigma=sigma)


def _at(
    run: Run,
    denoise: Callable[[Tensor], Tensor],
    position: int,
    clean: Tensor,
    sigma: float,
    count: int,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """The rows of one example, shape (1, d)."""
    noisy = clean + sigma * torch.randn(clean.shape, dtype=clean.dtype, generator=generator)
    values, vectors, asymmetry = leading_eigenvectors(denoise, noisy, count, generator)
    with torch.no_grad():
        denoised = denoise(noisy)
    truth, cosines = _truth(run.dataset.truth, noisy[0], sigma, vectors)
    described = [
        (NOISY, 0, np.nan, np.nan, np.nan, noisy),
        (RECONSTRUCTION, 0, np.nan, np.nan, np.nan, denoised),
        *zip(
            [DIRECTION] * len(values), range(1, len(values) + 1), values.tolist(), truth, cosines, vectors, strict=True
        ),
    ]
    return [
        {
            "example": position,
            "role": role,
            "rank": rank,
            "eigenvalue": value,
            "variance": sigma**2 * value,
            "asymmetry": asymmetry,
            "true_variance": true,
            "cosine": cosine,
            **images.picture(vector, run.dataset.image_shape),
        }
        for role, rank, value, true, cosine, vector in described
    ]


def _truth(truth: Any, noisy: Tensor, sigma: float, vectors: Tensor) -> tuple[list[float], list[float]]:
    """The posterior's variances, and |cosines| of its directions with these, by rank; NaN where it is not known."""
    if not isinstance(truth, Score):
        return [np.nan] * len(vectors), [np.nan] * len(vectors)
    values, directions = torch.linalg.eigh(posterior_covariance(truth, noisy, sigma))
    count = len(vectors)
    found = values.flip(0)[:count], (directions.mT.flip(0)[:count] * vectors).sum(dim=1).abs()
    return found[0].tolist(), found[1].tolist()


def posterior_covariance(truth: Score, noisy: Tensor, sigma: float) -> Tensor:
    """Cov[x | y] of a mixture of equal round Gaussians N(c_k, s² I) after noise N(0, σ² I), shape (d, d), float64.

    Given the component, x has the mean m_k = (σ² c_k + s² y) / (s² + σ²) and the covariance s² σ² / (s² + σ²) I; the
    components weigh w_k ∝ N(y; c_k, (s² + σ²) I). So it is s² σ² / (s² + σ²) I + Cov_w(m_k).

    Args:
        truth: centres c_k and s.
        noisy: y, shape (d,).
        sigma: σ.
    """
    s2, n2 = truth.sigma**2, sigma**2
    apart = (noisy - truth.centres).square().sum(dim=1)
    weights = (-apart / (2 * (s2 + n2))).softmax(dim=0)
    means = (n2 * truth.centres + s2 * noisy) / (s2 + n2)
    centred = means - weights @ means
    within = torch.eye(len(noisy), dtype=torch.float64) * s2 * n2 / (s2 + n2)
    return within + centred.mT @ (weights[:, None] * centred)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The mean over examples of σ² λ_1 and of the asymmetry; where the posterior is known, of the first direction's
    |cosine| with it, and Σ |σ² λ_1 - true| / Σ true.
    """
    first = table[table["rank"] == 1]
    found = {
        "largest posterior variance": first["variance"].mean(),
        "asymmetry of the Jacobian": first["asymmetry"].mean(),
    }
    if first["cosine"].isna().all():
        return found
    error = (first["variance"] - first["true_variance"]).abs().sum() / first["true_variance"].sum()
    return found | {"posterior cosine": first["cosine"].mean(), "posterior variance error": error}


def preview(table: pd.DataFrame) -> images.Array:
    """A line per example of one run: noisy, denoised, then the leading directions."""
    limits = images.brightness(table[table["role"] == RECONSTRUCTION])
    signed, plain = images.tiles_in(table, None), images.tiles_in(table, limits)
    tiles = [signed[n] if role == DIRECTION else plain[n] for n, role in enumerate(table["role"])]
    return images.sheet(tiles, len(table) // table["example"].nunique())


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Posterior variances by rank, and the directions at the first examples."""
    return directions_figure(table, axes)
