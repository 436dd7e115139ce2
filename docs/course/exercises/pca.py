"""Exercises of notebook 1. Write the bodies; leave the names and the arguments as they are."""

import torch  # noqa: F401  you will need it


def pca_error(inputs, count):
    """The error of the best linear reconstruction from ``count`` numbers, without computing a reconstruction.

    It is the sum of the smallest eigenvalues of the covariance, those beyond the first ``count``, with the covariance
    as a mean over examples (division by n).

    Args:
        inputs: shape (examples, input), float64.
        count: of principal components.

    Returns:
        A float: sum over inputs, mean over examples, of the squared error.
    """
    raise NotImplementedError


def largest_angle(first, second):
    """The largest principal angle between the spans of two sets of rows, in degrees.

    With orthonormal bases Q1 and Q2, the cosines of the principal angles are the singular values of Q1 Q2^T.

    Args:
        first: shape (count, input), float64, rows that are linearly independent but not orthonormal.
        second: shape (count, input), float64.

    Returns:
        A float between 0 (the same subspace) and 90.
    """
    raise NotImplementedError
