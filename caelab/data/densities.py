"""Synthetic densities in the plane whose score is known in closed form: mixtures of equal round Gaussians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from caelab.data.samples import Samples, Seed, describes
from caelab.options import Count, Positive

Array = NDArray[np.float64]
INNER = 0.2


@describes("any (5 000)", "2", "synthetic: Gaussians around a circle, score known; labels are the components")
def gaussian_mixture(
    components: Count = 5,
    sigma: Positive = 0.2,
    samples: Count = 5000,
    scale: Positive = 1.0,
    sampling_seed: Seed = 0,
) -> Samples:
    """Equal Gaussians of standard deviation ``sigma``, their centres evenly around a circle of radius ``scale``.

    The label of an example is the component that it was drawn from.
    """
    angles = 2 * np.pi * np.arange(components) / components
    centres = scale * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inputs, labels, truth = _draw(centres, sigma, samples, sampling_seed)
    return Samples(inputs, labels, truth=truth)


@describes("any (5 000)", "2", "synthetic: a spiral blurred by a Gaussian, score known")
def spiral(
    turns: Positive = 2.0,
    sigma: Positive = 0.05,
    samples: Count = 5000,
    scale: Positive = 1.0,
    sampling_seed: Seed = 0,
) -> Samples:
    """An Archimedean spiral of outer radius ``scale``, uniform along its arc, blurred by a Gaussian.

    As a density it is a mixture of equal Gaussians at most ``sigma`` apart along the arc, which differs from the
    continuous blur by less than 1e-8 of it.
    """
    inputs, _, truth = _draw(spiral_centres(turns, sigma, scale), sigma, samples, sampling_seed)
    return Samples(inputs, truth=truth)


def spiral_centres(turns: float, spacing: float, scale: float) -> Array:
    """Points evenly along the arc r = scale u, angle = 2 pi turns u, u from 0.2 to 1, at most ``spacing`` apart."""
    u = np.linspace(INNER, 1, 20_000)
    angle = 2 * np.pi * turns * u
    arc = scale * np.stack([u * np.cos(angle), u * np.sin(angle)], axis=1)
    length = np.concatenate([[0], np.linalg.norm(np.diff(arc, axis=0), axis=1).cumsum()])
    stops = np.linspace(0, length[-1], int(np.ceil(length[-1] / spacing)) + 1)
    return np.stack([np.interp(stops, length, side) for side in arc.T], axis=1)


def _draw(centres: Array, sigma: float, samples: int, seed: int) -> tuple[Array, NDArray[np.int64], object]:
    import torch

    from caelab.data.truth import Score

    choosing, disturbing = np.random.default_rng(seed).spawn(2)
    chosen = choosing.integers(len(centres), size=samples)
    inputs = centres[chosen] + sigma * disturbing.standard_normal((samples, 2))
    return inputs, chosen, Score(torch.from_numpy(centres), sigma)
