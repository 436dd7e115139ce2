"""Synthetic manifolds whose tangent spaces are known, turned into a space of many dimensions, with a little noise.

An example is x = scale Q p(u) + noise e, with p the parametrisation in as few dimensions as it needs, Q a random
matrix of orthonormal columns and e standard normal in every one of the ``ambient`` dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from caelab.data.samples import Samples, Seed, describes
from caelab.errors import CaelabError
from caelab.options import Count, Positive, Weight

Array = NDArray[np.float64]
SIZE, SHAPE = "any (5 000)", "any (50)"
TUBE = 0.4
ROLL_END = 4.5 * np.pi


@dataclass(frozen=True)
class Manifold:
    """How to draw parameters (n, k), and the points (n, e) and orthonormal tangents (n, k, e) that belong to them."""

    name: str
    draw: Callable[[Generator, int], Array]
    points: Callable[[Array], Array]
    tangents: Callable[[Array], Array]


@describes(SIZE, SHAPE, "synthetic: a circle (dimension 1), tangents known")
def circle(
    samples: Count = 5000, noise: Weight = 0.01, ambient: Count = 50, scale: Positive = 1.0, sampling_seed: Seed = 0
) -> Samples:
    """A circle of radius ``scale``, uniform: p(t) = (cos t, sin t)."""
    return embedded(harmonic_curve("circle", 1), samples, noise, ambient, scale, sampling_seed)


@describes(SIZE, SHAPE, "synthetic: a closed curve of several frequencies (dimension 1), tangents known")
def curve(
    harmonics: Count = 5,
    samples: Count = 5000,
    noise: Weight = 0.01,
    ambient: Count = 50,
    scale: Positive = 1.0,
    sampling_seed: Seed = 0,
) -> Samples:
    """A closed curve, uniform: p(t) = (cos t, sin t, cos 2t, sin 2t, ..., sin Kt) / sqrt(K), K ``harmonics``."""
    return embedded(harmonic_curve("curve", harmonics), samples, noise, ambient, scale, sampling_seed)


@describes(SIZE, SHAPE, "synthetic: a sphere (dimension 2), tangents known")
def sphere(
    samples: Count = 5000, noise: Weight = 0.01, ambient: Count = 50, scale: Positive = 1.0, sampling_seed: Seed = 0
) -> Samples:
    """A sphere of radius ``scale``, uniform by area."""
    return embedded(SPHERE, samples, noise, ambient, scale, sampling_seed)


@describes(SIZE, SHAPE, "synthetic: a torus (dimension 2), tangents known")
def torus(
    samples: Count = 5000, noise: Weight = 0.01, ambient: Count = 50, scale: Positive = 1.0, sampling_seed: Seed = 0
) -> Samples:
    """A torus, a ring of radius 1 and a tube of radius 0.4 times ``scale``, uniform by area."""
    return embedded(TORUS, samples, noise, ambient, scale, sampling_seed)


@describes(SIZE, SHAPE, "synthetic: a swiss roll (dimension 2), tangents known")
def swiss_roll(
    samples: Count = 5000, noise: Weight = 0.01, ambient: Count = 50, scale: Positive = 1.0, sampling_seed: Seed = 0
) -> Samples:
    """A rolled sheet of outer radius ``scale``: (t cos t, h, t sin t) / 4.5 pi, t in [1.5 pi, 4.5 pi], h in [0, 21].

    Uniform in t and h, as in scikit-learn, hence denser by area where the roll is tight.
    """
    return embedded(SWISS_ROLL, samples, noise, ambient, scale, sampling_seed)


def embedded(manifold: Manifold, samples: int, noise: float, ambient: int, scale: float, seed: int) -> Samples:
    """Draw points of a manifold, turn them into ``ambient`` dimensions at random, and add the noise.

    Raises:
        CaelabError: the manifold needs more dimensions than there are.
    """
    import torch

    from caelab.data.truth import Tangents

    turning, placing, disturbing = np.random.default_rng(seed).spawn(3)
    parameters = manifold.draw(placing, samples)
    points = manifold.points(parameters)
    if points.shape[1] > ambient:
        raise CaelabError(
            f"data set {manifold.name!r} needs {points.shape[1]} dimensions, but ambient={ambient}; ask for more"
        )
    turn = random_orthonormal(turning, ambient, points.shape[1])
    clean = scale * points @ turn.T
    truth = Tangents(torch.from_numpy(manifold.tangents(parameters) @ turn.T), torch.from_numpy(clean))
    return Samples(clean + noise * disturbing.standard_normal(clean.shape), truth=truth)


def random_orthonormal(rng: Generator, rows: int, columns: int) -> Array:
    """Uniform among the (rows, columns) matrices with orthonormal columns: Q of a Gaussian's QR, diag(R) > 0."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    turned: Array = q * np.sign(np.diag(r))
    return turned


