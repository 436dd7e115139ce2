import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian import autodiff
from caelab.jacobian.autodiff import narrow_ones_by_matrix_product
from caelab.jacobian.service import jacobian


def conv(channels=2, stride=2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 3, 4, stride=stride, padding=1), nn.Sigmoid(), nn.Flatten(), nn.LazyLinear(5)
    ).double()


@pytest.mark.parametrize(("channels", "stride", "off"), [(2, 2, True), (17, 2, False), (2, 1, False)])
def test_the_switch_is_turned_for_narrow_strided_ones_alone_and_back(channels, stride, off):
    before = torch.backends.mkldnn.enabled
    with narrow_ones_by_matrix_product(conv(channels, stride)):
        assert torch.backends.mkldnn.enabled == (before and not off)
    assert torch.backends.mkldnn.enabled == before


def test_the_switch_is_turned_back_after_an_error():
    before = torch.backends.mkldnn.enabled
    with pytest.raises(RuntimeError), narrow_ones_by_matrix_product(conv()):
        raise RuntimeError
    assert torch.backends.mkldnn.enabled == before


def test_a_function_has_no_convolutions():
    with narrow_ones_by_matrix_product(lambda x: x):
        assert torch.backends.mkldnn.is_available() == torch.backends.mkldnn.enabled


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
