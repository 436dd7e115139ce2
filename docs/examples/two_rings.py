"""A data set of one's own: two rings in the unit square, and what is known of them."""

import numpy as np
import torch

from caelab import hookimpl
from caelab.data import Samples, Tangents, describes
from caelab.options import Count, Weight


@describes("any (1 000)", "2", "synthetic: two rings with one centre, tangents known")
def two_rings(samples: Count = 1000, noise: Weight = 0.01, sampling_seed: int = 0):
    """Points of two circles around (0.5, 0.5), of radius 0.2 (label 0) and 0.4 (label 1), with Gaussian noise."""
    rng = np.random.default_rng(sampling_seed)
    labels = np.arange(samples) % 2
    angles = rng.uniform(0, 2 * np.pi, samples)
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    along = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    points = 0.5 + np.array([0.2, 0.4])[labels, None] * outward
    noisy = (points + noise * rng.standard_normal(points.shape)).clip(0, 1)
    truth = Tangents(basis=torch.from_numpy(along[:, None, :]), points=torch.from_numpy(points))
    return Samples(noisy.astype("float32"), labels, truth=truth)


@hookimpl
def register_datasets(register):
    register("two-rings", two_rings)
