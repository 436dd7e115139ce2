"""The tangent propagation penalty, against dense Jacobians and central differences in float64."""

import pytest
import torch
from torch import nn

from caelab.classifiers.network import Network
from caelab.classifiers.penalty import tangent_penalty
from caelab.models.autoencoder import autoencoder

OUTPUTS = ["probabilities", "log-probabilities", "logits"]


def encoder(kind):
    torch.manual_seed(0)
    if kind == "convolution":
        model = nn.Module()
        model.encode = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten())
        return model.double()
    hidden, activation = {"one layer": ([5], "sigmoid"), "a stack": ([5, 4], "tanh"), "softplus": ([5], "softplus")}[
        kind
    ]
    return autoencoder(6, hidden=hidden, activation=activation).double()


@pytest.fixture(params=["one layer", "a stack", "softplus", "convolution"])
def network(request):
    return Network(encoder(request.param), 3, torch.zeros(1, 6, dtype=torch.float64), torch.Generator().manual_seed(1))


@pytest.fixture
def batch():
    stream = torch.Generator().manual_seed(2)
    return (
        torch.rand(4, 6, generator=stream, dtype=torch.float64),
        torch.randn(4, 2, 6, generator=stream, dtype=torch.float64),
    )


def by_jacobian(network, inputs, tangents, outputs):
    """The same number from the dense Jacobian of each example."""

    def of_one(example):
        logits = network(example[None])[0]
        return {"logits": lambda a: a, "log-probabilities": lambda a: a.log_softmax(0)}.get(
            outputs, lambda a: a.softmax(0)
        )(logits)

    found = [
        (directions @ torch.autograd.functional.jacobian(of_one, example).T).square().sum()
        for example, directions in zip(inputs, tangents, strict=True)
    ]
    return torch.stack(found).mean()


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_it_is_that_of_the_dense_jacobians(network, batch, outputs):
    found = tangent_penalty(network, network.layers(6), *batch, outputs)
    torch.testing.assert_close(found, by_jacobian(network, *batch, outputs), rtol=1e-12, atol=0)


def test_the_three_outputs_differ(network, batch):
    found = {float(tangent_penalty(network, network.layers(6), *batch, outputs).detach()) for outputs in OUTPUTS}
    assert len(found) == 3


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_its_gradient_is_central_differences(network, batch, outputs):
    layers = network.layers(6)
    parameters = [p for p in network.trainable() if p.ndim > 1]
    gradients = torch.autograd.grad(tangent_penalty(network, layers, *batch, outputs), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=shift)
                values.append(float(tangent_penalty(network, layers, *batch, outputs).detach()))
                parameter.sub_(direction, alpha=shift)
        assert float((gradient.detach() * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_in_all_directions_it_is_the_contractive_penalty_of_the_outputs(batch):
    """With an orthonormal basis as tangents, sum over outputs and inputs of the squared Jacobian."""
    network = Network(encoder("one layer"), 3, torch.zeros(1, 6, dtype=torch.float64), torch.Generator().manual_seed(1))
    basis = torch.eye(6, dtype=torch.float64).expand(4, 6, 6)
    found = tangent_penalty(network, network.layers(6), batch[0], basis, "logits")
    w, v = network.model.encode[0].weight, network.softmax.weight
    h = network.model.encode(batch[0])
    dense = torch.einsum("cj,bj,ji->bci", v, h * (1 - h), w)
    torch.testing.assert_close(found, dense.square().sum(dim=(1, 2)).mean(), rtol=1e-12, atol=0)