def harmonic_curve(name: str, harmonics: int) -> Manifold:
    """p(t) = (cos kt, sin kt) for k = 1..K, divided by sqrt(K); its speed is the same everywhere."""
    k = np.arange(1.0, harmonics + 1)

    def points(t: Array) -> Array:
        return _interleaved(np.cos(t * k), np.sin(t * k), np.sqrt(harmonics))

    def tangents(t: Array) -> Array:
        return _interleaved(-k * np.sin(t * k), k * np.cos(t * k), np.linalg.norm(k))[:, None]

    return Manifold(name, lambda rng, n: rng.uniform(0, 2 * np.pi, (n, 1)), points, tangents)


def _interleaved(a: Array, b: Array, divisor: np.floating[Any]) -> Array:
    """Columns a1, b1, a2, b2, ... over the divisor."""
    return np.stack([a / divisor, b / divisor], axis=2).reshape(len(a), -1)


def _columns(*values: Array | float) -> Array:
    return np.stack(np.broadcast_arrays(*values), axis=-1)


def _draw_sphere(rng: Generator, n: int) -> Array:
    """Polar angle and azimuth; the height cos(polar angle) is uniform by Archimedes' theorem."""
    return _columns(np.arccos(rng.uniform(-1, 1, n)), rng.uniform(0, 2 * np.pi, n))


def _sphere_points(u: Array) -> Array:
    polar, azimuth = u.T
    return _columns(np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar))


def _sphere_tangents(u: Array) -> Array:
    polar, azimuth = u.T
    south = _columns(np.cos(polar) * np.cos(azimuth), np.cos(polar) * np.sin(azimuth), -np.sin(polar))
    east = _columns(-np.sin(azimuth), np.cos(azimuth), 0.0)
    return np.stack([south, east], axis=1)


def _draw_torus(rng: Generator, n: int) -> Array:
    """Angles along the ring and around the tube, the latter of density proportional to 1 + TUBE cos v.

    A uniform v is reflected to pi - v with probability (1 - TUBE cos v) / 2, which yields that density exactly.
    """
    ring, tube = rng.uniform(0, 2 * np.pi, (2, n))
    reflected = rng.uniform(-1, 1, n) > TUBE * np.cos(tube)
    return _columns(ring, np.where(reflected, np.pi - tube, tube))


def _torus_points(u: Array) -> Array:
    ring, tube = u.T
    reach = 1 + TUBE * np.cos(tube)
    return _columns(reach * np.cos(ring), reach * np.sin(ring), TUBE * np.sin(tube))


def _torus_tangents(u: Array) -> Array:
    ring, tube = u.T
    along = _columns(-np.sin(ring), np.cos(ring), 0.0)
    around = _columns(-np.sin(tube) * np.cos(ring), -np.sin(tube) * np.sin(ring), np.cos(tube))
    return np.stack([along, around], axis=1)


def _draw_roll(rng: Generator, n: int) -> Array:
    return rng.uniform([1.5 * np.pi, 0], [ROLL_END, 21], (n, 2))


def _roll_points(u: Array) -> Array:
    t, height = u.T
    return _columns(t * np.cos(t), height, t * np.sin(t)) / ROLL_END


def _roll_tangents(u: Array) -> Array:
    t, _ = u.T
    along = _columns(np.cos(t) - t * np.sin(t), 0.0, np.sin(t) + t * np.cos(t)) / np.sqrt(1 + t**2)[:, None]
    return np.stack([along, _columns(0.0 * t, 1.0, 0.0)], axis=1)


SPHERE = Manifold("sphere", _draw_sphere, _sphere_points, _sphere_tangents)
TORUS = Manifold("torus", _draw_torus, _torus_points, _torus_tangents)
SWISS_ROLL = Manifold("swiss-roll", _draw_roll, _roll_points, _roll_tangents)
