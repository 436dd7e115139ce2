"""What a plugin keeps is found and put back, what it says of itself is read, and constants follow the precision."""

import random
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, hookimpl
from caelab.testing import check_analysis, check_penalty, check_regularizer
from caelab.testing.penalty.declared import checked_epoch, checked_flag, declared, known_activations
from caelab.testing.penalty.memory import Memory
from caelab.testing.penalty.precision import InDouble
from tests.core.testing.broken_analyses import Sound

seen = {"count": 0}
total = 0


class Keeper(nn.Module):
    """Keeps something of every kind."""

    shared = 0

    def __init__(self):
        super().__init__()
        self.register_buffer("buffer", torch.zeros(3))
        self.layer = nn.Linear(2, 2)
        self.number, self.rows, self.last, self.unique = 0, [[]], deque(maxlen=2), set()
        self.array, self.nested = np.zeros(2), {"inner": {"deep": torch.zeros(2)}}
        self.stream, self.numpy, self.old = torch.Generator(), np.random.default_rng(0), np.random.RandomState(0)
        self.python = random.Random(0)

    def change(self, what):
        global total
        {
            "self.number": lambda: setattr(self, "number", self.number + 1),
            "self.buffer": lambda: self.buffer.add_(1),
            "self.layer.weight": lambda: self.layer.weight.data.mul_(2),
            "self.rows": lambda: self.rows[0].append(1),
            "self.last": lambda: self.last.append(1),
            "self.unique": lambda: self.unique.add(1),
            "self.array": lambda: self.array.__iadd__(1),
            "self.nested.inner.deep": lambda: self.nested["inner"]["deep"].add_(1),
            "self.stream": lambda: torch.rand(1, generator=self.stream),
            "self.numpy": lambda: self.numpy.random(),
            "self.old": lambda: self.old.rand(),
            "self.python": lambda: self.python.random(),
            "Keeper.shared": lambda: setattr(Keeper, "shared", Keeper.shared + 1),
            "seen.count": lambda: seen.update(count=seen["count"] + 1),
        }.get(what, lambda: None)()
        if what == "global total":
            total += 1


KINDS = (
    "self.number", "self.buffer", "self.layer.weight", "self.rows", "self.last", "self.unique", "self.array",
    "self.nested.inner.deep", "self.stream", "self.numpy", "self.old", "self.python", "Keeper.shared", "seen.count",
    "global total",
)  # fmt: skip


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_of_memory_is_named_and_put_back(what):
    keeper = Keeper()
    memory = Memory(keeper, nn.Linear(1, 1))
    assert memory.changed() == []
    keeper.change(what)
    assert memory.changed() == [what]
    memory.restore()
    assert memory.changed() == []
    keeper.change(what)
    assert memory.changed() == [what], "put back once more"
    memory.restore()


def test_a_closure_a_default_and_a_function_remember_too():
    def outer():
        mean = 0

        def loss(h, memory=[]):  # noqa: B006
            nonlocal mean
            mean, loss.calls = mean + 1, loss.calls + 1
            memory.append(h)

        loss.calls = 0
        return loss

    class Holds:
        function = staticmethod(outer())

    memory = Memory(Holds(), nn.Linear(1, 1))
    Holds.function(1)
    assert len(memory.changed()) == 3
    memory.restore()
    assert memory.changed() == []
    assert Holds.function.calls == 0


def test_a_gradient_with_something_held_constant_is_reported_only_where_the_penalty_says_so():
    """(c - h)² with c = the mean code, which has no gradient, is no error on purpose, and one otherwise."""

    def to_the_mean(h):
        return (h - h.detach().mean(dim=0)).square().sum(dim=1).mean() + h.square().sum(dim=1).mean() * h.detach().sum()

    to_the_mean.over_batch = True
    silent = check_penalty(to_the_mean, raises=False)
    assert any(check.name.startswith("gradient: ") for check in silent.failures)
    to_the_mean.held_constant = "the mean code"
    told = check_penalty(to_the_mean)
    rows = [check for check in told.checks if "it holds constant, on purpose, the mean code" in check.found]
    assert len(rows) > 5
    assert {check.verdict for check in rows} == {"reported"}


def test_the_model_is_nobodys_memory():
    model = nn.Linear(2, 2)
    keeper = Keeper()
    keeper.model = model
    memory = Memory(keeper, model)
    with torch.no_grad():
        model.weight.add_(1)
    kept = model.weight.clone()
    memory.restore()
    assert torch.equal(model.weight, kept)


