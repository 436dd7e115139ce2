"""Exercises of notebook 2. Write the bodies; leave the names and the arguments as they are."""

import torch  # noqa: F401  you will need it


def masked(clean, probability, generator):
    """Each input set to zero with that probability, each decided by itself (Vincent et al. 2010, "masking noise").

    Args:
        clean: shape (examples, input); it must stay as it is.
        probability: of a zero, between 0 and 1.
        generator: a ``torch.Generator``; all random numbers come from it.

    Returns:
        A new tensor, shape (examples, input).
    """
    raise NotImplementedError


def linear_denoiser(inputs, sigma):
    """The matrix A of the best linear denoiser r(x) = m + A (x - m) under Gaussian noise, m the mean of the inputs.

    It minimises E ||r(x + e) - x||^2 over A, with e ~ N(0, sigma^2 I) and the covariance S as a mean over examples
    (division by n). Derive it: set the derivative with respect to A to zero.

    Args:
        inputs: shape (examples, input), float64.
        sigma: standard deviation of the noise, a float.

    Returns:
        Shape (input, input), float64.
    """
    raise NotImplementedError
