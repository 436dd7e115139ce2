import pytest
import torch

from caelab import CaelabError, jacobian
from caelab.models.autoencoder import autoencoder
from caelab.models.sae_pair import sae_pair
from caelab.streams import Streams
from caelab_regularizers.jacobian_sparsity import JacobianSparsity, drawn, nonzero_places
from tests.core.jacobian.references import by_differences, dense_jacobian

INPUTS, UNITS, K, BATCH = 6, 20, 4, 5


@pytest.fixture
def pair():
    torch.manual_seed(0)
    made = sae_pair(INPUTS, hidden=UNITS, k=K).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


@pytest.fixture
def batch():
    return torch.randn(BATCH, INPUTS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def penalty(model, batch, rows, seed=0, weight=1.0):
    code = model.encode(batch)
    terms = JacobianSparsity(weight, rows).penalty_terms(
        model=model,
        clean=batch,
        code=code,
        encoder_jacobian=jacobian(model.encode, batch, code, gradients=True),
        streams=Streams(seed),
    )
    return terms["jacobian-sparsity"]


def pairs_one_by_one(model, codes):
    """Σ |∂h_i/∂a_j| over active i and j, entry by entry from the whole matrix."""
    total = 0
    for code in codes:
        dense = dense_jacobian(model.code_map, code[None], recorded=True)[0]
        after = model.code_map(code[None])[0]
        total += sum(
            dense[i, j].abs() for i in range(UNITS) for j in range(UNITS) if after[i] != 0 and code[j] != 0
        )  # fmt: skip
    return total / len(codes)


def test_it_is_the_sum_over_active_pairs(pair, batch):
    expected = pairs_one_by_one(pair, pair.encode(batch))
    torch.testing.assert_close(penalty(pair, batch, rows=K), expected)
    assert expected > 0.1


def test_its_reference_is_right_by_differences(pair, batch):
    codes = pair.encode(batch).detach()
    where = codes[:, None] != 0  # a small step of an inactive unit of the code is no step of a code that there is
    near, far = dense_jacobian(pair.code_map, codes), by_differences(pair.code_map, codes)
    torch.testing.assert_close(near * where, far * where, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rows", [1, 2, K])
def test_the_gradient_reaches_every_dictionary(pair, batch, rows):
    """Of the sum over all rows; drawn rows have it on average, and of each draw by central differences."""
    names = ["encode.0.weight", "decode.0.directions", "decode.0.bias", "encode_after.0.weight"]
    parameters = [pair.get_parameter(name) for name in names]
    found = torch.autograd.grad(penalty(pair, batch, rows), parameters)
    for parameter, gradient in zip(parameters, found, strict=True):
        along = torch.randn_like(parameter)
        with torch.no_grad():
            above, below = (penalty_moved(pair, batch, rows, parameter, step * along) for step in (1e-6, -1e-6))
        assert float((gradient * along).sum()) == pytest.approx(float(above - below) / 2e-6, rel=1e-5, abs=1e-7)
        assert gradient.abs().max() > 1e-4


def penalty_moved(pair, batch, rows, parameter, step):
    parameter += step
    found = penalty(pair, batch, rows)
    parameter -= step
    return found


def test_the_gradient_is_that_of_the_whole_matrix(pair, batch):
    """By the parameters of the map between the codes; that of the encoder is compared with differences."""
    parameters = [each for each in pair.code_map.parameters() if each.requires_grad]
    values = penalty(pair, batch, K), pairs_one_by_one(pair, pair.encode(batch))
    both = [torch.autograd.grad(each, parameters, allow_unused=True, materialize_grads=True) for each in values]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)


def test_drawn_rows_are_unbiased(pair, batch):
    whole = penalty(pair, batch, K).detach()
    draws = torch.stack([penalty(pair, batch, 1, seed).detach() for seed in range(400)])
    assert float((draws.mean() - whole) / (draws.std() / 20)) == pytest.approx(0, abs=3.5)
    assert draws.std() > 0


def test_the_rows_that_are_drawn_stand_for_the_others():
    present = torch.tensor([[True, True, True, True], [True, True, False, False], [False] * 4])
    places = torch.arange(4).expand(3, 4)
    chosen, weights = drawn(places, present, 3, torch.Generator().manual_seed(0), torch.float64)
    assert weights.tolist()[0] == pytest.approx([4 / 3] * 3)
    assert {int(p) for p, w in zip(chosen[1], weights[1], strict=True) if w} == {0, 1}
    assert weights[1].sum() == 2
    assert not weights[2].any()


def test_places_of_codes_with_fewer_active_units():
    places, present = nonzero_places(torch.tensor([[0.0, 2.0, -1.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]))
    assert [set(p[m].tolist()) for p, m in zip(places, present, strict=True)] == [{1, 2}, {2}, set()]


def test_without_another_code_it_is_the_sum_over_the_encoders_jacobian(batch):
    torch.manual_seed(1)
    model = autoencoder(INPUTS, hidden=[5], activation="relu").double()
    dense = dense_jacobian(model.encode, batch)
    torch.testing.assert_close(penalty(model, batch, 5), dense.abs().sum(dim=(1, 2)).mean())


def test_more_active_units_than_there_are_is_refused():
    with pytest.raises(CaelabError, match="k is 9 of 5"):
        sae_pair(INPUTS, hidden=5, k=9)
