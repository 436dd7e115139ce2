"""Flat manifolds of any dimension whose tangent spaces are known: a linear subspace, and a torus without curvature."""

from __future__ import annotations

import numpy as np

from caelab.data.manifolds import Array, Manifold, embedded, random_orthonormal
from caelab.data.samples import Samples, Seed, describes
from caelab.errors import CaelabError
from caelab.options import Count, Positive, Weight

SIZE, SHAPE = "any (5 000)", "any (50)"


@describes(SIZE, SHAPE, "synthetic: a Gaussian on a linear subspace (any dimension), tangents and density known")
def subspace(
    dimension: Count = 5,
    samples: Count = 5000,
    noise: Weight = 0.0,
    ambient: Count = 50,
    scale: Positive = 1.0,
    sampling_seed: Seed = 0,
) -> Samples:
    """x = scale Q u + noise e, u standard normal in ``dimension`` dimensions and Q of random orthonormal columns."""
    import torch

    from caelab.data.truth import SubspaceGaussian

    if dimension > ambient:
        raise CaelabError(
            f"data set 'subspace' needs at least dimension={dimension} dimensions, but ambient={ambient}; ask for more"
        )
    turning, placing, disturbing = np.random.default_rng(sampling_seed).spawn(3)
    turn = random_orthonormal(turning, ambient, dimension)
    clean = scale * placing.standard_normal((samples, dimension)) @ turn.T
    basis = torch.from_numpy(turn.T.copy()).expand(samples, -1, -1)  # the same for all, stored once
    truth = SubspaceGaussian(basis, torch.from_numpy(clean), scale, noise)
    return Samples(clean + noise * disturbing.standard_normal(clean.shape), truth=truth)


@describes(SIZE, SHAPE, "synthetic: a flat torus (any dimension), tangents known")
def flat_torus(
    dimension: Count = 2,
    samples: Count = 5000,
    noise: Weight = 0.01,
    ambient: Count = 50,
    scale: Positive = 1.0,
    sampling_seed: Seed = 0,
) -> Samples:
    """The product of ``dimension`` circles of radius ``scale``, uniform: p(t) = (cos t_1, sin t_1, cos t_2, ...)."""
    return embedded(flat_torus_of(dimension), samples, noise, ambient, scale, sampling_seed)


def flat_torus_of(dimension: int) -> Manifold:
    """The product of so many unit circles, in twice as many dimensions; its tangents are those of the circles."""

    def points(t: Array) -> Array:
        return np.stack([np.cos(t), np.sin(t)], axis=2).reshape(len(t), -1)

    def tangents(t: Array) -> Array:
        along = np.zeros((len(t), dimension, dimension, 2))
        each = np.arange(dimension)
        along[:, each, each] = np.stack([-np.sin(t), np.cos(t)], axis=2)
        return along.reshape(len(t), dimension, -1)

    return Manifold("flat-torus", lambda rng, n: rng.uniform(0, 2 * np.pi, (n, dimension)), points, tangents)
