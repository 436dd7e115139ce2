"""Exercises of notebook 3. Write the bodies; leave the names and the arguments as they are."""

import torch  # noqa: F401  you will need it


def sigmoid_penalty(W, h):
    """The contractive penalty of a layer h = sigmoid(W x + b), the mean over examples of ||J_f(x)||_F^2.

    Args:
        W: the weight, shape (code, input).
        h: the code, shape (examples, code).

    Returns:
        A scalar tensor through which the gradient flows.
    """
    raise NotImplementedError


def tanh_penalty(W, h):
    """The same of a layer h = tanh(W x + b).

    Args:
        W: the weight, shape (code, input).
        h: the code, shape (examples, code).

    Returns:
        A scalar tensor through which the gradient flows.
    """
    raise NotImplementedError


def contraction_ratio(encode, inputs, radius, generator):
    """The contraction curve at one radius: the mean over examples of ||f(x + r u) - f(x)|| / r.

    u is uniform on the unit sphere, one direction for each example: normal numbers, divided by their norm.

    Args:
        encode: f, maps (examples, input) to (examples, code).
        inputs: shape (examples, input).
        radius: r, a float.
        generator: a ``torch.Generator``; all random numbers come from it.

    Returns:
        A float.
    """
    raise NotImplementedError
