"""What mixes examples, draws numbers or cannot be cut is refused in every type and size; what does not is measured."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from caelab.jacobian.validation import coupling, findings
from caelab.jacobian.validation.double_precision import in_double
from caelab.jacobian.validation.states import state_of
from tests.core.jacobian import references

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
SIZES = [2, 8, 20]


def draws(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


class Around(nn.Module):
    """One affine layer, and around it what a test says."""

    def __init__(self, code, **held):
        super().__init__()
        torch.manual_seed(6)
        self.layer, self.code = nn.Linear(6, 4), code
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.code(self, x)


def centred(self, x):
    return torch.tanh(self.layer(x - x.mean(dim=0)))


def centred_unseen(self, x):
    return torch.tanh(self.layer(x - x.mean(dim=0).detach()))


def weakly_centred(self, x):
    return torch.tanh(self.layer(x) - 1e-3 * self.layer(x).mean(dim=0))


def beside(self, x):
    return torch.tanh(self.layer(x) + 1e-3 * self.layer(x).roll(1, dims=0))


def dropped(self, x):
    return F.dropout(self.layer(x), 0.02)


OTHERS, CHANCE = "depends on the batch's other examples", "depends on chance"
MIXING = {
    "centred": (centred, OTHERS),
    "centred, unseen by autograd": (centred_unseen, OTHERS),
    "centred by a thousandth": (weakly_centred, OTHERS),
    "a thousandth of the neighbour": (beside, OTHERS),
    "one unit in fifty dropped": (dropped, CHANCE),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("code", "reason"), MIXING.values(), ids=MIXING)
def test_no_type_is_too_coarse_to_see_it(code, reason, kind, size):
    with pytest.raises(CaelabError, match=reason):
        jacobian(Around(code).to(kind), draws(size, 6).to(kind)).squared_norm()


LAYER = nn.Linear(6, 4)
ACROSS = {
    "a millionth of the mean": lambda x: torch.sin(x) - 1e-6 * x.mean(dim=0),
    "a millionth, around a module": lambda x: LAYER(x) - 1e-5 * LAYER(x).mean(dim=0),
    "one example of the one before": lambda x: torch.cat([torch.sin(x[:1]), torch.sin(x[1:]) + 1e-6 * x[:-1]]),
    "above eight": lambda x: torch.sin(x - x.mean(dim=0)) if len(x) > 8 else torch.sin(x),
    "a thousandth, above eight": lambda x: torch.sin(x - (1e-3 * x.mean(dim=0) if len(x) > 8 else 0)),
    "the first of a group of ten": lambda x: torch.sin(x) + (1e-3 * x[:10].sum() if len(x) >= 10 else 0),
    "the largest of all": lambda x: x / x.max(),
    "a threshold of the batch": lambda x: x * (x >= x.flatten().topk(5).values[-1]),
    "over the batch's axis": lambda x: torch.softmax(x, dim=0),
    "every pair": lambda x: torch.cdist(x, x),
}  # fmt: skip


@pytest.mark.parametrize("encode", ACROSS.values(), ids=ACROSS)
def test_no_dependence_is_too_weak_or_too_rare(encode):
    with pytest.raises(CaelabError, match=OTHERS):
        jacobian(encode, draws(20, 6)).squared_norm()


LEVELS = 1 + draws(20, 1)
CUT = {
    "a tensor as long as the batch": lambda x: torch.sin(x) * LEVELS,
    "its beginning": lambda x: torch.sin(x) * LEVELS[: len(x)],
    "how many examples there are": lambda x: torch.sin(x) / len(x),
}


@pytest.mark.parametrize("encode", CUT.values(), ids=CUT)
def test_a_function_that_needs_the_whole_batch_is_pointed_to_the_context(encode):
    with pytest.raises(CaelabError, match=r"gives another output for .* so the batch cannot be cut; .* context="):
        jacobian(encode, draws(20, 6)).squared_norm()
    as_context = jacobian(lambda x, level: torch.sin(x) * level, draws(20, 6), context=LEVELS).squared_norm()
    assert_close(as_context, (torch.cos(draws(20, 6)) * LEVELS).square().sum(dim=1))


def test_an_axis_that_vanishes_with_one_example_is_named():
    with pytest.raises(CaelabError, match=r"maps 1 of the 8 examples to \(4,\), where \(1, 4\) is expect"):
        jacobian(lambda x: torch.sin(x[:, :4]).squeeze(), draws(20, 6)).squared_norm()


class Experts(nn.Module):
    """Every example goes through one of three layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.gate, self.experts = nn.Linear(6, 3), nn.ModuleList(nn.Linear(6, 4) for _ in range(3))

    def forward(self, x):
        chosen, code = self.gate(x).argmax(dim=1), x.new_zeros(len(x), 4)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            code = code.index_add(0, rows, torch.tanh(expert(x[rows])))
        return code


