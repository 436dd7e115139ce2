from threading import Thread

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from caelab.jacobian import autodiff, convolutions
from caelab.jacobian.convolutions import convolved, with_narrow_convolutions
from caelab.jacobian.service import jacobian
from tests.core.jacobian import references


def conv(channels=2, stride=2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 3, 4, stride=stride, padding=1), nn.Sigmoid(), nn.Flatten(), nn.LazyLinear(5)
    ).double()


CASES = {  # units, channels, kernel, stride, padding, image
    "fits": (3, 2, (4, 4), 2, (1, 1), (8, 8)),
    "kernel no multiple": (2, 2, (5, 3), 2, (0, 1), (9, 8)),
    "pixels left over": (2, 1, (3, 3), 3, (0, 0), (8, 10)),
    "kernel below stride": (2, 3, (1, 2), 3, (1, 0), (7, 7)),
    "wide padding": (2, 2, (4, 4), 2, (3, 2), (5, 6)),
}


@pytest.fixture(params=CASES)
def convolution(request):
    torch.manual_seed(0)
    units, channels, kernel, stride, padding, image = CASES[request.param]
    x = torch.randn(3, channels, *image, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(units, channels, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(units, dtype=torch.float64, requires_grad=True)
    return (x, weight, bias), stride, padding


@pytest.mark.parametrize("biased", [True, False])
def test_a_convolution_is_that_of_torch_to_its_third_derivative(convolution, biased):
    (x, weight, bias), stride, padding = convolution
    sources = (x, weight, bias) if biased else (x, weight)
    given = bias if biased else None
    found = convolved(x, weight, given, stride, padding)
    plain = torch.conv2d(x, weight, given, stride, padding)
    assert torch.equal(found, plain)
    for _ in range(3):
        factor = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        pairs = [
            torch.autograd.grad((y.tanh() * factor).sum(), sources, create_graph=True, materialize_grads=True)
            for y in (found, plain)
        ]
        for mine, theirs in zip(*pairs, strict=True):
            assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
            assert float(theirs.detach().abs().max()) > 1e-9, "which a wrong one would differ from"
        found, plain = (sum(each.tanh().mean() for each in pair) for pair in pairs)


def test_its_first_derivative_is_that_of_differences(convolution):
    (x, weight, bias), stride, padding = convolution
    assert torch.autograd.gradcheck(lambda *given: convolved(*given, stride, padding), (x, weight, bias))


def test_rows_at_once_are_rows_one_by_one(convolution):
    (x, weight, _), stride, padding = convolution
    code = convolved(x, weight, None, stride, padding)
    rows = torch.randn(4, *code.shape, dtype=torch.float64)

    def pulled(row):
        return torch.autograd.grad(code, x, row, retain_graph=True)[0]

    assert_close(torch.func.vmap(pulled)(rows), torch.stack([pulled(row) for row in rows]))


def test_a_gradient_by_the_inputs_computes_none_by_the_weight(monkeypatch, convolution):
    (x, weight, bias), stride, padding = convolution
    code = convolved(x, weight, bias, stride, padding)
    monkeypatch.setattr("caelab.jacobian.convolutions.conv2d_weight", lambda *_: pytest.fail("a weight's gradient"))
    torch.autograd.grad(code.sum(), x)


@pytest.mark.parametrize(
    ("layer", "taken"),
    [
        (nn.Conv2d(2, 3, 4, stride=2, padding=1), True),
        (nn.Conv2d(17, 3, 4, stride=2), False),
        (nn.Conv2d(2, 3, 4), False),
        (nn.Conv2d(2, 4, 4, stride=2, groups=2), False),
        (nn.Conv2d(2, 3, 3, stride=2, dilation=2), False),
        (nn.Conv2d(2, 3, 4, stride=(2, 3)), False),
        (nn.Conv2d(2, 3, 4, stride=2, padding=1, padding_mode="circular"), True),
    ],
)
def test_narrow_strided_ones_alone_are_taken(monkeypatch, layer, taken):
    seen, images = [], torch.rand(2, layer.in_channels, 9, 9)
    mine = convolutions.convolved
    monkeypatch.setattr(convolutions, "convolved", lambda *given: seen.append(given) or mine(*given))
    encode = nn.Sequential(layer, nn.Flatten())
    found = with_narrow_convolutions(encode, encode)(images)
    assert torch.equal(found, encode(images))
    assert bool(seen) is taken


def test_nothing_of_the_process_is_switched():
    """Neither while rows are computed nor afterwards, and convolutions of others are left alone."""
    seen, encode, images = [], conv(), torch.rand(6, 2, 8, 8, dtype=torch.float64)
    encode(images)

    def watching(x):
        seen.append(torch.backends.mkldnn.enabled)
        other = torch.rand(1, 1, 4, 4, requires_grad=True)
        thread = Thread(target=lambda: seen.append(type(F.conv2d(other, other).grad_fn).__name__))
        thread.start()
        thread.join()
        return encode(x)

    before = torch.backends.mkldnn.enabled
    jacobian(watching, images).squared_norm()
    assert {*seen} == {before, "ConvolutionBackward0"}


def test_a_function_has_no_convolutions_that_are_seen():
    function = torch.tanh
    assert with_narrow_convolutions(function, function) is function


def test_an_encoder_that_differentiates_inside_is_left_to_torch():
    layer = conv()

    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return torch.func.grad(lambda y: self.layer(y).square().sum())(x).flatten(1)

    images = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    layer(images)
    encode = Energy()
    found = jacobian(encode, images).squared_norm()
    assert_close(found.detach(), references.dense_jacobian(encode, images).square().sum(dim=(1, 2)))


@pytest.mark.parametrize("largest", [1, 50_000, 10**9])
def test_blocks_of_any_size_give_the_same(largest, monkeypatch):
    """From one row at a time to everything at once, where nothing is computed a second time."""
    encode, images = conv(), torch.rand(6, 2, 8, 8, dtype=torch.float64)
    encode(images)
    parameters = list(encode.parameters())
    dense = torch.stack([torch.autograd.functional.jacobian(encode, x[None], create_graph=True) for x in images])
    exact = dense.square().flatten(1).sum(dim=1)
    monkeypatch.setattr(autodiff, "LARGEST_BLOCK", largest)
    norms = jacobian(encode, images).squared_norm()
    assert_close(norms, exact, rtol=1e-12, atol=0)
    with torch.no_grad():
        assert_close(jacobian(encode, images).squared_norm(), exact, rtol=1e-12, atol=0)
    found, expected = (torch.autograd.grad(each.sum(), parameters, materialize_grads=True) for each in (norms, exact))
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-13)
