"""What belongs to each example beside its inputs is cut with the batch, and reaches the encoder as it was given."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests.core.jacobian import references

DRAWS = torch.Generator().manual_seed(3)
X = torch.rand(7, 6, dtype=torch.float64, generator=DRAWS)
NOISE = torch.rand(7, 1, dtype=torch.float64, generator=DRAWS)
CLASSES = torch.tensor([0, 2, 1, 1, 0, 2, 2])
MASK = torch.rand(7, 6, generator=DRAWS) > 0.4
SMALL = 3000  # bytes: a few examples, and a few rows of them, at once


class Conditional(nn.Module):
    """A code that depends on the noise level, the class and a mask of the inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.embed, self.layer = nn.Embedding(3, 5).double(), nn.Linear(6, 5).double()

    def forward(self, x, noise, classes, mask):
        return torch.tanh(self.layer(x * mask) * (1 + noise) + self.embed(classes))


ENCODE = Conditional()
ALONE = nn.Sequential(nn.Linear(6, 5), nn.Tanh()).double()
WAYS = {
    "one tensor": (lambda x, noise: torch.sin(ALONE(x) * (1 + noise)), NOISE),
    "a tuple": (ENCODE, (NOISE, CLASSES, MASK)),
    "a dictionary": (ENCODE, {"mask": MASK, "noise": NOISE, "classes": CLASSES}),
    "one unit": (lambda x, noise: (ALONE(x) * noise).sum(dim=1), NOISE),
    "another layout": (lambda x, t: torch.sin(x[:, :4] * t), torch.rand(7, 4, 2, dtype=torch.float64)[..., 1]),
}


def one_by_one(encode, context):
    """J of every example, with what belongs to it, on its own."""
    matrices = []
    for number, example in enumerate(X):
        named = isinstance(context, dict)
        own = context if isinstance(context, tuple) else (context,)
        rest = {} if not named else {name: value[number : number + 1] for name, value in context.items()}
        places = () if named else [value[number : number + 1] for value in own]
        matrices.append(references.dense_jacobian(lambda x, p=places, r=rest: encode(x, *p, **r), example[None])[0])
    return torch.stack(matrices)


@pytest.mark.parametrize("budget", [None, SMALL])
@pytest.mark.parametrize(("encode", "context"), WAYS.values(), ids=WAYS)
def test_every_answer_is_that_of_the_examples_one_by_one(encode, context, budget):
    dense = one_by_one(encode, context)
    j = jacobian(encode, X, context=context, memory_budget=budget)
    norms, code = dense.square().sum(dim=(1, 2)), dense.shape[1]
    close = {"rtol": 1e-10, "atol": 1e-12}
    assert_close(j.squared_norm().detach(), norms, **close)
    assert_close(jacobian(encode, X, context=context).dense().detach(), dense, **close)
    v = torch.rand(7, 2, 6, dtype=torch.float64, generator=DRAWS)
    u = torch.rand(7, 2, code, dtype=torch.float64, generator=DRAWS)
    assert_close(j.jvp(v).detach(), torch.einsum("bci,bki->bkc", dense, v), **close)
    assert_close(j.vjp(u).detach(), torch.einsum("bci,bkc->bki", dense, u), **close)
    assert_close(j.singular_values(), torch.linalg.svdvals(dense), rtol=0, atol=1e-7)
    if code == 1:  # then every projection is exact
        assert_close(j.squared_norm(samples=3).detach(), norms, **close)
    assert_close(j.tangents(1)[0], torch.linalg.svdvals(dense)[:, :1], rtol=0, atol=1e-7)


def test_estimates_in_pieces_are_those_of_the_whole():
    found = [
        jacobian(ENCODE, X, context=(NOISE, CLASSES, MASK), memory_budget=budget)
        .squared_norm(samples=4, generator=torch.Generator().manual_seed(0))
        .detach()
        for budget in (None, SMALL)
    ]
    assert_close(*found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("budget", [None, SMALL])
@pytest.mark.parametrize("samples", [None, 2])
def test_gradients_by_parameters_and_through_the_context(budget, samples):
    level = NOISE.clone().requires_grad_()
    parameters = [*ENCODE.parameters(), level]

    def total(record=budget):
        j = jacobian(ENCODE, X, context=(level, CLASSES, MASK), memory_budget=record)
        return j.squared_norm(samples, generator=torch.Generator().manual_seed(0)).sum()

    found = torch.autograd.grad(total(), parameters)
    expected = references.parameter_gradients(lambda: float(total(None).detach()), parameters)
    for got, wanted in zip(found, expected, strict=True):
        assert_close(got, wanted, rtol=1e-5, atol=1e-7)


def test_curves_take_it_along():
    directions = nn.functional.normalize(torch.rand(3, 6, dtype=torch.float64, generator=DRAWS), dim=1)
    found = contraction_ratios(ENCODE, X, directions, [0.0, 0.5], context=(NOISE, CLASSES, MASK))
    moved = [ENCODE(X + 0.5 * u, NOISE, CLASSES, MASK) - ENCODE(X, NOISE, CLASSES, MASK) for u in directions]
    assert_close(found[1], torch.stack(moved, dim=1).norm(dim=2).detach() / 0.5)
    limit = torch.einsum("bci,ki->bkc", one_by_one(ENCODE, (NOISE, CLASSES, MASK)), directions).norm(dim=2)
    assert_close(found[0], limit)


REFUSED = {
    "another length": (NOISE[:3], r"argument 1 of the context .* 7 examples, but shape \(3, 1\) came; what all"),
    "one number": ((NOISE, torch.tensor(1.0)), r"argument 2 of the context .* but shape \(\) came"),
    "no tensor": ({"noise": 0.5}, "argument 'noise' of the context .* but float came"),
    "nothing": ((), r"a tensor, a tuple of tensors or a dictionary .* but \(\) came"),
    "a number": (3, "but 3 came"),
    "a name it does not know": ({"level": NOISE}, "unexpected keyword argument 'level'"),
    "too many": ((NOISE, NOISE), "positional arguments"),
}


@pytest.mark.parametrize(("context", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_context_is_refused(context, message):
    with pytest.raises(CaelabError, match=message):
        jacobian(lambda x, noise: torch.sin(x) * noise, X, context=context).squared_norm()


@pytest.mark.parametrize("whole", [np.int64, np.uint8, torch.tensor, int])
def test_counts_of_other_libraries(whole):
    j = jacobian(ALONE, X)
    assert_close(j.singular_values(whole(2)), j.singular_values(2))
    assert_close(j.tangents(whole(2))[0], j.tangents(2)[0])
    estimates = [j.squared_norm(samples=n, generator=torch.Generator().manual_seed(0)) for n in (whole(3), 3)]
    assert torch.equal(*estimates)


@pytest.mark.parametrize("wrong", [True, np.float64(2), np.bool_(True), "2", 0])
def test_what_is_no_count(wrong):
    with pytest.raises(CaelabError, match="whole number of samples"):
        jacobian(ALONE, X).squared_norm(samples=wrong)
    with pytest.raises(CaelabError, match="between 1 and 5 singular values"):
        jacobian(ALONE, X).tangents(wrong)
