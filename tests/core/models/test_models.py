from math import erf, sqrt

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.models.autoencoder import autoencoder
from caelab.models.convolutional import convolutional
from caelab.models.layers import ACTIVATIONS, saturated_share
from caelab.models.reconstruction import check_objective, cross_entropy, reconstruction_error, squared_error

FUNCTIONS = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "identity": lambda z: z,
    "leaky-relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "celu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    "gelu": lambda z: z * np.vectorize(lambda a: (1 + erf(a / sqrt(2))) / 2)(z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log1p(np.exp(z))),
    "relu6": lambda z: np.clip(z, 0, 6),
    "hardtanh": lambda z: np.clip(z, -1, 1),
    "hardsigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "hardswish": lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
    "logsigmoid": lambda z: -np.log1p(np.exp(-z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "softshrink": lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0),
    "tanhshrink": lambda z: z - np.tanh(z),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_stacked_autoencoder_by_hand(activation, tied):
    torch.manual_seed(0)
    model = autoencoder(6, hidden=[5, 3], activation=activation, tied=tied).double()
    x = torch.rand(4, 6, dtype=torch.float64)
    encode, decode, s = list(model.encode), list(model.decode), FUNCTIONS[activation]
    weights = [layer.weight.detach().numpy() for layer in (encode[0], encode[2], decode[0], decode[2])]
    if tied:
        np.testing.assert_array_equal(weights[2], weights[1].T)
        np.testing.assert_array_equal(weights[3], weights[0].T)
    h = s(s(x.numpy() @ weights[0].T) @ weights[1].T)
    logits = s(h @ weights[2].T) @ weights[3].T
    np.testing.assert_allclose(model.encode(x).detach().numpy(), h, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.logits(model.encode(x)).detach().numpy(), logits, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model(x).detach().numpy(), FUNCTIONS["sigmoid"](logits), rtol=1e-12, atol=1e-15)


def test_tied_weights_are_one_parameter():
    model = autoencoder(6, hidden=[5])
    assert sorted(name for name, _ in model.named_parameters()) == ["decode.0.bias", "encode.0.bias", "encode.0.weight"]
    model(torch.rand(2, 6)).sum().backward()
    both = model.encode[0].weight.grad.clone()
    model.zero_grad()
    model.decode(model.encode(torch.rand(2, 6)).detach()).sum().backward()
    assert both.abs().sum() > 0
    assert model.encode[0].weight.grad.abs().sum() > 0  # the decoder's share reaches the encoder's weight


def test_glorot_start():
    weight = autoencoder(600, hidden=[400]).encode[0].weight.detach()
    bound = (6 / 1000) ** 0.5
    assert weight.abs().max() <= bound
    assert_close(weight.std(), torch.tensor(bound / 3**0.5), rtol=0.01, atol=0)


def test_convolutional_shapes_and_refusals():
    model = convolutional(64, (8, 8), hidden=7)
    x = torch.rand(3, 64)
    assert model.encode(x).shape == (3, 7)
    assert model(x).shape == (3, 64)
    assert_close(torch.sigmoid(model.logits(model.encode(x))), model(x))
    for inputs, shape in ((64, None), (35, (5, 7)), (192, (8, 8, 3))):
        with pytest.raises(CaelabError, match="the convolutional model needs"):
            convolutional(inputs, shape)


def test_cross_entropy_by_hand_and_without_overflow():
    logits = torch.tensor([[0.3, -2.0, 800.0, -800.0]], dtype=torch.float64)
    x = torch.tensor([[0.2, 1.0, 1.0, 0.0]], dtype=torch.float64)
    y = 1 / (1 + np.exp(-logits[0, :2].numpy()))
    expected = -(0.2 * np.log(y[0]) + 0.8 * np.log(1 - y[0]) + np.log(y[1]))
    np.testing.assert_allclose(cross_entropy(logits, x).numpy(), [expected], rtol=1e-12, atol=1e-15)


def test_errors_are_summed_over_inputs():
    model, x = autoencoder(6, hidden=[3]), torch.rand(4, 6)
    for kind, function in (("cross-entropy", lambda h: cross_entropy(model.logits(h), x)), ("squared-error", None)):
        found = reconstruction_error(kind, model, model.encode(x), x)
        expected = function(model.encode(x)) if function else ((model(x) - x) ** 2).sum(dim=1)
        assert_close(found, expected)
    assert_close(squared_error(x, torch.zeros_like(x)), (x**2).sum(dim=1))


def test_saturated_share():
    code = torch.tensor([[0.01, 0.5, 0.96, 0.05], [0.5, 0.5, 0.5, 0.5]])
    assert saturated_share(code, "sigmoid").tolist() == [0.5, 0.0]
    assert saturated_share(torch.tensor([[-0.95, 0.0, 0.91, 0.9]]), "tanh").tolist() == [0.5]
    assert saturated_share(code, "relu").isnan().all()


@pytest.mark.parametrize(
    ("inputs", "model", "message"),
    [
        (torch.tensor([[0.1, float("nan")]]), autoencoder(2, hidden=[2]), "1 values are NaN or infinite"),
        (torch.tensor([[0.1, 1.5]]), autoencoder(2, hidden=[2]), r"in \[0, 1\], but they lie in \[0.1, 1.5\]"),
        (torch.rand(2, 2), autoencoder(2, hidden=[2], output="identity"), "ends in Identity"),
        (torch.rand(2, 2), nn.Linear(2, 2), "needs a model with logits"),
    ],
)
def test_objectives_without_meaning_are_refused(inputs, model, message):
    with pytest.raises(CaelabError, match=message):
        check_objective("cross-entropy", model, inputs)
