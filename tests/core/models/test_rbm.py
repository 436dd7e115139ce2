from itertools import product

import pytest
import torch
from torch.testing import assert_close

from caelab.errors import CaelabError
from caelab.models.rbm import rbm
from caelab.models.reconstruction import check_objective
from caelab.streams import Streams

VISIBLE, HIDDEN = 4, 3


def machine():
    torch.manual_seed(1)
    model = rbm(VISIBLE, hidden=HIDDEN).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.7 * torch.randn_like(parameter)
    return model


def states(count):
    return torch.tensor(list(product([0.0, 1.0], repeat=count)), dtype=torch.float64)


def energy(model, v, h):
    """-vᵀc - hᵀb - hᵀ W v, written out."""
    layer, back = model.encode[0], model.decode[0]
    return -(v @ back.bias) - (h @ layer.bias) - (h @ layer.weight * v).sum(dim=-1)


def joint(model):
    """The probability of every pair of states, shape (2^visible, 2^hidden)."""
    pairs = [[energy(model, v, h) for h in states(HIDDEN)] for v in states(VISIBLE)]
    return torch.stack([torch.stack(row) for row in pairs]).neg().flatten().softmax(0).reshape(2**VISIBLE, -1)


def test_the_free_energy_sums_over_all_hidden_states():
    model, visible = machine(), states(VISIBLE)
    expected = -torch.stack([(-energy(model, v.expand(8, -1), states(HIDDEN))).logsumexp(0) for v in visible])
    assert_close(model.free_energy(visible), expected, rtol=1e-12, atol=1e-12)


def test_encoder_and_decoder_are_the_conditional_probabilities():
    model = machine()
    table = joint(model)
    assert_close(model.encode(states(VISIBLE)), table @ states(HIDDEN) / table.sum(dim=1, keepdim=True))
    assert_close(model.decode(states(HIDDEN)), table.T @ states(VISIBLE) / table.sum(dim=0)[:, None])


def test_a_long_chain_draws_from_the_model():
    """The probabilities of the last step average to the marginals, within five standard errors."""
    model, count = machine(), 40_000
    start = torch.zeros(count, VISIBLE, dtype=torch.float64)
    found = model.gibbs(start, 50, Streams(0)["chain"])
    expected = joint(model).sum(dim=1) @ states(VISIBLE)
    assert ((found.mean(dim=0) - expected).abs() < 5 * found.std(dim=0) / count**0.5).all()


def test_the_gradient_from_binary_states_of_a_long_chain_is_that_of_the_likelihood():
    model = machine()
    data = torch.tensor([[1.0, 0, 1, 0], [0, 1, 1, 0]], dtype=torch.float64)
    table = joint(model).sum(dim=1)
    index = (data @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long()
    exact = torch.autograd.grad(-table[index].log().mean(), list(model.parameters()))
    many = data.repeat(100_000, 1)
    reached = torch.bernoulli(model.gibbs(many, 30, Streams(0)["chain"]), generator=Streams(0)["last step"])
    loss = (model.free_energy(many) - model.free_energy(reached)).mean()
    for mine, theirs in zip(torch.autograd.grad(loss, list(model.parameters())), exact, strict=True):
        assert_close(mine, theirs, rtol=0, atol=0.006)  # five times the chance in 200 000 draws


def test_an_update_is_the_difference_of_the_statistics():
    """⟨h vᵀ⟩ of the data less ⟨h vᵀ⟩ of the reconstruction, with h and the reconstruction at their probabilities."""
    model, data = machine(), states(VISIBLE)
    weight, bias = torch.autograd.grad(model.training_loss(data, Streams(0)), list(model.encode[0].parameters()))
    reached = model.gibbs(data, 1, Streams(0)["contrastive divergence"])
    first, last = model.encode(data), model.encode(reached)
    assert_close(weight, -(first.T @ data - last.T @ reached) / len(data))
    assert_close(bias, -(first - last).mean(dim=0))


def test_one_step_leaves_the_visible_units_at_their_probabilities():
    model, data = machine(), states(VISIBLE)
    reached = model.gibbs(data, 1, Streams(0)["step"])
    hidden = torch.bernoulli(model.encode(data), generator=Streams(0)["step"])
    assert_close(reached, model.decode(hidden))


def test_data_that_are_no_probabilities_are_refused_whatever_the_error():
    model = rbm(3, hidden=2)
    check_objective("squared-error", model, torch.rand(5, 3))
    with pytest.raises(CaelabError, match=r"RBM has binary units and expects inputs in \[0, 1\], but they lie in \["):
        check_objective("squared-error", model, torch.rand(5, 3) * 4 - 2)
