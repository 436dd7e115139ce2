import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from caelab import CaelabError
from caelab.jacobian.memory import pieces
from caelab.jacobian.record_size import bytes_per_row
from caelab.jacobian.service import jacobian

MEASURE = r"""
import re, sys, torch
from pathlib import Path
from torch import nn
from caelab.jacobian.service import jacobian
torch.manual_seed(0); torch.set_num_threads(1)
mebibytes, kind, recorded = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "recorded"
encoders = {
    "conv": (nn.Sequential(nn.Conv2d(1, 8, 4, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(1568, 200)),
             torch.rand(64, 1, 28, 28)),
    "chain": (nn.Sequential(nn.Linear(784, 500), nn.Sigmoid(), nn.Linear(500, 200), nn.Sigmoid()),
              torch.rand(200, 784)),
}
encode, inputs = encoders[kind]
samples = int(sys.argv[4]) or None
def compute(inputs, budget, samples):
    with torch.set_grad_enabled(recorded):
        norms = jacobian(encode, inputs, memory_budget=budget).squared_norm(samples)
        if recorded:
            norms.sum().backward()
def peak():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
compute(inputs[:4], 2**24, samples and 4)  # what torch itself takes at first use
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use now
before = peak()
compute(inputs, mebibytes * 2**20, samples)
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["conv", "chain"])
@pytest.mark.parametrize("recorded", ["values", "recorded"])
@pytest.mark.parametrize("samples", [0, 500], ids=["exact", "estimate"])
def test_memory_stays_under_the_budget(kind, recorded, samples):
    """Peak memory of a process of its own; unbounded, these take 300 MiB and more."""
    command = [sys.executable, "-c", MEASURE, "100", kind, recorded, str(samples)]
    exact = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}  # what is freed is given back
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=exact)
    assert float(result.stdout) < 100


def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(18, 7)).double()


@pytest.mark.parametrize("budget", [30_000, 100_000, 10**9])
def test_the_answer_does_not_depend_on_the_budget(budget):
    encode, images = conv(), torch.rand(9, 1, 5, 5, dtype=torch.float64)
    j = jacobian(encode, images, memory_budget=budget)
    exact = jacobian(encode, images)
    assert_close(j.squared_norm(), exact.squared_norm(), rtol=1e-12, atol=0)
    parameters = list(encode.parameters())
    found, expected = (
        torch.autograd.grad(each.squared_norm().sum(), parameters, materialize_grads=True) for each in (j, exact)
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


def test_a_chain_in_pieces_has_the_same_gradient():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8), nn.Sigmoid()).double()
    inputs = torch.rand(20, 6, dtype=torch.float64)
    parameters = list(encode.parameters())
    found = [
        torch.autograd.grad(jacobian(encode, inputs, memory_budget=budget).squared_norm().sum(), parameters)
        for budget in (20_000, None)
    ]
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", ["chain", "conv"])
def test_an_estimate_in_pieces_is_the_same(kind):
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Flatten(), nn.Linear(25, 9), nn.Tanh(), nn.Linear(9, 8), nn.Sigmoid()).double()
    encode, images = chain if kind == "chain" else conv(), torch.rand(9, 1, 5, 5, dtype=torch.float64)
    parameters, found = list(encode.parameters()), []
    for budget in (8_000, 40_000, None):
        j = jacobian(encode, images, memory_budget=budget)
        norms, errors, _ = j.estimated_squared_norm(30, torch.Generator().manual_seed(3))
        grads = torch.autograd.grad(norms.sum(), parameters, materialize_grads=True)
        found.append((norms, errors, *grads))
    for mine, theirs in ((found[0], found[2]), (found[1], found[2])):
        for one, other in zip(mine, theirs, strict=True):
            assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_wide_hidden_layers_count():
    """One example's J is small, what leads to it is not."""
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(10, 5000), nn.Tanh(), nn.Linear(5000, 20))
    inputs = torch.rand(40, 10)
    found = jacobian(encode, inputs, memory_budget=2**23).singular_values()
    assert_close(found, jacobian(encode, inputs).singular_values(), rtol=1e-9, atol=0)


def test_spectra_and_tangents_beyond_the_budget_are_refused():
    layer, x = nn.Linear(784, 500), torch.rand(3, 784)
    for ask in (lambda j: j.singular_values(), lambda j: j.tangents(4, "fast")):
        with pytest.raises(
            CaelabError, match=r"a memory budget of about .* MiB or more for .*(search for 500 directions|one example)"
        ):
            ask(jacobian(layer, x, memory_budget=2**20))
    with pytest.raises(CaelabError, match="or more for a set of random signs"):
        jacobian(layer, x, memory_budget=2**20).squared_norm(samples=3000)


