"""An estimate from one projection goes back through the pass that is known, and makes none of its own."""

from copy import copy
from itertools import count

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.known_pass import known_pass
from caelab.jacobian.recording import recorded
from caelab.jacobian.service import jacobian


class Conv(nn.Module):
    """Counts its calls, where its state does not show it."""

    def __init__(self):
        super().__init__()
        self.conv, self.out, self.calls = nn.Conv2d(1, 3, 3, stride=2), nn.Linear(27, 5), count()

    def forward(self, x):
        next(self.calls)
        return self.out(nn.functional.silu(self.conv(x)).flatten(1))


class Attention(nn.Module):
    """Attention whose fused kernel has no second derivative."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.calls = count()

    def forward(self, x):
        next(self.calls)
        return self.layer(x.reshape(len(x), -1, 8)).mean(dim=1)


NETS = {"conv": (Conv, (6, 1, 8, 8)), "attention": (Attention, (6, 5, 8))}


@pytest.fixture(params=NETS)
def known(request):
    torch.manual_seed(1)
    make, shape = NETS[request.param]
    net, x = make().double(), torch.randn(shape, dtype=torch.float64)
    estimate(net, x, None)  # it is tried out
    estimate(net, x, recorded(net, x))
    return net, x


def calls_of(net, ask):
    before = copy(net.calls)
    ask()
    return next(copy(net.calls)) - next(before)


def estimate(net, x, outputs):
    norms = jacobian(net, x, outputs, gradients=True).squared_norm(1, torch.Generator().manual_seed(2))
    return [norms, *torch.autograd.grad(norms.sum(), list(net.parameters()), materialize_grads=True)]


def by_hand(net, x):
    """The gradient of ‖Jᵀ u‖² for the same signs, by the matrix of a plain loop."""
    signs = torch.randint(0, 2, (len(x), 1, net(x).shape[1]), generator=torch.Generator().manual_seed(2)) * 2.0 - 1
    with sdpa_kernel(SDPBackend.MATH):
        rows = torch.func.vmap(torch.func.jacrev(lambda one: net(one[None])[0]))(x).flatten(2)
    norms = (signs.double() @ rows).square().sum(dim=(1, 2))
    return [norms, *torch.autograd.grad(norms.sum(), list(net.parameters()), materialize_grads=True)]


def test_a_training_step_encodes_once(known):
    net, x = known
    assert calls_of(net, lambda: estimate(net, x, recorded(net, x))) == 1
    assert calls_of(net, lambda: estimate(net, x, None)) == 1


def test_a_code_of_inputs_with_a_gradient_is_enough(known):
    net, x = known
    point = x.clone().requires_grad_()

    def step():
        with sdpa_kernel(SDPBackend.MATH):
            code = net(point)
        return estimate(net, point, code)

    step()  # it is tried out
    assert calls_of(net, step) == 1
    for mine, theirs in zip(step(), by_hand(net, x), strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("outputs", ["recording", "nothing"])
def test_numbers_are_those_of_the_matrix(known, outputs):
    net, x = known
    found = estimate(net, x, recorded(net, x) if outputs == "recording" else None)
    for mine, theirs in zip(found, by_hand(net, x), strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_a_record_that_is_gone_is_made_again(known):
    net, x = known
    passed = recorded(net, x)
    j = jacobian(net, x, passed, gradients=True)
    passed.outputs.sum().backward()
    again = j.squared_norm(1, torch.Generator().manual_seed(2))
    assert_close(again, by_hand(net, x)[0], rtol=1e-9, atol=0)


def test_the_record_of_fused_attention_is_not_taken():
    torch.manual_seed(0)
    net, x = Attention(), torch.randn(6, 5, 8)
    point = x.clone().requires_grad_()
    assert known_pass(point, net(point)) is None
    assert known_pass(x, net(x)) is None
    assert known_pass(point.clone(), net(point)) is None
    norms = jacobian(net, x, recorded(net, x, twice=False)).squared_norm(1)
    norms.sum().backward()
    assert net.layer.linear1.weight.grad is not None


@pytest.mark.filterwarnings("ignore")
def test_compiled_code_is_recorded_as_it_was_written():
    torch.manual_seed(0)
    net, x = Conv(), torch.randn(6, 1, 8, 8)
    compiled = torch.compile(net, backend="aot_eager")
    point = x.clone().requires_grad_()
    assert known_pass(point, compiled(point)) is None
    passed = recorded(compiled, x)
    assert known_pass(passed.point, passed.outputs) is not None
    for mine, theirs in zip(estimate(compiled, x, passed), estimate(net, x, None), strict=True):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_under_autocast_the_answer_is_in_full_precision():
    torch.manual_seed(0)
    net, x = Conv(), torch.randn(6, 1, 8, 8)
    expected = estimate(net, x, None)
    with torch.autocast("cpu", torch.bfloat16):
        passed = recorded(net, x)
        norms = jacobian(net, x, passed).squared_norm(1, torch.Generator().manual_seed(2))
    found = [norms, *torch.autograd.grad(norms.sum(), list(net.parameters()), materialize_grads=True)]
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_code_of_another_map_is_refused():
    torch.manual_seed(0)
    net, other, x = Conv(), Conv(), torch.randn(6, 1, 8, 8, requires_grad=True)
    with pytest.raises(CaelabError, match="are not those of Conv at the inputs"):
        jacobian(net, x, other(x)).squared_norm(1)


def test_an_encoder_that_writes_to_its_inputs_is_recorded_as_it_is():
    layer = nn.Linear(4, 3)

    def encode(x):
        x.mul_(2)
        return torch.tanh(layer(x))

    x = torch.rand(5, 4)
    expected = torch.tanh(layer(2 * x))
    assert_close(recorded(encode, x).outputs, expected)
