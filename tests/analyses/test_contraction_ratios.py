from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests.core.jacobian.conftest import ACTIVATIONS, SHAPES, make_case

RADII = [0.0, 0.01, 1.0, 30.0]


@pytest.fixture(params=product(SHAPES, ACTIVATIONS), ids="-".join)
def case(request):
    return make_case(*request.param)


def unit(*shape):
    torch.manual_seed(5)
    u = torch.randn(*shape, dtype=torch.float64)
    return (
        u / u.flatten(-1).norm(dim=-1, keepdim=True)
        if len(shape) < 4
        else u / u.flatten(2).norm(dim=2)[..., None, None]
    )


def brute_force(case, directions):
    """One pair after the other."""
    found = torch.empty(len(RADII), len(case.inputs), directions.shape[1], dtype=torch.float64)
    for number, radius in enumerate(RADII):
        for b, x in enumerate(case.inputs):
            for c, u in enumerate(directions[b]):
                if radius == 0:
                    found[number, b, c] = (case.dense[b] @ u).norm()
                else:
                    pair = case.encode(torch.stack([x, x + radius * u]))
                    found[number, b, c] = (pair[1] - pair[0]).norm() / radius
    return found.detach()


def test_shared_directions(case):
    directions = unit(3, 6)
    expected = brute_force(case, directions.expand(len(case.inputs), 3, 6))
    for encode in (case.encode, case.hidden()):
        assert_close(contraction_ratios(encode, case.inputs, directions, RADII), expected, rtol=1e-9, atol=1e-12)


def test_own_directions(case):
    directions = unit(len(case.inputs), 3, 6)
    expected = brute_force(case, directions)
    for encode in (case.encode, case.hidden()):
        assert_close(contraction_ratios(encode, case.inputs, directions, RADII), expected, rtol=1e-9, atol=1e-12)


def test_more_pairs_than_fit_into_one_block():
    case = make_case("one layer", "sigmoid")
    directions = unit(300, 6)
    together = contraction_ratios(case.encode, case.inputs, directions, RADII)
    apart = [contraction_ratios(case.encode, case.inputs, part, RADII) for part in directions.split(7)]
    assert_close(together, torch.cat(apart, dim=2), rtol=1e-12, atol=0)


def test_a_linear_encoder_has_a_flat_curve():
    encode = nn.Linear(6, 3).double()
    directions = unit(4, 6)
    found = contraction_ratios(encode, torch.rand(5, 6, dtype=torch.float64), directions, RADII)
    assert_close(found, (directions @ encode.weight.T).norm(dim=1).detach().expand_as(found), rtol=1e-9, atol=0)


def test_images():
    encode = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid()).double()
    images, directions = torch.rand(4, 1, 5, 5, dtype=torch.float64), unit(4, 2, 1, 25).reshape(4, 2, 1, 5, 5)
    directions = directions / directions.flatten(2).norm(dim=2)[..., None, None, None]
    found = contraction_ratios(encode, images, directions, [0.0, 1e-6, 0.5])
    assert_close(found[0], found[1], rtol=1e-5, atol=0)
    expected = (encode(images + 0.5 * directions[:, 1]) - encode(images)).flatten(1).norm(dim=1) / 0.5
    assert_close(found[2, :, 1], expected.detach(), rtol=1e-10, atol=0)


def test_wrong_shapes_and_radii():
    case = make_case("one layer", "sigmoid")
    with pytest.raises(CaelabError, match=r"directions of shape \(count, 6\) or \(4, count, 6\), but \(3, 5\) came"):
        contraction_ratios(case.encode, case.inputs, unit(3, 5), RADII)
    with pytest.raises(CaelabError, match="radii of at least 0, but -1 came"):
        contraction_ratios(case.encode, case.inputs, unit(3, 6), [-1.0])
