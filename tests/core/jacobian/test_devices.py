"""Every question to the service, asked on every device there is, against explicit matrices on the processor."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError, TopK, jacobian
from tests.benchmarks.networks import Attention, Mean, Residual
from tests.core.jacobian.references import dense_jacobian
from tests.devices import DEVICES

BATCH, COUNT = 3, 2
MAPS = {
    "one layer": (8, lambda: [nn.Linear(8, 5), nn.Sigmoid()]),
    "chain": (8, lambda: [nn.Linear(8, 12), nn.Softplus(), nn.Linear(12, 5), nn.Tanh()]),
    "convolutions": (16, lambda: [nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 3, 2, 1), nn.SiLU(), nn.Flatten(),
                                  nn.Linear(12, 5)]),
    "attention": (24, lambda: [nn.Unflatten(1, (4, 6)), Residual(nn.Sequential(nn.LayerNorm(6), Attention(6, 2))),
                               Mean()]),
    "transformer": (24, lambda: [nn.Unflatten(1, (4, 6)), nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True),
                                 Mean()]),
    "recurrent": (24, lambda: [nn.Unflatten(1, (4, 6)), Last(nn.LSTM(6, 5, batch_first=True))]),
    "decoder": (4, lambda: [nn.Linear(4, 18), nn.Unflatten(1, (2, 3, 3)), nn.ConvTranspose2d(2, 2, 4, 2, 1)]),
    "sparse code": (8, lambda: [nn.Linear(8, 30), TopK(6)]),
    "square": (6, lambda: [nn.Linear(6, 6), nn.Tanh(), Residual(nn.Linear(6, 6)), nn.LayerNorm(6)]),
}  # fmt: skip
TOLERANCES = {torch.float64: {"rtol": 1e-8, "atol": 1e-9}, torch.float32: {"rtol": 2e-3, "atol": 2e-4}}


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0][:, -1]


@pytest.fixture(params=MAPS)
def case(request):
    """A map and inputs in float64 on the processor, and its Jacobian one backward pass after the other."""
    torch.manual_seed(2)
    width, steps = MAPS[request.param]
    encode, inputs = nn.Sequential(*steps()).double(), torch.randn(BATCH, width, dtype=torch.float64)
    return encode, inputs, dense_jacobian(encode, inputs).detach()


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(params=TOLERANCES, ids=str)
def dtype(request):
    return request.param


def singular(dense, power):
    return torch.linalg.svdvals(dense).pow(power)


VALUES = {
    "dense": (lambda j: j.dense(), lambda d: d),
    "squared norm": (lambda j: j.squared_norm(), lambda d: d.square().sum(dim=(1, 2))),
    "spectral norm": (lambda j: j.spectral_norm(), lambda d: singular(d, 1)[:, 0]),
    "nuclear norm": (lambda j: j.nuclear_norm(), lambda d: singular(d, 1).sum(dim=1)),
    "tangents": (lambda j: j.tangents(COUNT)[0], lambda d: singular(d, 1)[:, :COUNT]),
    "searched": (lambda j: j.tangents(COUNT, tolerance=1e-3).values, lambda d: singular(d, 1)[:, :COUNT]),
    "largest squares": (lambda j: j.singular_values(2).square(), lambda d: singular(d, 2)[:, :2]),
}


@pytest.mark.parametrize("question", VALUES)
def test_values(case, device, dtype, question):
    encode, inputs, dense = case
    ask, expected = VALUES[question]
    found = ask(jacobian(deepcopy(encode).to(device, dtype), inputs.to(device, dtype)))
    assert found.device.type == device
    assert_close(found.detach().cpu().double(), expected(dense), **TOLERANCES[dtype])


def test_convolutions_keep_the_digits_of_float32(device):
    """On a GPU torch's default for them is TF32, which is off by a thousandth."""
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Conv2d(16, 32, 3), nn.Tanh(), nn.Conv2d(32, 32, 3), nn.Flatten(), nn.Linear(128, 6))
    inputs = torch.randn(BATCH, 16, 6, 6)
    exact = torch.linalg.svdvals(dense_jacobian(deepcopy(encode).double(), inputs.double())).detach()
    found = jacobian(encode.to(device), inputs.to(device)).tangents(4, tolerance=1e-4)
    assert_close(found.values.cpu(), exact[:, :4], rtol=5e-6, atol=0)
    assert (found.value_error.cpu() <= 1e-5 * exact[:, :1]).all()


