"""Encoders that are not what they seem: each is computed right or refused with a sentence, never wrong in silence."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from tests.core.jacobian import references

X = torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TANH, SQUARE = nn.Tanh(), nn.Linear(4, 4).double()


class Threefold(nn.Dropout):
    def forward(self, x):
        return 3 * x


class Reversed(nn.Flatten):
    def forward(self, x):
        return super().forward(x) * torch.arange(1.0, 7, dtype=x.dtype)


class ReLU(nn.Module):
    """Leaky, under a well-known name."""

    def forward(self, z):
        return torch.where(z > 0, z, 0.5 * z)

    def derivative(self, z):
        return torch.where(z > 0, torch.ones_like(z), torch.full_like(z, 0.5))


class Identity(nn.Module):
    def forward(self, z):
        return 2 * z

    def derivative(self, z):
        return torch.full_like(z, 2)


class LearnedSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, z):
        return z * torch.sigmoid(self.beta * z)

    def derivative(self, z):
        s = torch.sigmoid(self.beta * z)
        return s + self.beta * z * s * (1 - s)


class HoldsLinearAsAffine(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine, self.derivative = nn.Linear(6, 4).double(), False

    def forward(self, x):
        return torch.sin(self.affine(x))


class ByExample(nn.Module):
    """Every example goes through one of two layers."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()

    def forward(self, x):
        return torch.where(x[:, :1] > 0.5, torch.tanh(self.high(x)), torch.tanh(self.low(x)))


def patched(module, forward):
    module.forward = forward
    return module


def hooked(module):
    module.register_forward_hook(lambda module, inputs, output: 2 * output)
    return module


def gradients(encode):
    norms = lambda: float(references.dense_jacobian(encode, X).square().sum())  # noqa: E731
    return references.parameter_gradients(norms, list(encode.parameters()))


def chain(*modules):
    torch.manual_seed(1)
    return nn.Sequential(*modules).double().eval()


ODD = {
    "one activation twice": lambda: chain(nn.Linear(6, 4), TANH, nn.Linear(4, 3), TANH),
    "one layer twice": lambda: chain(nn.Linear(6, 4), nn.Tanh(), SQUARE, nn.Tanh(), SQUARE),
    "a dropout that is none": lambda: chain(nn.Linear(6, 4), Threefold()),
    "a flattening that is none": lambda: chain(Reversed(), nn.Linear(6, 4), nn.Tanh()),
    "a hook on dropout": lambda: chain(nn.Linear(6, 4), hooked(nn.Dropout())),
    "a hook on a flattening": lambda: chain(hooked(nn.Flatten()), nn.Linear(6, 4)),
    "another forward on the instance": lambda: chain(patched(nn.Linear(6, 4), torch.sin), nn.Linear(6, 4)),
    "leaky under the name of ReLU": lambda: chain(nn.Linear(6, 4), ReLU(), nn.Linear(4, 3), ReLU()),
    "twofold under the name of identity": lambda: chain(nn.Linear(6, 4), Identity(), nn.Tanh()),
    "an activation that learns": lambda: chain(nn.Linear(6, 4), LearnedSwish()),
    "one that learns behind another": lambda: chain(nn.Linear(6, 4), nn.Tanh(), LearnedSwish()),
    "a weight that is computed": lambda: chain(weight_norm(nn.Linear(6, 4)), nn.Tanh(), nn.Linear(4, 3)),
    "names taken for other things": lambda: HoldsLinearAsAffine(),
    "examples that go different ways": lambda: ByExample(),
}  # fmt: skip


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_values_and_gradients_of_odd_encoders(make):
    encode = make()
    dense = references.dense_jacobian(encode, X)
    expected = dense.square().sum(dim=(1, 2))
    found = jacobian(encode, X)
    with torch.no_grad():
        assert_close(found.squared_norm(), expected, rtol=1e-9, atol=1e-12)
        assert_close(found.singular_values(), torch.linalg.svdvals(dense), rtol=0, atol=1e-7)
    found.squared_norm().sum().backward()  # the same object, after it was asked without a record
    for parameter, wanted in zip(encode.parameters(), gradients(encode), strict=True):
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert_close(got, wanted, rtol=1e-5, atol=1e-7)


def test_a_hook_on_all_modules_leaves_the_chain_to_autodiff():
    encode = chain(nn.Linear(6, 4), nn.Tanh())
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: 2 * output if isinstance(module, nn.Tanh) else None
    )
    try:
        found = jacobian(encode, X).squared_norm()
        expected = references.dense_jacobian(encode, X).square().sum(dim=(1, 2))
    finally:
        handle.remove()
    assert_close(found, expected, rtol=1e-9, atol=0)


def test_the_code_without_its_history_is_computed_anew():
    encode = chain(nn.Linear(6, 4), nn.Sigmoid())
    jacobian(encode, X, outputs=encode(X).detach()).squared_norm().sum().backward()
    assert_close(encode[0].bias.grad, gradients(encode)[1], rtol=1e-5, atol=1e-7)


OTHER_OUTPUTS = {"of other inputs": (2, slice(0, 5)), "of fewer examples": (1, slice(0, 4)), "of other units": (1, ...)}


@pytest.mark.parametrize(("factor", "part"), OTHER_OUTPUTS.values(), ids=OTHER_OUTPUTS)
def test_a_code_that_is_not_its_own_is_refused(factor, part):
    encode = chain(nn.Linear(6, 4), nn.Sigmoid())
    outputs = encode(factor * X)
    outputs = outputs[:, :3] if part is ... else outputs[part]
    with pytest.raises(CaelabError, match=r"the outputs that were given, of shape .* leave them out"):
        jacobian(encode, X, outputs=outputs).squared_norm()


