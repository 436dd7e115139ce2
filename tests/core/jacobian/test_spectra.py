from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian

LAYERS = {"code narrower": (40, 30), "input narrower": (24, 36)}


def layer_with_spectrum(inputs, code, decay=0.8, activation=None):
    """A sigmoid layer whose weight has singular values 3, 3·decay, ...; its slopes differ by example."""
    torch.manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q for n in (code, inputs))
    rank = min(code, inputs)
    values = 3 * decay ** torch.arange(rank, dtype=torch.float64)
    layer = nn.Linear(inputs, code).double()
    with torch.no_grad():
        layer.weight.copy_((left[:, :rank] * values) @ right[:rank])
        layer.bias.copy_(torch.randn(code))
    return nn.Sequential(layer, activation or nn.Sigmoid()), torch.rand(70, inputs, dtype=torch.float64)


@pytest.fixture(params=LAYERS)
def layer(request):
    return layer_with_spectrum(*LAYERS[request.param])


def svd(encode, inputs):
    """By numpy, from the matrix that automatic differentiation finds."""
    dense = jacobian(lambda x: encode(x), inputs).dense().detach().numpy()
    _, values, right = np.linalg.svd(dense, full_matrices=False)
    return torch.from_numpy(values), torch.from_numpy(right)


def sine(found, expected):
    """The sine of the largest angle between the spaces that the rows span, by example."""
    rest = found - found @ expected.mT @ expected
    return torch.linalg.matrix_norm(rest, ord=2)


def test_all_singular_values(layer):
    encode, inputs = layer
    values, _ = svd(encode, inputs)
    found = jacobian(encode, inputs).singular_values()
    assert found.dtype == torch.float64
    assert_close(found, values, rtol=1e-6, atol=0)
    assert_close(jacobian(encode, inputs).singular_values(method="svd"), values, rtol=1e-11, atol=1e-14)
    assert_close(jacobian(lambda x: encode(x), inputs).singular_values(), values, rtol=1e-6, atol=0)
    assert_close(jacobian(encode, inputs).singular_values(3), values[:, :3], rtol=1e-12, atol=0)


def test_the_tail_is_right_where_a_float32_gram_matrix_is_wrong():
    """Singular values down to 1e-5 of the largest, from a model in float32."""
    encode, inputs = layer_with_spectrum(24, 36, decay=0.6, activation=nn.Identity())
    single = nn.Sequential(nn.Linear(24, 36), nn.Identity())
    single.load_state_dict(encode.state_dict())
    weight = single[0].weight.detach()
    exact = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    naive = torch.linalg.eigvalsh(weight.T @ weight).clamp(min=0).sqrt().flip(0).double().numpy()
    assert np.abs(naive / exact - 1).max() > 0.1
    found = jacobian(single, inputs[:2].float()).singular_values().detach()
    np.testing.assert_allclose(found[0].numpy(), exact, rtol=1e-6)


@pytest.mark.parametrize("widths", [(24, 36), (24, 30, 36)], ids=["one layer", "two layers"])
def test_the_tail_of_a_saturated_float32_encoder(widths):
    """Its slopes h (1 - h) lose their digits in float32; the same weights in float64 say what is right."""
    torch.manual_seed(5)
    steps = [step for pair in pairwise(widths) for step in (nn.Linear(*pair), nn.Sigmoid())]
    single = nn.Sequential(*steps)
    with torch.no_grad():
        for step in single[::2]:
            step.weight.mul_(12)
            step.bias.copy_(torch.linspace(-9, 9, len(step.bias)))
    inputs = torch.rand(6, 24)
    double = deepcopy(single).double()
    exact = torch.linalg.svdvals(jacobian(lambda x: double(x), inputs.double()).dense().detach())
    found = jacobian(single, inputs).singular_values().detach()
    counted = exact > 1e-5 * exact[:, :1]
    assert float((found / exact - 1).abs()[counted].max()) < 1e-6
    slopes_in_single = torch.linalg.svdvals(jacobian(single, inputs).dense().detach().double())
    assert float((slopes_in_single / exact - 1).abs()[counted].max()) > 1e-5  # what it would be otherwise


@pytest.mark.parametrize(
    ("mode", "value_error", "most_sine"), [("exact", 1e-9, 1e-7), ("strict", 1e-6, 1e-3), ("fast", 1e-4, 2e-2)]
)
def test_tangents_of_one_layer(layer, mode, value_error, most_sine):
    encode, inputs = layer
    values, right = svd(encode, inputs)
    found, directions = jacobian(encode, inputs).tangents(4, mode)
    assert_close(found, values[:, :4], rtol=value_error, atol=0)
    assert float(sine(directions, right[:, :4]).max()) <= most_sine
    gram = directions @ directions.mT
    assert_close(gram, torch.eye(4, dtype=torch.float64).expand_as(gram), rtol=0, atol=1e-9)


def test_tangents_of_any_encoder(layer):
    encode, inputs = layer
    deep = nn.Sequential(*encode, nn.Linear(encode[0].out_features, 12).double(), nn.Tanh())
    for each in (deep, lambda x: deep(x)):
        values, right = svd(deep, inputs[:5])
        found, directions = jacobian(each, inputs[:5]).tangents(3)
        assert_close(found, values[:, :3], rtol=1e-9, atol=0)
        assert float(sine(directions, right[:, :3]).max()) <= 1e-6


def test_tangents_where_the_jacobian_lacks_rank():
    """More directions than the rank: the rest are orthonormal all the same."""
    encode = nn.Sequential(nn.Linear(8, 5), nn.Identity()).double()
    with torch.no_grad():
        encode[0].weight[2:] = 0
    values, directions = jacobian(encode, torch.rand(3, 8, dtype=torch.float64)).tangents(4)
    assert_close(values[:, 2:], torch.zeros(3, 2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(directions @ directions.mT, torch.eye(4, dtype=torch.float64).expand(3, 4, 4), rtol=0, atol=1e-12)


def test_the_answers_do_not_depend_on_the_memory_budget(layer):
    encode, inputs = layer
    small = jacobian(lambda x: encode(x), inputs, memory_budget=200_000)
    assert_close(small.singular_values(), jacobian(encode, inputs).singular_values(), rtol=1e-9, atol=1e-9)
    assert_close(small.tangents(2)[0], jacobian(encode, inputs).tangents(2)[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("count", [0, 31])
def test_a_number_of_values_that_there_is_not(count):
    encode, inputs = layer_with_spectrum(40, 30)
    with pytest.raises(CaelabError, match=f"between 1 and 30 singular values .* but {count} came"):
        jacobian(encode, inputs).tangents(count)


def test_unknown_ways():
    encode, inputs = layer_with_spectrum(40, 30)
    with pytest.raises(CaelabError, match="exact, strict or fast, but 'quick' came"):
        jacobian(encode, inputs).tangents(3, "quick")
    with pytest.raises(CaelabError, match="gram or svd, but 'qr' came"):
        jacobian(encode, inputs).singular_values(method="qr")
