"""The largest singular value of a Jacobian from its products with vectors; J itself is never formed."""

import torch


def unit(vectors):
    """The vectors, shape (batch, ...), scaled to Euclidean length 1; a vector of zeros stays one."""
    lengths = vectors.flatten(1).norm(dim=1).clamp_min(torch.finfo(vectors.dtype).tiny)
    return vectors / lengths.reshape(-1, *[1] * (vectors.ndim - 1))


@torch.no_grad()
def leading_singular_vectors(jacobian, start, iterations):
    """u and v with J v = s u and s the largest singular value of J, by power iteration on JᵀJ.

    Each step v ← Jᵀ J v / ‖Jᵀ J v‖ shrinks what is not along the leading direction by (s_2 / s_1)².

    Args:
        jacobian: ``caelab.jacobian(encode, inputs)``.
        start: of the iteration, shape (batch, *input), not orthogonal to v.
        iterations: how many.

    Returns:
        u, shape (batch, code), and v, shape (batch, *input), of length 1; zeros where J is zero.
    """
    v = unit(start)
    for _ in range(iterations):
        v = unit(jacobian.vjp(unit(jacobian.jvp(v))))
    return unit(jacobian.jvp(v)), v


def largest_singular_values(jacobian, start, iterations):
    """s_1 = uᵀ J v with u and v held fixed, one number per example.

    The value is never above s_1. Its gradient is that of s_1: the terms from changes of u and v vanish, because s_1 is
    stationary in both (Yoshida and Miyato 2017, arXiv 1705.10941; Miyato et al. 2018, ICLR, section 2.1, for a weight
    matrix; here for the Jacobian at every example).

    Args:
        jacobian: ``caelab.jacobian(encode, inputs)``.
        start: of the power iteration, shape (batch, *input).
        iterations: how many.

    Returns:
        Shape (batch,), differentiable with respect to the encoder's parameters.
    """
    u, v = leading_singular_vectors(jacobian, start, iterations)
    return (u * jacobian.jvp(v)).sum(dim=1)