def test_a_transformer_is_differentiated_though_its_fast_attention_is_not():
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).double().eval()
    encode = lambda x: layer(x.unflatten(1, (3, 2)).repeat(1, 1, 3)).flatten(1)  # noqa: E731
    expected = references.dense_jacobian(encode, X).square().sum(dim=(1, 2))
    found = jacobian(encode, X).squared_norm()
    assert_close(found.detach(), expected, rtol=1e-9, atol=0)
    found.sum().backward()
    weight = layer.self_attn.in_proj_weight
    slope = float((weight.grad * weight.detach()).sum())  # along the weight itself
    with torch.no_grad():
        around = []
        for factor in (1 + 1e-5, (1 - 1e-5) / (1 + 1e-5)):
            weight *= factor
            around.append(float(jacobian(encode, X).squared_norm().sum()))
    assert slope == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-6)


class SaysOtherWeight(nn.Linear):
    def forward(self, x):
        return super().forward(x) + x.sum(dim=1, keepdim=True)

    def affine(self):
        return self.weight, self.bias


class SaysOtherSlope(nn.Module):
    def forward(self, z):
        return torch.tanh(2 * z)

    def derivative(self, z):
        return 1 - torch.tanh(2 * z).square()


class ForgetsHistory(nn.Module):
    def forward(self, z):
        return torch.tanh(z)

    @torch.no_grad()
    def derivative(self, z):
        return 1 - torch.tanh(z).square()


class AcrossExamples(nn.Module):
    """Reads the batch as time."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(6, 4)

    def forward(self, x):
        return self.inner(x)[0]


BATCH_NORM = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
REFUSED = {
    "another weight": (nn.Sequential(SaysOtherWeight(6, 3)), "computes something else than its layers say"),
    "another slope": (nn.Sequential(nn.Linear(6, 3), SaysOtherSlope()), r"saysotherslope is not the derivative.*leave"),
    "a slope without history": (nn.Sequential(nn.Linear(6, 3), ForgetsHistory()), "forgetshistory is not recorded"),
    "batch as time": (AcrossExamples(), "depends on the batch's other examples"),
    "batch as time, backwards": (lambda x: x.flip(0).cumsum(0).flip(0), "depends on the batch's other examples"),
    "the largest of all": (lambda x: x / x.max(), "depends on the batch's other examples"),
    "the largest, unseen by autograd": (lambda x: x / x[:, 0].sum().detach(), "depends on the batch's other examples"),
    "batch norm in a function": (lambda x: BATCH_NORM(x), r"a layer \(BatchNorm1d\) normalises by the batch"),
    "batch norm in a method": (BATCH_NORM.forward, r"\(BatchNorm1d\) normalises"),
    "a way that autograd does not see": (lambda x: torch.tanh(x.detach()), "autograd sees no way from the inputs"),
    "no record": (torch.no_grad()(nn.Linear(6, 3).forward), "autograd sees no way from the inputs of forward"),
    "another width": (nn.Sequential(nn.Linear(7, 3), nn.Tanh()), r"does not take inputs of shape \(4, 6\)"),
    "a tuple": (lambda x: (x, x), r"to tuple; expected an output"),
}  # fmt: skip


@pytest.mark.parametrize(("encode", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_what_it_seems_is_refused(encode, message):
    inputs = X[:4].float()
    before = BATCH_NORM[1].running_mean.clone()
    with pytest.raises(CaelabError, match=message):
        jacobian(encode, inputs).squared_norm()
    assert torch.equal(BATCH_NORM[1].running_mean, before)


def test_images_without_a_flattening_are_refused_as_the_encoder_does():
    images = torch.rand(5, 2, 3)
    with pytest.raises(CaelabError, match=r"does not take inputs of shape \(5, 2, 3\)"):
        jacobian(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), images).squared_norm()
    assert jacobian(nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh()), images).method == "closed form (tanh)"


def test_inference_mode_is_refused_where_it_would_give_zeros():
    with torch.inference_mode(), pytest.raises(CaelabError, match=r"use torch\.no_grad\(\)"):
        jacobian(nn.Sequential(nn.Linear(6, 4), nn.SiLU()), X.float()).squared_norm()


def test_a_function_whose_output_no_parameter_reaches():
    with pytest.raises(CaelabError, match="its output depends on no tensor that requires one"):
        jacobian(lambda x: torch.tanh(x), X, gradients=True).squared_norm()


def test_examples_are_tried_out_within_the_range_of_the_data():
    def strict(x):
        assert bool(((x >= 0) & (x <= 1)).all())
        return torch.sin(x)

    assert_close(jacobian(strict, X).squared_norm(), torch.cos(X).square().sum(dim=1))


def test_not_a_number_is_no_chance():
    broken = X.clone()
    broken[0] = torch.nan
    found = jacobian(lambda x: torch.sin(x), broken).squared_norm()
    assert bool(found[0].isnan())
    assert not bool(found[1:].isnan().any())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda j: j.squared_norm(samples=2.5), "a whole number of samples, at least 1, but 2.5 came"),
        (lambda j: j.singular_values(2.0), "between 1 and 4 singular values .* but 2.0 came"),
    ],
)
def test_numbers_that_count_nothing(ask, message):
    with pytest.raises(CaelabError, match=message):
        ask(jacobian(nn.Linear(6, 4).double(), X))


def test_a_budget_in_words():
    with pytest.raises(CaelabError, match="a number of bytes, but '1GB' came"):
        jacobian(nn.Linear(6, 4).double(), X, memory_budget="1GB").dense()


def test_the_method_is_that_of_the_last_answer():
    j = jacobian(nn.Linear(6, 4).double(), X)
    j.squared_norm(samples=2)
    assert j.method == "estimate (closed form (identity))"
    j.squared_norm()
    assert j.method == "closed form (identity)"
