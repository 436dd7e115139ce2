"""The tangent propagation penalty on the outputs of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from caelab.classifiers.network import Network
from caelab.jacobian.layers import Layer
from caelab.jacobian.service import jacobian

LOGITS, LOG_PROBABILITIES = "logits", "log-probabilities"


def tangent_penalty(
    network: Network, layers: Sequence[Layer] | None, inputs: Tensor, tangents: Tensor, outputs: str
) -> Tensor:
    """Mean over the batch of Σ_j ‖∂o/∂x · u_j‖², u_j the tangents of x; sum over tangents and outputs.

    Rifai, Dauphin, Vincent, Bengio and Muller (2011), NIPS 24, after Simard et al. (1992), NIPS 4. The paper
    penalises "the network's output o", which for a softmax layer are the ``probabilities`` p. The derivative along u
    is pushed forward through the layers, beside their outputs: with a the logits and a' = ∂a/∂x · u,

        logits: a'        log-probabilities: a' - Σ_c p_c a'_c        probabilities: p (a' - Σ_c p_c a'_c)

    No Jacobian is formed: the cost is that of k further examples for each one.

    Args:
        network: the classifier.
        layers: of its encoder, where that is a chain of layers; any other goes through the Jacobian service.
        inputs: x, shape (batch, d).
        tangents: u, shape (batch, k, d).
        outputs: o: probabilities, log-probabilities or logits.

    Returns:
        Scalar, shape (); differentiable with respect to the network's parameters.
    """
    logits, along = pushed_forward(network, layers, inputs, tangents)
    if outputs != LOGITS:
        probabilities = logits.softmax(dim=1)[:, None]
        along = along - (probabilities * along).sum(dim=2, keepdim=True)
        along = along if outputs == LOG_PROBABILITIES else probabilities * along
    return along.square().sum(dim=(1, 2)).mean()


def pushed_forward(
    network: Network, layers: Sequence[Layer] | None, inputs: Tensor, tangents: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits (batch, classes), and their derivatives along the tangents (batch, k, classes)."""
    if layers is None:
        found = jacobian(network, inputs)
        return network(inputs), found.jvp(tangents)
    values, along = inputs, tangents
    for layer in layers:
        z = layer.affine(values)
        values = layer.activation.function(z)
        known = layer.activation.of_output
        slope = known[0](values) if known else layer.activation.derivative(z)
        along = (along @ layer.weight.T) * slope[:, None]
    return network.softmax(values), along @ network.softmax.weight.T