def test_products(case, device):
    encode, inputs, dense = case
    rows, columns = (
        torch.randn(BATCH, COUNT, dense.shape[1]).double(),
        torch.randn(BATCH, COUNT, dense.shape[2]).double(),
    )
    j = jacobian(deepcopy(encode).to(device), inputs.to(device))
    assert_close(j.vjp(rows.to(device)).cpu(), rows @ dense)
    assert_close(j.jvp(columns.to(device)).cpu(), columns @ dense.mT)


def test_entries_between_two_codes(case, device):
    encode, inputs, dense = case
    rows, columns = torch.tensor([[0, 3], [4, 1], [2, 2]]), torch.tensor([[1, 0, 3], [3, 2, 1], [0, 1, 2]])
    found = jacobian(deepcopy(encode).to(device), inputs.to(device)).between(rows.to(device), columns.to(device))
    expected = torch.stack([matrix[i][:, k] for matrix, i, k in zip(dense, rows, columns, strict=True)])
    assert_close(found.detach().cpu(), expected)


def test_an_estimate_and_its_interval(case, device):
    encode, inputs, dense = case
    draws = torch.Generator(device=device).manual_seed(1)
    estimate = jacobian(deepcopy(encode).to(device), inputs.to(device)).estimated_squared_norm(400, draws)
    exact = dense.square().sum(dim=(1, 2))
    assert ((estimate.value.cpu() - exact).abs() <= 5 * estimate.standard_error.cpu() + 1e-9 * exact).all()
    assert all(end.device.type == device for end in estimate.interval())


@pytest.mark.parametrize("question", ["squared norm", "spectral norm", "nuclear norm"])
def test_gradients(case, device, question):
    encode, inputs, _ = case
    ask, expected = VALUES[question]
    there = deepcopy(encode).to(device)
    ask(jacobian(there, inputs.to(device), gradients=True)).sum().backward()
    expected(dense_jacobian(encode, inputs, recorded=True)).sum().backward()
    for name, parameter in encode.named_parameters():
        found = there.get_parameter(name).grad
        assert_close(
            torch.zeros_like(parameter) if found is None else found.cpu(),
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad,
            rtol=1e-6,
            atol=1e-8,
        )


def test_a_trace_and_a_volume(device):
    torch.manual_seed(2)
    encode = nn.Sequential(*MAPS["square"][1]()).double()
    inputs = torch.randn(BATCH, 6, dtype=torch.float64)
    dense = dense_jacobian(encode, inputs).detach()
    j = jacobian(encode.to(device), inputs.to(device))
    assert_close(j.trace().detach().cpu(), dense.diagonal(dim1=1, dim2=2).sum(dim=1))
    volume = j.log_volume()
    assert volume.rank.tolist() == [5] * BATCH  # LayerNorm takes one away
    assert_close(volume.value.detach().cpu(), singular(dense, 1)[:, :5].log().sum(dim=1), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:RNN module weights")  # of torch, since ``deepcopy`` lays them out anew
def test_half_the_digits_forward_and_a_spectrum_in_double(case, device):
    encode, inputs, dense = case
    there = deepcopy(encode).to(device, torch.bfloat16)
    found = jacobian(there, inputs.to(device, torch.bfloat16)).singular_values().detach()
    assert found.dtype == torch.float64
    exact = singular(dense, 1)
    assert_close(found.cpu(), exact, rtol=0, atol=2e-2 * float(exact.max()))


def test_mixed_precision_is_left_for_an_answer(case, device):
    encode, inputs, dense = case
    there = deepcopy(encode).to(device, torch.float32)
    with torch.autocast(device, torch.bfloat16):
        found = jacobian(there, inputs.to(device, torch.float32)).squared_norm()
    assert_close(found.detach().cpu().double(), dense.square().sum(dim=(1, 2)), **TOLERANCES[torch.float32])


def test_inputs_and_weights_on_two_devices(device):
    other = "meta" if device == "cpu" else "cpu"
    with pytest.raises(CaelabError):
        jacobian(nn.Linear(3, 2).to(other), torch.rand(2, 3, device=device)).squared_norm()
