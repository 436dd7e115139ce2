from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.core.jacobian import references

INPUTS, EXAMPLES = 6, 4


class Swish(nn.Module):
    """A user's own activation that says it is elementwise by its derivative."""

    def forward(self, z):
        return z * torch.sigmoid(z)

    def derivative(self, z):
        s = torch.sigmoid(z)
        return s * (1 + z * (1 - s))


ACTIVATIONS = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "swish": Swish,
}
SHAPES = {"one layer": [5], "wide code": [9], "narrow code": [7, 3], "bottleneck": [8, 2, 7], "three layers": [7, 5, 4]}


@dataclass
class Case:
    """An encoder in float64 after training, with correlated weight rows, and its Jacobian by another way."""

    encode: nn.Module
    inputs: torch.Tensor

    def __post_init__(self):
        self.dense = references.dense_jacobian(self.encode, self.inputs)

    def hidden(self):
        """The same map as a plain function, which the service cannot look into."""
        return lambda inputs: self.encode(inputs)


def make_case(shape, activation):
    torch.manual_seed(7)
    widths = [INPUTS, *SHAPES[shape]]
    steps = []
    for narrow, wide in pairwise(widths):
        steps += [nn.Linear(narrow, wide), ACTIVATIONS[activation]()]
    encode = nn.Sequential(*steps).double()
    inputs = torch.rand(EXAMPLES, INPUTS, dtype=torch.float64)
    train(encode, inputs)
    return Case(encode, inputs)


def train(encode, inputs):
    """Rows that share a direction, and some steps of descent: at a random start several wrong formulas agree."""
    with torch.no_grad():
        for parameter in encode.parameters():
            shared = torch.randn(parameter.shape[-1:], dtype=parameter.dtype)
            parameter += 0.4 * shared if parameter.ndim == 2 else 0.2 * torch.randn_like(parameter)
    optimizer = torch.optim.SGD(encode.parameters(), lr=0.05)
    target = torch.rand(len(inputs), encode(inputs).shape[1], dtype=inputs.dtype)
    for _ in range(5):
        optimizer.zero_grad()
        (encode(inputs) - target).square().sum(dim=1).mean().backward()
        nn.utils.clip_grad_norm_(encode.parameters(), 1.0)
        optimizer.step()
    optimizer.zero_grad()


@pytest.fixture(params=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(params=ACTIVATIONS)
def activation(request):
    return request.param


@pytest.fixture
def case(shape, activation):
    return make_case(shape, activation)
