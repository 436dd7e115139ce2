"""A code that is wider than the input is differentiated column by column; the numbers are those of the rows."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from tests.core.jacobian.references import dense_jacobian, parameter_gradients

EXACT = {"rtol": 1e-9, "atol": 1e-11}


class Decoder(nn.Module):
    """Few latents to an image, through deconvolutions or what else is given between."""

    def __init__(self, *middle):
        super().__init__()
        self.wide = nn.Linear(3, 8)
        self.middle = nn.Sequential(*middle)
        self.image = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)

    def forward(self, z):
        return torch.sigmoid(self.image(self.middle(torch.tanh(self.wide(z))).reshape(-1, 2, 2, 2)))


class Recurrent(nn.Module):
    """A cell without a rule for forward mode."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(3, 7, batch_first=True)

    def forward(self, z):
        return self.cell(z[:, None].expand(-1, 4, -1))[0]


DECODERS = {
    "deconvolutions": (Decoder, "autodiff (columns)"),
    "layer norm": (lambda: Decoder(nn.LayerNorm(8)), "autodiff (its gradient by reverse mode, columns)"),
    "LSTM": (Recurrent, "columns"),
}


@pytest.fixture(params=DECODERS)
def decoder(request):
    torch.manual_seed(3)
    make, method = DECODERS[request.param]
    return make().double(), torch.randn(5, 3, dtype=torch.float64), method


def test_values_are_those_of_the_rows(decoder):
    net, z, method = decoder
    dense = dense_jacobian(net, z)
    assert method in jacobian(net, z).method
    for budget in (None, 60_000):
        j = jacobian(net, z, memory_budget=budget)
        assert_close(j.squared_norm(), dense.square().sum(dim=(1, 2)), **EXACT)
        assert_close(j.singular_values(), torch.linalg.svdvals(dense), rtol=1e-6, atol=1e-9)
    assert_close(jacobian(net, z).dense(), dense, **EXACT)


def test_gradients_are_those_of_the_rows(decoder):
    net, z, _ = decoder
    parameters = list(net.parameters())
    weights = torch.linspace(0.5, 1.5, len(z), dtype=z.dtype)
    expected = (dense_jacobian(net, z, True).square().sum(dim=(1, 2)) * weights).sum()
    theirs = torch.autograd.grad(expected, parameters, materialize_grads=True)
    for budget in (None, 400_000):
        j = jacobian(net, z, memory_budget=budget)
        for value in (j.squared_norm(), j.dense().square().sum(dim=(1, 2))):
            mine = torch.autograd.grad((value * weights).sum(), parameters, materialize_grads=True)
            for one, other in zip(mine, theirs, strict=True):
                assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_the_gradient_is_the_slope_of_the_norm():
    torch.manual_seed(0)
    net, z = Decoder().double(), torch.randn(2, 3, dtype=torch.float64)
    weight = net.wide.weight
    (mine,) = torch.autograd.grad(jacobian(net, z).squared_norm().sum(), weight)
    (theirs,) = parameter_gradients(lambda: dense_jacobian(net, z).square().sum(), [weight])
    assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


class Widened(nn.Module):
    """Torch has no second derivative of the hard sigmoid."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 9), nn.Linear(9, 20)

    def forward(self, z):
        return self.last(nn.functional.hardsigmoid(self.first(z)))


def test_values_stay_where_torch_has_no_second_derivative():
    torch.manual_seed(0)
    net, z = Widened().double(), torch.randn(4, 3, dtype=torch.float64)
    dense = dense_jacobian(net, z)
    j = jacobian(net, z)
    for value, expected in ((j.squared_norm(), dense.square().sum(dim=(1, 2))), (j.dense(), dense)):
        assert_close(value.detach(), expected, **EXACT)
        with pytest.raises(CaelabError, match="the derivative of the derivative of hardsigmoid"):
            value.sum().backward()


class Counted(nn.Module):
    """Counts the calls of a map and the examples in them."""

    def __init__(self):
        super().__init__()
        self.decoder, self.calls = Decoder(), []

    def forward(self, z):
        self.calls.append(len(z))
        return self.decoder(z)


def test_the_passes_are_few():
    """A norm takes one pass forward for its three columns, not one for each of the code's 32 rows."""
    net, z = Counted(), torch.randn(5, 3)
    with torch.no_grad():
        jacobian(net, z).squared_norm()
        net.calls.clear()
        jacobian(net, z).squared_norm()
    assert net.calls == [5]
