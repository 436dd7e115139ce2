"""Exercises of notebook 4. Write the bodies; leave the names and the arguments as they are."""

import torch  # noqa: F401  you will need it


def effective_rank(values):
    """The number of directions that a spectrum has, exp of the entropy of s_i / sum s (Roy and Vetterli 2007).

    k equal values give k, one value that is much larger than the others gives 1; a value of 0 adds nothing.

    Args:
        values: singular values, shape (examples, count), none negative.

    Returns:
        Shape (examples,).
    """
    raise NotImplementedError


def leading_tangents(encode, inputs, count):
    """The input directions to which the encoder responds most: the leading right singular vectors of J_f(x).

    Args:
        encode: f, maps (examples, input) to (examples, code).
        inputs: shape (examples, input).
        count: of directions.

    Returns:
        Shape (examples, count, input), orthonormal rows, the one with the largest singular value first.
    """
    raise NotImplementedError


def alignment(found, true):
    """How much of one subspace lies in another: ||found true^T||_F^2 / count, between 0 and 1.

    Args:
        found: shape (examples, count, input), orthonormal rows.
        true: shape (examples, count, input), orthonormal rows.

    Returns:
        Shape (examples,): 1 where the subspaces are equal, 0 where they are orthogonal.
    """
    raise NotImplementedError