def test_attributes_are_read_wherever_they_stand():
    def function(): ...

    function.stateful = True

    class Kind:
        epoch = 3

        def method(self): ...

    one = Kind()
    one.over_batch = True
    assert declared([partial(partial(function))], "stateful") is True
    assert declared([one], "epoch") == 3
    assert declared([one.method], "over_batch") is True
    assert declared([Kind, function], "over_batch", "nothing") == "nothing"


@pytest.mark.parametrize("epoch", [-1, 2.5, "five", True])
def test_an_epoch_is_a_whole_number(epoch):
    with pytest.raises(CaelabError, match="expected a whole number, at least 1, as the attribute epoch of 'mine'"):
        checked_epoch("mine", epoch)


def test_what_attributes_may_not_be_is_told():
    assert [checked_epoch("mine", epoch) for epoch in (None, 0, 7)] == [None, None, 7]
    with pytest.raises(CaelabError, match="expected True or False as the attribute over_batch of 'mine', but 'yes'"):
        checked_flag("mine", "over_batch", "yes")
    with pytest.raises(CaelabError, match="unknown activation 'leaky'; did you mean 'leaky-relu'"):
        known_activations("leaky")


@pytest.mark.parametrize("compute", [
    lambda x: x * torch.ones(3, dtype=torch.float32), lambda x: x.float(), lambda x: x.to(torch.float32),
    lambda x: x.type(torch.float32), lambda x: x + torch.zeros(3, dtype=torch.float32).fill_(0.0),
    lambda x: torch.stack([x, torch.zeros(3, dtype=torch.float32)])[0],
    lambda x: torch.ones_like(x, dtype=torch.float32),
    lambda x: torch.where(x > 0, x, torch.tensor(0.0, dtype=torch.float32)),
    lambda x: torch.eye(3, dtype=torch.float32) @ x,
    lambda x: torch.linalg.solve(torch.eye(3, dtype=torch.float32), x),
])  # fmt: skip
def test_float32_is_taken_for_float64(compute):
    x = torch.rand(3, dtype=torch.float64)
    mode = InDouble()
    with mode:
        found = compute(x)
    assert found.dtype is torch.float64
    assert mode.met
    assert torch.equal(found, x) or torch.equal(found, torch.ones_like(x))


def test_what_is_in_float64_already_is_left_alone():
    mode = InDouble()
    x = torch.rand(3, dtype=torch.float64)
    with mode:
        (2 * x @ torch.ones_like(x)).item()
    assert mode.met == {}


class Ends(Sound):
    def measure(self, run, streams):
        raise SystemExit(3)


class Prints(Sound):
    def measure(self, run, streams):
        print("measuring")
        return super().measure(run, streams)


class SetsDefaultType(Sound):
    def measure(self, run, streams):
        torch.set_default_dtype(torch.float64)
        return super().measure(run, streams)


class SpoilsData(Sound):
    def measure(self, run, streams):
        table = super().measure(run, streams)
        run.dataset.inputs.zero_()
        return table


def test_an_analysis_that_ends_prints_or_sets_something_is_told(capsys):
    (row,) = check_analysis(Ends(), raises=False).failures
    assert "it ends the program, with sys.exit(3)" in row.found
    printed = {check.name: check for check in check_analysis(Prints()).checks}
    assert "'measuring'" in printed["prints"].found
    assert capsys.readouterr().out == ""
    (row,) = check_analysis(SetsDefaultType(), raises=False).failures
    assert row.found == "changed: torch's default dtype from torch.float32 to torch.float64 in measure"
    assert torch.get_default_dtype() is torch.float32


def test_an_analysis_that_spoils_data_spoils_no_later_check():
    assert [row.name for row in check_analysis(SpoilsData(), raises=False).failures] == ["run left alone"]
    assert check_analysis(Sound()).passed


def test_a_plugin_that_cannot_be_made_is_one_sentence():
    class Unmade:
        def __init__(self, weight: float):
            raise KeyError("no such file")

        @hookimpl
        def penalty_terms(self, code):
            return {"mine": code.mean()}

    with pytest.raises(CaelabError, match=r"'Unmade' cannot be made with the options .*: KeyError: 'no such file'"):
        check_regularizer(Unmade)


def test_a_weight_that_is_no_number_is_no_factor():
    def weighted(h, weight=(1, 2)):
        return weight[0] * h.abs().sum(1).mean()

    assert check_penalty(weighted).passed
