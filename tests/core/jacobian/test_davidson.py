"""Leading singular vectors without forming the matrices, on the inputs that such a search may fail at."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian import davidson
from caelab.jacobian.linalg import eigenvalues, gram, leading_eigenpairs, whole_gram
from caelab.jacobian.service import jacobian
from caelab.jacobian.singular_values import tangents_of_matrix

MODES = {"strict": (1e-6, 1e-3), "fast": (1e-4, 2e-2)}


class Slopes(nn.Module):
    """s(z) = z²/2: its slope is z, whatever a test wants."""

    def forward(self, z):
        return z.square() / 2

    def derivative(self, z):
        return z


def layer_with(slopes, weight):
    """An encoder and inputs at which J_b = diag(slopes_b) W, for a W with no more rows than columns."""
    encode = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0]), Slopes()).double()
    with torch.no_grad():
        encode[0].weight.copy_(weight)
        encode[0].bias.zero_()
    return encode, (torch.linalg.pinv(weight) @ slopes.T).T


def svd(dense, count):
    _, values, right = np.linalg.svd(dense.numpy(), full_matrices=False)
    return torch.from_numpy(values[:, :count]), torch.from_numpy(right[:, :count])


def sine(found, expected):
    return torch.linalg.matrix_norm(found - found @ expected.mT @ expected, ord=2)


@pytest.fixture
def weight():
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(60, 60)).Q, torch.linalg.qr(torch.randn(90, 60)).Q
    return ((left * 0.9 ** torch.arange(60)) @ right.T).double()


@pytest.mark.parametrize("mode", MODES)
def test_examples_unlike_the_mean(weight, mode):
    """A dead one, one with a unit that is off for all others, and one in which everything is off but three units."""
    slopes = torch.rand(20, 60, dtype=torch.float64)
    slopes[:, 7] = 0
    slopes[3] = 0
    slopes[5, 7] = 8
    slopes[6, 3:] = 0
    encode, inputs = layer_with(slopes, weight)
    assert_close(jacobian(encode, inputs).dense().detach(), slopes[:, :, None] * weight, rtol=1e-9, atol=1e-12)
    values, directions = jacobian(encode, inputs).tangents(4, mode)
    expected, right = svd(slopes[:, :, None] * weight, 4)
    value_error, most_sine = MODES[mode]
    assert_close(values, expected, rtol=value_error, atol=1e-12)
    assert_close(directions @ directions.mT, torch.eye(4, dtype=torch.float64).expand(20, 4, 4), rtol=0, atol=1e-9)
    unique = torch.tensor([b for b in range(20) if b not in (3, 6)])  # there the fourth direction is arbitrary
    assert float(sine(directions, right)[unique].max()) <= most_sine


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", [200, 300])
def test_singular_values_that_fall_slowly(mode, code):
    """As in a trained layer: 150 of 250 directions matter, and units are on and off by example."""
    torch.manual_seed(6)
    left, right = torch.linalg.qr(torch.randn(code, code)).Q, torch.linalg.qr(torch.randn(250, 250)).Q
    rank = min(code, 250)
    encode = nn.Sequential(nn.Linear(250, code), nn.Sigmoid()).double()
    with torch.no_grad():
        encode[0].weight.copy_((left[:, :rank] * 8 * 0.985 ** torch.arange(rank)) @ right[:, :rank].T)
    inputs = torch.randn(40, 250, dtype=torch.float64)
    values, directions = jacobian(encode, inputs).tangents(10, mode)
    expected, true = svd(jacobian(lambda x: encode(x), inputs).dense().detach(), 10)
    value_error, most_sine = MODES[mode]
    assert_close(values, expected, rtol=value_error, atol=0)
    assert float(sine(directions, true).max()) <= most_sine


def axes(turn=None):
    """Every unit looks at one direction: nothing is coupled to anything, and no residual tells what is missing."""
    encode = nn.Sequential(nn.Linear(200, 200), nn.Sigmoid()).double()
    with torch.no_grad():
        encode[0].weight.copy_(3 * (torch.eye(200) if turn is None else turn))
        encode[0].bias.copy_(torch.linspace(-4, 4, 200))
    return encode, 0.5 * torch.randn(16, 200, dtype=torch.float64)


def turned_axes():
    """The same without a weight that is 0."""
    return axes(torch.linalg.qr(torch.randn(200, 200)).Q)


def patches():
    """Local receptive fields, most of which do not overlap."""
    encode = nn.Sequential(nn.Linear(256, 200), nn.Sigmoid()).double()
    weight = torch.zeros(200, 16, 16, dtype=torch.float64)
    for unit in weight:
        row, column = torch.randint(0, 13, (2,)).tolist()
        unit[row : row + 4, column : column + 4] = torch.randn(4, 4)
    with torch.no_grad():
        encode[0].weight.copy_(weight.flatten(1))
        encode[0].bias.copy_(2 * torch.randn(200))
    return encode, torch.rand(32, 256, dtype=torch.float64)


def blocks():
    """Thirty groups of eight ReLU units, each with inputs of its own."""
    encode = nn.Sequential(nn.Linear(240, 240), nn.ReLU()).double()
    with torch.no_grad():
        encode[0].weight.copy_(torch.block_diag(*(torch.randn(8, 8) * (0.5 + torch.rand(())) for _ in range(30))))
        encode[0].bias.copy_(torch.randn(240))
    return encode, 0.3 * torch.randn(32, 240, dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [axes, turned_axes, patches, blocks])
def test_what_is_not_coupled_to_the_rest_is_found(make, mode):
    torch.manual_seed(0)
    encode, inputs = make()
    values, directions = jacobian(encode, inputs).tangents(3, mode)
    dense = jacobian(lambda x: encode(x), inputs).dense().detach()
    all_values = torch.linalg.svdvals(dense)
    value_error, most_sine = MODES[mode]
    assert_close(values, all_values[:, :3], rtol=value_error, atol=0)
    apart = all_values[:, 2] - all_values[:, 3] > 1e-4 * all_values[:, 2]
    assert float(sine(directions, svd(dense, 3)[1])[apart].max()) <= most_sine


def test_the_reach_of_the_tail_is_no_less_than_its_largest_eigenvalue():
    torch.manual_seed(0)
    encode, inputs = blocks()
    weight, slope = encode[0].weight.detach(), (encode(inputs) > 0).double()
    operator = davidson.Operator.shared_by(weight, slope, 3)
    reach = davidson.reach_of_tail(operator, davidson.Search.within_head(operator, slope))
    matrices = (operator.tail * slope.square()[:, None]) @ operator.tail.T
    assert bool((reach >= torch.linalg.eigvalsh(matrices)[:, -1]).all())


@pytest.mark.parametrize("mode", MODES)
def test_singular_values_without_a_gap_are_computed_exactly(mode):
    """Equal singular values: no angle is ever small, and what comes is right all the same."""
    torch.manual_seed(1)
    weight = torch.linalg.qr(torch.randn(80, 60, dtype=torch.float64)).Q.T
    slopes = torch.ones(5, 60, dtype=torch.float64) + 1e-9 * torch.rand(5, 60, dtype=torch.float64)
    encode, inputs = layer_with(slopes, weight)
    values, directions = jacobian(encode, inputs).tangents(3, mode)
    assert_close(values, torch.ones_like(values), rtol=1e-7, atol=0)
    assert_close((directions @ weight.T).norm(dim=2), values, rtol=1e-7, atol=0)


def test_a_search_that_is_cut_short_says_so(weight, monkeypatch):
    torch.manual_seed(2)
    slopes = torch.rand(4, 60, dtype=torch.float64)
    operator = davidson.Operator.shared_by(weight, slopes, 2)
    *_, settled = davidson.leading_right_vectors(operator, slopes, 2, sine=1e-14)
    assert bool(settled.all())  # within six steps the basis spans everything
    monkeypatch.setattr(davidson, "MOST_STEPS", 0)
    *_, settled = davidson.leading_right_vectors(operator, slopes, 2, sine=1e-14)
    assert not bool(settled.any())
    encode, inputs = layer_with(slopes, weight)
    values, directions = jacobian(encode, inputs).tangents(2, "strict")
    expected, right = svd(slopes[:, :, None] * weight, 2)
    assert_close(values, expected, rtol=1e-6, atol=0)
    assert float(sine(directions, right).max()) <= 1e-3


def test_the_estimate_is_the_angle(weight):
    """To a fifth, close to the truth: the first space alone, against numpy."""
    torch.manual_seed(3)
    slopes = 1 + 0.1 * torch.rand(30, 60, dtype=torch.float64)
    operator = davidson.Operator.shared_by(weight, slopes, 4)
    search = davidson.Search.within_head(operator, slopes)
    found = davidson.ritz(operator, search, 4)
    plain = leading_eigenpairs(search.gram, 4)[1] @ operator.axes[: len(operator.head)]
    true = sine(plain, svd(slopes[:, :, None] * weight, 4)[1])
    assert float(true.min()) > 1e-5
    assert_close(found.sine, true, rtol=0.2, atol=0)


@pytest.mark.parametrize("shape", [(9, 5), (200, 150)])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_eigenpairs_of_gram_matrices(shape, count):
    torch.manual_seed(4)
    matrix = torch.randn(shape, dtype=torch.float64)
    expected = np.linalg.eigvalsh((matrix.T @ matrix).numpy())[::-1].copy()
    assert_close(whole_gram(matrix), matrix.T @ matrix, rtol=1e-12, atol=1e-12)
    assert_close(whole_gram(matrix.float()), (matrix.T @ matrix).float(), rtol=1e-4, atol=1e-4)
    assert_close(eigenvalues(gram(matrix)), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)
    values, vectors = leading_eigenpairs(gram(matrix), count)
    assert_close(values, torch.from_numpy(expected[:count].copy()), rtol=1e-12, atol=0)
    assert_close(vectors @ (matrix.T @ matrix), values[:, None] * vectors, rtol=0, atol=1e-10)
    stacked = leading_eigenpairs(torch.stack([gram(matrix)] * 2), count)
    assert_close(stacked[0][1], values, rtol=1e-12, atol=0)


def test_numbers_that_are_not_finite_are_no_spectrum():
    matrix = torch.full((150, 150), torch.nan, dtype=torch.float64)
    for compute in (eigenvalues, lambda m: leading_eigenpairs(m, 3)):
        with pytest.raises(CaelabError, match="not finite"):
            compute(matrix)


def test_matrices_of_low_rank():
    torch.manual_seed(5)
    dense = torch.randn(3, 7, 2, dtype=torch.float64) @ torch.randn(3, 2, 9, dtype=torch.float64)
    values, directions = tangents_of_matrix(dense, 3)
    assert_close(values, svd(dense, 3)[0], rtol=1e-9, atol=1e-12)
    assert_close(directions @ directions.mT, torch.eye(3, dtype=torch.float64).expand(3, 3, 3), rtol=0, atol=1e-10)
