"""Slow and obvious derivations in float64 of what the penalties compute, with numpy alone.

A map is a Python function from one input vector to one output vector that accepts complex numbers: its Jacobian by the
complex-step method (Squire and Trapp 1998) is exact to rounding, and shares nothing with automatic differentiation.
"""

import numpy as np
from torch import nn

from caelab.testing.penalty.references import parameter_differences

ACTIVATIONS = {
    nn.Sigmoid: lambda z: 1 / (1 + np.exp(-z)),
    nn.Tanh: np.tanh,
    nn.Softplus: lambda z: np.log(1 + np.exp(z)),
    nn.ReLU: lambda z: z * (z.real > 0),
    nn.Identity: lambda z: z,
}


def as_map(*layers):
    """The function of one vector that these torch layers compute, in numpy."""
    steps = [step for layer in layers for step in (layer if isinstance(layer, nn.Sequential) else [layer])]

    def function(vector):
        for step in steps:
            if type(step) in ACTIVATIONS:
                vector = ACTIVATIONS[type(step)](vector)
            else:
                vector = array(step.weight) @ vector + array(step.bias)
        return vector

    return function


def array(tensor):
    return tensor.detach().double().numpy()


def jacobian(function, vector, step=1e-30):
    """∂f_j/∂x_i by complex steps, one column per input; shape (code, input)."""
    columns = []
    for i in range(len(vector)):
        nudged = vector.astype(complex)
        nudged[i] += 1j * step
        columns.append(function(nudged).imag / step)
    return np.stack(columns, axis=1)


def mean_squared_jacobian_norm(function, batch):
    total = 0.0
    for vector in batch:
        for row in jacobian(function, vector):
            for entry in row:
                total += entry**2
    return total / len(batch)


def mean_squared_jacobian_difference(function, batch, noisy):
    """``noisy`` has shape (samples, batch, input)."""
    differences = [
        ((jacobian(function, vector) - jacobian(function, other)) ** 2).sum()
        for copy in noisy
        for vector, other in zip(batch, copy, strict=True)
    ]
    return sum(differences) / len(differences)


def squared_hessian_norm(function, vector, step=1e-5):
    """Σ_j Σ_ik (∂²f_j/∂x_i∂x_k)², from central differences of complex-step Jacobians."""
    total = 0.0
    for i in range(len(vector)):
        nudge = np.zeros(len(vector))
        nudge[i] = step
        slope = (jacobian(function, vector + nudge) - jacobian(function, vector - nudge)) / (2 * step)
        total += (slope**2).sum()
    return total


def mean_activation_divergence(codes, target):
    total = 0.0
    for j in range(codes.shape[1]):
        mean = sum(codes[:, j]) / len(codes)
        total += target * np.log(target / mean) + (1 - target) * np.log((1 - target) / (1 - mean))
    return total


def codes_of(model, batch):
    """The code of every example, in numpy."""
    function = as_map(model.encode)
    return np.stack([function(vector) for vector in batch.numpy()])


def parameter_gradient(value, parameter):
    """Central differences of ``value()`` with respect to every entry of a torch parameter, as an array."""
    return parameter_differences(value, parameter).numpy()