class Energy(nn.Module):
    """Minus the gradient of an energy, which it takes itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(9)
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def until_settled(self, x):
    """As many steps as the slowest example needs."""
    code = torch.zeros(len(x), 4, dtype=x.dtype)
    for _ in range(300):
        new = torch.tanh(self.layer(x) + 0.3 * code)
        if bool((new - code).abs().max() < 1e-6):
            break
        code = new
    return code


def softmax_below_the_largest_of_all(self, x):
    z = self.layer(x)
    shares = torch.exp(z - z.max())
    return shares / shares.sum(dim=1, keepdim=True)


def two_largest(self, x):
    z = self.layer(x)
    return z * (z >= z.topk(2).values[:, 1:])


def strict(self, x):
    assert bool((x.std(dim=1) > 0).all()), "an example without spread"
    return self.layer(x / x.std(dim=1, keepdim=True))


RIGHT = {
    "rounding of the whole batch": partial(Around, softmax_below_the_largest_of_all),
    "as many steps as the slowest": partial(Around, until_settled),
    "centred and back": partial(Around, lambda self, x: torch.tanh(self.layer(x - x.mean(dim=0) + x.mean(dim=0)))),
    "noise of nothing": partial(Around, lambda self, x: torch.tanh(self.layer(x)) + 0 * torch.randn(len(x), 4).to(x)),
    "inputs that it is strict about": partial(Around, strict),
    "the largest two": partial(Around, two_largest),
    "an infinite slope elsewhere": partial(Around, lambda self, x: torch.sqrt(F.relu(self.layer(x)))),
    "experts": Experts,
    "an energy": Energy,
    "norms that stand still": lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.SiLU()).eval(),
    "a norm that is not used": partial(Around, lambda self, x: self.layer(x).tanh(), unused=nn.BatchNorm1d(4)),
    "in place": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 4), nn.SiLU(inplace=True)),
    "attention over places": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.TransformerEncoderLayer(2, 1, 4, batch_first=True)).eval(),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, *SIZES])
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_what_does_not_mix_is_welcome(make, kind, size):
    encode, inputs = make().to(kind), draws(size, 6).to(kind)
    finding = findings.examined(encode, inputs, state_of(encode), lambda: None, lambda: 2**30)
    assert finding.largest == size


@pytest.mark.parametrize("make", [make for name, make in RIGHT.items() if "infinite" not in name])
def test_and_is_measured_right(make):
    encode, inputs = make().double(), draws(5, 6).double()
    expected = references.dense_jacobian(lambda x: encode(x.clone()), inputs).square().sum(dim=(1, 2))
    assert_close(jacobian(encode, inputs).squared_norm().detach(), expected, rtol=1e-7, atol=1e-12)


def test_channels_last_stay_so():
    images = draws(7, 3, 4, 4).to(memory_format=torch.channels_last)
    encode = lambda x: torch.sin(x.permute(0, 2, 3, 1).view(len(x), -1))  # noqa: E731
    assert_close(jacobian(encode, images).squared_norm(), torch.cos(images).square().sum(dim=(1, 2, 3)))


MIXED = {
    "float32 into float64": (lambda self, x: torch.tanh(self.layer(x.double())), torch.float64, torch.float32),
    "float64 into float32": (lambda self, x: torch.tanh(self.layer(x.float())), torch.float32, torch.float64),
    "float32 into bfloat16": (lambda self, x: self.layer(x.bfloat16()).float(), torch.bfloat16, torch.float32),
}


@pytest.mark.parametrize(("code", "kind", "given"), MIXED.values(), ids=MIXED)
def test_an_encoder_that_converts_its_inputs(code, kind, given):
    encode, inputs = Around(code).to(kind), draws(5, 6).to(given)
    expected = references.dense_jacobian(encode, inputs).square().sum(dim=(1, 2))
    assert_close(jacobian(encode, inputs).squared_norm().detach(), expected, rtol=1e-2, atol=0)


def test_one_that_does_not_is_told_the_type():
    with pytest.raises(CaelabError, match=r"its parameters are torch.float64, so convert the inputs with .to\(torch.f"):
        jacobian(nn.Linear(6, 4).double(), draws(5, 6)).squared_norm()


def test_every_pair_of_examples_is_apart_in_some_split():
    for count in range(2, 12):
        splits = coupling.all_splits(count)
        assert all(any(half[i] != half[j] for half in splits) for i in range(count) for j in range(i))


def test_a_copy_in_float64_holds_what_a_function_closes_over():
    copy = in_double(lambda x: LAYER(x) * LEVELS[0])
    assert copy is not None
    inputs = draws(3, 6).double()
    weight, bias = LAYER.weight.detach().double(), LAYER.bias.detach().double()
    assert_close(copy(inputs).detach(), (inputs @ weight.T + bias) * LEVELS[0].double(), rtol=1e-14, atol=0)
    assert LAYER.weight.dtype == torch.float32


def test_what_is_tried_out_stays_small_whatever_the_batch():
    seen = []

    def watched(x):
        seen.append(len(x))
        return torch.sin(x)

    _ = jacobian(watched, draws(5000, 100), memory_budget=2**20).strategy
    assert 8 < max(seen) <= 2**20 // (4 * 100)  # bytes of one example, at the least