def test_an_impossible_request_is_refused_before_it_starts():
    calls = []

    def encode(inputs):
        calls.append(len(inputs))
        return inputs.flatten(1) * 2

    images = torch.rand(4, 3, 500, 500)
    with pytest.raises(
        CaelabError, match=r"a memory budget of about .* MiB or more for the dense Jacobian, but it is 1 MiB"
    ):
        jacobian(encode, images, memory_budget=2**20).dense()
    assert max(calls) <= 2
    with pytest.raises(CaelabError, match="or more for one row of one example's Jacobian"):
        jacobian(encode, images, memory_budget=2**20).squared_norm()
    with pytest.raises(CaelabError, match="memory budget above 0 bytes, but -5 came"):
        jacobian(encode, images, memory_budget=-5).squared_norm()


def test_pieces_are_even():
    assert [pieces("rows", count, 10, 40) for count in (3, 4, 5, 8, 9)] == [3, 4, 3, 4, 3]


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and not function.is_view:
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


class Slices(nn.Module):
    """A layer whose weight is kept transposed, sliced and, on request, frozen."""

    def __init__(self, frozen=False):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(6, 50), requires_grad=not frozen)

    def forward(self, x):
        return torch.tanh(x @ self.weight[:, 5:45]) @ self.weight[:3, 5:45].T


NETS = {
    "trained": Slices,
    "frozen": lambda: Slices(frozen=True),
    "a method": lambda: Slices().forward,
    "a frozen one's method": lambda: Slices(frozen=True).forward,
    "a function": lambda: (lambda net: lambda x: net(x))(Slices(frozen=True)),
}


@pytest.mark.parametrize("kind", NETS)
def test_parameters_count_for_no_example(kind):
    """Autograd keeps the tanh (40), once or twice, and x (6) where the weight is trained."""
    net, example = NETS[kind](), torch.rand(1, 6)
    kept, own = [4 * 40, 4 * (6 + 2 * 40)], 2 * 4 * 6
    assert 2 * (kept[0] + own) <= bytes_per_row(net, example, recorded=False) <= 2 * (kept[1] + own)
    assert bytes_per_row(net, example, recorded=True) == 3 * bytes_per_row(net, example, recorded=False)


def test_an_encoder_with_a_transform_inside_is_measured_by_what_it_makes():
    """The gradient of Σ softplus(W x)², written out or by torch.func, which allows nobody to count what it saves."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.rand(300, 6))

    def energy(x):
        return nn.functional.softplus(x @ weight.T).square().sum()

    def written_out(x):
        z = x @ weight.T
        return (2 * nn.functional.softplus(z) * torch.sigmoid(z)) @ weight

    sizes = [bytes_per_row(f, torch.rand(1, 6), False) for f in (written_out, torch.func.grad(energy))]
    assert sizes[0] / 2 <= sizes[1] <= 8 * sizes[0]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("ask", ["squared_norm", "vjp", "method"])
def test_the_one_hot_rows_of_a_wide_code_count(recorded, ask):
    """A decoder keeps little of its pass, but as many rows as would fit beside that, one-hot, are 128 MiB."""
    torch.manual_seed(0)
    net, inputs = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4000)), torch.rand(3, 4)
    j = jacobian(lambda x: net(x), inputs, memory_budget=2**21)
    with torch.set_grad_enabled(recorded), LargestTensor() as largest:
        if ask == "vjp":
            j.vjp(torch.rand(3, 5, 4000))
        else:
            _ = j.squared_norm() if ask == "squared_norm" else j.method
    assert largest.bytes <= 2**21
    assert largest.bytes > 0 or ask == "method"  # which may be known from the questions before


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (lambda j: j.squared_norm(), "raise memory_budget, or ask for an estimate with samples=1"),
        (lambda j: j.trace(), "raise memory_budget, or ask for an estimate with samples=1"),
        (lambda j: j.tangents(2, tolerance=1e-3), "raise memory_budget"),
        (lambda j: j.dense(), "give fewer examples at once, or raise memory_budget"),
        (lambda j: j.squared_norm(samples=1), "give fewer examples at once, or raise memory_budget"),
    ],
)
def test_a_budget_below_one_product(ask, remedy):
    encode = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))
    with pytest.raises(
        CaelabError, match=rf"expected a memory budget of about \d+ bytes or more for .*; {remedy}$"
    ) as told:
        ask(jacobian(encode, torch.rand(3, 6), memory_budget=1))
    assert "it is 1 byte;" in str(told.value)


@pytest.mark.parametrize("budget", [0, -1, "a"])
def test_a_budget_that_is_none_is_refused_by_every_question(budget):
    chain = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh())
    with pytest.raises(CaelabError, match="expected a memory budget"):
        jacobian(chain, torch.rand(3, 6), memory_budget=budget).jvp(torch.rand(3, 6))
