"""Slow and obvious: one row of the Jacobian after the other, or differences of values."""

import torch


def dense_jacobian(encode, inputs):
    """∂f_j/∂x_i of every example, one reverse pass per entry of the code, example by example."""
    matrices = []
    for example in inputs.detach():
        point = example[None].clone().requires_grad_()
        code = encode(point).flatten()
        rows = [torch.autograd.grad(unit, point, retain_graph=True)[0].flatten() for unit in code]
        matrices.append(torch.stack(rows))
    return torch.stack(matrices)


def by_differences(encode, inputs, step=1e-4):
    """The same from values of the map alone: central differences of fourth order."""
    columns = []
    for i in range(inputs[0].numel()):
        nudge = torch.zeros(inputs[0].numel(), dtype=inputs.dtype)
        nudge[i] = step
        nudge = nudge.reshape(inputs.shape[1:])
        near = (encode(inputs + nudge) - encode(inputs - nudge)).flatten(1) / (2 * step)
        far = (encode(inputs + 2 * nudge) - encode(inputs - 2 * nudge)).flatten(1) / (4 * step)
        columns.append((4 * near - far) / 3)
    return torch.stack(columns, dim=2).detach()


def parameter_gradients(value, parameters, step=1e-5):
    """Central differences of ``value()`` with respect to every entry of every parameter."""
    gradients = []
    for parameter in parameters:
        flat = parameter.detach().view(-1)
        gradient = torch.zeros_like(flat)
        for i in range(len(flat)):
            kept = flat[i].item()
            flat[i] = kept + step
            above = value()
            flat[i] = kept - step
            below = value()
            flat[i] = kept
            gradient[i] = (above - below) / (2 * step)
        gradients.append(gradient.reshape(parameter.shape))
    return gradients
