"""Solutions of docs/course/exercises/score.py."""

import torch


def score_of(reconstruct, points, sigma):
    return (reconstruct(points) - points) / sigma**2


def gaussian_denoiser(noisy, mean, variance, sigma):
    return mean + variance / (variance + sigma**2) * (noisy - mean)


def langevin_step(points, score, step, generator):
    noise = torch.randn(points.shape, generator=generator, dtype=points.dtype)
    return points + step / 2 * score(points) + step**0.5 * noise
