"""Exercises of notebook 5. Write the bodies; leave the names and the arguments as they are."""

import torch  # noqa: F401  you will need it


def score_of(reconstruct, points, sigma):
    """What a denoising auto-encoder says of the score, the gradient of log p (Alain and Bengio 2014).

    Args:
        reconstruct: r, maps (points, input) to (points, input).
        points: shape (points, input).
        sigma: of the noise that r was trained with.

    Returns:
        Shape (points, input).
    """
    raise NotImplementedError


def gaussian_denoiser(noisy, mean, variance, sigma):
    """The best denoiser E[x | noisy] where x ~ N(mean, variance I) and noisy = x + e, e ~ N(0, sigma^2 I).

    Args:
        noisy: shape (points, input).
        mean: shape (input,).
        variance: a float.
        sigma: a float.

    Returns:
        Shape (points, input).
    """
    raise NotImplementedError


def langevin_step(points, score, step, generator):
    """One step x + (step / 2) score(x) + sqrt(step) e with e ~ N(0, I), which leaves p unchanged as step goes to 0.

    Args:
        points: shape (points, input); they must stay as they are.
        score: maps (points, input) to (points, input).
        step: a float.
        generator: a ``torch.Generator``; all random numbers come from it.

    Returns:
        A new tensor, shape (points, input).
    """
    raise NotImplementedError
