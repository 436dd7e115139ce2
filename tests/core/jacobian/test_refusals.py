import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from caelab import CaelabError
from caelab.jacobian.service import jacobian

X = torch.rand(5, 6)


class Centred(nn.Module):
    """Subtracts the batch's mean: no example stands alone."""

    def forward(self, inputs):
        return inputs - inputs.mean(dim=0)


class Shaky(nn.Module):
    """Draws dropout masks by the function, which no look at the modules finds."""

    def forward(self, inputs):
        return nn.functional.dropout(inputs, 0.5, training=True)


class Counter(nn.Module):
    """Gives more with every call."""

    calls = 0

    def forward(self, inputs):
        self.calls += 1
        return self.calls * inputs


class Noise(nn.Module):
    def forward(self, weight):
        return weight + 0.1 * torch.randn_like(weight)


def noisy(layer):
    parametrize.register_parametrization(layer, "weight", Noise())
    return layer


REFUSED = {
    "batch norm": (
        nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), X, r"1 \(BatchNorm1d\) normalises by the batch.*\.eval\(\)"
    ),
    "batch norm without statistics": (
        nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(), X, "normalises by"
    ),
    "dropout": (
        nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.1)), X, r"1 \(Dropout\) drops units at random.*\.eval\(\)"
    ),
    "mixing": (Centred(), X, "the output of Centred at one example depends on the batch's other examples"),
    "chance": (Shaky(), X, "the output of Shaky at one example depends on chance"),
    "integers": (nn.Linear(6, 3), torch.ones(5, 6, dtype=torch.int64), r"but torch.int64 came.*\.float"),
    "tokens": (
        nn.Sequential(nn.Embedding(9, 3), nn.Flatten()), torch.ones(5, 6, dtype=torch.int64),
        r"torch.int64 came; tokens .* embed them first and ask at the embedding, as jacobian\(rest, embedding"
    ),
    "tokens in a function": (lambda x: x, torch.ones(5, 6, dtype=torch.int64), r"\.float\(\); of tokens ask"),
    "complex numbers": (nn.Identity(), torch.ones(5, 6, dtype=torch.complex64), r"complex64 came; .* torch.view_as_r"),
    "eight bits": (nn.Identity(), torch.ones(5, 6).to(torch.float8_e5m2), r"e5m2 came; convert them with \.float"),
    "sparse": (nn.Linear(6, 3), torch.ones(5, 6).to_sparse(), r"but torch.sparse_coo came; call .to_dense"),
    "no entries": (nn.Linear(6, 3), X[:, :0], r"at least one entry of each, but shape \(5, 0\) came"),
    "no units": (lambda x: x[:, :0], X, r"to \(5, 0\), a code without units, .* at least one unit"),
    "power iteration": (
        nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 3)), nn.Tanh()), X,
        r"spectral normalisation at 0.parametrizations.weight.0 takes a step of its power iteration .*\.eval\(\)"
    ),
    "power iteration as a hook": (
        nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 3)), nn.Tanh()), X, "spectral normalisation at 0 takes a step"
    ),
    "a counter": (Counter(), X, "the output of Counter at one example changes with every call, since a call changes"),
    "noise on the weight": (noisy(nn.Linear(6, 3)), X, "depends on chance"),
    "no batch": (nn.Linear(6, 3), X[0], r"shape \(6,\) came; add a batch axis"),
    "no examples": (nn.Linear(6, 3), X[:0], r"at least one example, but shape \(0, 6\) came"),
    "no tensor": (nn.Linear(6, 3), X.numpy(), "expected inputs as a tensor .* but ndarray came"),
    "sum over the batch": (lambda x: x.sum(), X, r"maps inputs \(5, 6\) to \(\).*expected an output \(batch, \*code\)"),
    "whole numbers out": (lambda x: (x > 0.5).long(), X, "returns torch.int64, which has no derivative"),
}  # fmt: skip


@pytest.mark.parametrize(("encode", "inputs", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_right_is_refused_with_the_remedy(encode, inputs, message):
    for _ in range(2):  # and each time
        with pytest.raises(CaelabError, match=message):
            jacobian(encode, inputs).squared_norm()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_coarse_type_is_no_false_derivative(kind):
    encode = nn.Sequential(nn.Linear(6, 3), nn.Tanh()).to(kind)
    found, precise = jacobian(encode, X.to(kind)), jacobian(copy.deepcopy(encode).double(), X.to(kind).double())
    assert found.method == precise.method == "closed form (tanh)"
    torch.testing.assert_close(found.squared_norm().double(), precise.squared_norm(), rtol=0.05, atol=0)


@pytest.mark.parametrize("make", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_a_power_iteration_that_stands_still_is_welcome(make):
    encode, inputs = nn.Sequential(make(nn.Linear(6, 3)), nn.Tanh()).double(), X.double()
    for _ in range(9):
        encode(inputs)
    slopes = 1 - encode.eval()(inputs).detach().square()
    expected = slopes.square() @ encode[0].weight.detach().square().sum(dim=1)
    torch.testing.assert_close(jacobian(encode, inputs).squared_norm().detach(), expected)


class Backwards(nn.Module):
    """Acts on every entry and then turns their order."""

    def forward(self, z):
        return torch.tanh(z).flip(1)

    def derivative(self, z):
        return 1 - torch.tanh(z).square()


def test_a_step_that_is_not_elementwise_is_no_activation():
    with pytest.raises(CaelabError, match=r"of the activation backwards is not the derivative of its forward"):
        jacobian(nn.Sequential(nn.Linear(6, 4), Backwards()), X).squared_norm()


def test_the_same_modules_in_evaluation_mode_are_welcome():
    encode = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout(0.1), nn.Sigmoid()).eval()
    assert jacobian(encode, X).squared_norm().shape == (5,)


def test_a_gradient_that_nothing_can_take_is_refused():
    with pytest.raises(CaelabError, match="parameters of Sigmoid was asked for, but it has no parameters"):
        jacobian(nn.Sigmoid(), X, gradients=True).squared_norm()
    frozen = nn.Linear(6, 3).requires_grad_(False)
    with pytest.raises(CaelabError, match=r"parameters of Linear .* but its 2 parameters are all frozen"):
        jacobian(frozen, X, gradients=True).squared_norm()
    assert jacobian(frozen, X).squared_norm().shape == (5,)


def test_products_of_another_shape():
    with pytest.raises(CaelabError, match=r"vectors of shape \(5, 6\).*\(5, 3\) came"):
        jacobian(nn.Linear(6, 3), X).jvp(torch.rand(5, 3))
    with pytest.raises(CaelabError, match=r"covectors of shape \(5, 3\).*\(4, 3\) came"):
        jacobian(nn.Linear(6, 3), X).vjp(torch.rand(4, 3))
