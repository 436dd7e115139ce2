"""What a plugin remembers is part of a checkpoint: an interrupted run ends bit-equal, or says why it starts anew."""

import json
import logging
import random
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, hookimpl, load_run, train
from caelab.training.packing import Unpackable, packed, unpacked

EPOCHS = 5


class Interrupt:
    """Stops training before an epoch, as a person would."""

    def __init__(self, epoch):
        self.epoch = epoch

    @hookimpl
    def before_epoch(self, epoch):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def weights(run):
    return torch.cat([value.flatten().double() for value in run.model.state_dict().values()])


def interrupted(config, make, tmp_path, caplog):
    """Difference in weights and history between a run that was stopped before epoch 4 and one that was not."""
    unbroken = train(config, observers={"mine": make()})
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"mine": make(), "stop": Interrupt(4)})
    caplog.clear()
    with caplog.at_level(logging.WARNING, "caelab"):
        resumed = train(config, out=tmp_path, observers={"mine": make()})
    assert resumed.metrics == unbroken.metrics
    assert torch.equal(weights(resumed), weights(unbroken))
    again = load_run(resumed.path)
    assert torch.equal(weights(again), weights(unbroken))
    return [record.getMessage() for record in caplog.records], again


class RunningMean:
    """Draws the code to its running mean."""

    def __init__(self):
        self.mean = torch.zeros(12)

    @hookimpl
    def penalty_terms(self, code):
        self.mean = 0.9 * self.mean + 0.1 * code.detach().mean(dim=0)
        return {"mine": 20 * (code - self.mean).square().sum(dim=1).mean()}


class Saved(RunningMean):
    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


class Mixed(RunningMean):
    """State of many kinds."""

    def __init__(self):
        super().__init__()
        self.count, self.noise, self.bits = 0, torch.Generator().manual_seed(3), np.random.default_rng(4)
        self.chance = random.Random(5)
        self.last = deque(maxlen=3)

    @hookimpl
    def penalty_terms(self, code):
        self.count += 1
        self.last.append(self.chance.random() + float(self.bits.random()))
        factor = (1 + self.count % 3) * sum(self.last) + float(torch.rand((), generator=self.noise))
        return {name: factor * term for name, term in super().penalty_terms(code).items()}

    def state_dict(self):
        random_ones = {"torch": self.noise, "numpy": [self.bits], ("python", 1): self.chance}
        return {"mean": self.mean, "count": self.count, "of chance": random_ones, "last": self.last}

    def load_state_dict(self, state):
        self.mean, self.count, self.last = state["mean"], state["count"], state["last"]
        ones = state["of chance"]
        self.noise, self.bits, self.chance = ones["torch"], ones["numpy"][0], ones["python", 1]


class Learning(nn.Module):
    """A module with parameters of its own, trained by an optimiser of its own."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.critic = nn.Linear(12, 1)
        self.register_buffer("mean", torch.zeros(12))
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=0.1)

    @hookimpl
    def penalty_terms(self, code):
        self.mean.mul_(0.9).add_(code.detach().mean(dim=0))
        self.optimizer.zero_grad()
        (-self.critic(code.detach()).sigmoid().mean()).backward()
        self.optimizer.step()
        return {"mine": 5 * self.critic(code - self.mean).sigmoid().mean()}

    def state_dict(self, *arguments, **keywords):
        return {"own": super().state_dict(*arguments, **keywords), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state["own"])
        self.optimizer.load_state_dict(state["optimizer"])


class Buffer:
    """Keeps its mean in the model, from before training or from the first batch."""

    early = True

    @hookimpl
    def before_training(self, model):
        if self.early:
            model.encode.register_buffer("mean", torch.zeros(12))

    @hookimpl
    def penalty_terms(self, model, code):
        if not hasattr(model.encode, "mean"):
            model.encode.register_buffer("mean", torch.zeros(12))
        model.encode.mean = 0.9 * model.encode.mean + 0.1 * code.detach().mean(dim=0)
        return {"mine": 20 * (code - model.encode.mean).square().sum(dim=1).mean()}


class LateBuffer(Buffer):
    early = False


class Scale:
    """Gives the model a parameter of its own, which is trained with the rest."""

    @hookimpl
    def before_training(self, model):
        model.register_parameter("scale", nn.Parameter(torch.ones(12)))

    @hookimpl
    def penalty_terms(self, model, code):
        return {"mine": (code * model.scale - 1).square().sum(dim=1).mean()}


class BufferedModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(12))

    @hookimpl
    def penalty_terms(self, code):
        self.mean.mul_(0.9).add_(0.1 * code.detach().mean(dim=0))
        return {"mine": 20 * (code - self.mean).square().sum(dim=1).mean()}


class Unchanging:
    """Remembers nothing but what it makes before training."""

    @hookimpl
    def before_training(self, model):
        self.model, self.parameters = model, list(model.parameters())
        self.start = model.encode[0].weight.detach().clone()

    @hookimpl
    def penalty_terms(self, model, streams):
        self.model.eval()
        self.model.train()
        return {"mine": (model.encode[0].weight - self.start).square().sum()}


class Harmless(RunningMean):
    """What it counts changes no number, and it says so."""

    stateful = False

    @hookimpl
    def penalty_terms(self, code):
        self.mean = code.detach()
        return {"mine": code.square().mean()}


class WithinTheState(Saved):
    def state_dict(self):
        return {"mean": self.mean.numpy(), "more": OrderedDict(a=(1, None), b={2.5, "x"}), 3: torch.float16}

    def load_state_dict(self, state):
        self.mean = torch.as_tensor(state["mean"])
        assert state["more"] == {"a": (1, None), "b": {2.5, "x"}}
        assert state[3] is torch.float16


@pytest.mark.parametrize(
    "make",
    [Saved, Mixed, Learning, Buffer, LateBuffer, Scale, BufferedModule, Unchanging, Harmless, WithinTheState],
)
@pytest.mark.parametrize("patience", [[], ["training.patience=2"]])
def test_an_interrupted_run_goes_on_to_equal_weights(make, patience, small, tmp_path, caplog):
    said, run = interrupted(small("ae", f"training.epochs={EPOCHS}", *patience), make, tmp_path, caplog)
    assert said == []
    if make in (Buffer, LateBuffer):
        assert float(run.model.encode.mean.abs().sum()) > 0
    if make is Scale:
        assert not torch.equal(run.model.scale, torch.ones(12))


class Teacher:
    """A module of its own, beside the model."""

    def __init__(self):
        self.net = nn.Linear(12, 12)
        nn.init.eye_(self.net.weight)
        nn.init.zeros_(self.net.bias)

    @hookimpl
    def penalty_terms(self, code):
        with torch.no_grad():
            self.net.weight.mul_(0.9)
        return {"mine": (code - self.net(code).detach()).square().sum(dim=1).mean()}


class Generator:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    @hookimpl
    def corrupt_input(self, clean):
        return clean + 0.1 * torch.randn(clean.shape, generator=self.generator)


class Counter:
    def __init__(self):
        self.seen = {"batches": [0]}

    @hookimpl
    def penalty_terms(self, code):
        self.seen["batches"][0] += 1
        return {"mine": self.seen["batches"][0] * code.square().mean()}


class Slotted:
    __slots__ = ("__weakref__", "count")

    def __init__(self):
        self.count = 0

    @hookimpl
    def penalty_terms(self, code):
        self.count += 1
        return {"mine": self.count * code.square().mean()}


class ModuleThatCounts(BufferedModule):
    count = 0

    @hookimpl
    def penalty_terms(self, code):
        self.count += 1
        return {"mine": self.count * code.square().mean()}


class OnTheModel:
    """Keeps a number as a plain attribute of the model."""

    @hookimpl
    def penalty_terms(self, model, code):
        model.encode.count = getattr(model.encode, "count", 0) + 1
        return {"mine": model.encode.count * code.square().mean()}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (RunningMean, "plugin 'mine' remembers mean, which"),
        (Teacher, "plugin 'mine' remembers net, which"),
        (Generator, "plugin 'mine' remembers generator, which"),
        (Counter, "plugin 'mine' remembers seen, which"),
        (Slotted, "plugin 'mine' remembers count, which"),
        (ModuleThatCounts, "plugin 'mine' remembers count, which"),
        (OnTheModel, "the model remembers encode.count, which"),
    ],
)
def test_a_plugin_with_state_that_is_not_saved_is_told_and_the_run_starts_anew(make, said, small, tmp_path, caplog):
    found, _ = interrupted(small("ae", f"training.epochs={EPOCHS}"), make, tmp_path, caplog)
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "state_dict() and load_state_dict(state), or stateful = False" in found[0]


OUTSIDE = """
from caelab import hookimpl
{above}
class Mine:
    n, {within} = 0, {value}
    @hookimpl
    def penalty_terms(self, code):
        return {{"mine": (1 + ({count})) * code.square().mean()}}
"""
COUNTING = "def count():\n    N[0] += 1\n    return N[0]\n"
ENCLOSED = (
    "def make():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n        return n\n    return count\n"
)


@pytest.mark.parametrize(
    ("above", "value", "count", "named"),
    [
        ("", "[0]", "self.it.append(1) or len(self.it)", "Mine.it"),
        ("", "{}", "len(self.it) + bool(self.it.update({len(self.it): 1}))", "Mine.it"),
        ("", "0", "setattr(Mine, 'it', Mine.it + 1) or Mine.it", "Mine.it"),
        ("N = [0]", "0", "N.append(1) or len(N)", "N"),
        ("import torch; G = torch.Generator().manual_seed(1)", "0", "torch.rand((), generator=G)", "G"),
        ("N = [0]\n" + COUNTING, "0", "count()", "N"),
        ("N = 0\ndef count():\n    global N\n    N += 1\n    return N", "0", "count()", "N"),
        (ENCLOSED + "count = make()", "0", "count()", "n"),
        ("def count(n=[0]):\n    n[0] += 1\n    return n[0]", "0", "count()", "a default of count"),
        ("import torch; L = torch.nn.BatchNorm1d(1)", "0", "float(L.num_batches_tracked.add_(1))", "L"),
        ("class Box:\n    n = 0\nB = Box()", "0", "setattr(B, 'n', B.n + 1) or B.n", "B"),
    ],
)
def test_a_state_outside_of_the_instance_is_told_too(above, value, count, named, small, tmp_path, caplog):
    def make():  # each time as in a process of its own
        space = {"__name__": "mine_from_text"}
        exec(OUTSIDE.format(above=above, value=value, count=count, within="it"), space)
        return space["Mine"]()

    found, _ = interrupted(small("ae", f"training.epochs={EPOCHS}"), make, tmp_path, caplog)
    assert len(found) == 1
    assert found[0].startswith(f"plugin 'mine' remembers {named}, which")


def test_what_its_code_only_reads_is_no_state(small, tmp_path, caplog):
    above = "import numpy as np, torch\nN, X, T = [1], np.ones(3), torch.ones(2)\ndef count():\n    return N[0] + X[0]"

    def make():
        space = {"__name__": "mine_from_text"}
        exec(OUTSIDE.format(above=above, value="{}", count="count() + float(T[0])", within="it"), space)
        return space["Mine"]()

    assert interrupted(small("ae", f"training.epochs={EPOCHS}"), make, tmp_path, caplog)[0] == []


class Half(RunningMean):
    def state_dict(self):
        return {}


class Odd(Saved):
    def state_dict(self):
        return {"mean": self.mean, "deep": [{"open": open}]}


class Failing(Saved):
    def state_dict(self):
        raise KeyError("gone")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Half, "plugin 'mine' has state_dict but no load_state_dict, so a run that was interrupted could not go on"),
        (
            Odd,
            "plugin 'mine' answers state_dict with what a checkpoint cannot hold: mine.deep.0.open is of type builtin",
        ),
        (Failing, "plugin 'mine' failed in state_dict: KeyError: 'gone'"),
    ],
)
def test_a_state_that_cannot_be_saved_is_told_before_the_first_epoch(make, sentence, small, tmp_path):
    epochs = []

    class Watching:
        @hookimpl
        def before_epoch(self, epoch):
            epochs.append(epoch)

    with pytest.raises(CaelabError) as told:
        train(small("ae"), observers={"mine": make(), "watching": Watching()}, out=tmp_path)
    assert str(told.value).startswith(sentence)
    assert epochs == []


def test_a_state_that_is_not_taken_back_is_told(small, tmp_path):
    class Stubborn(Saved):
        def load_state_dict(self, state):
            raise ValueError("another shape")

    config = small("ae")
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"mine": Stubborn(), "stop": Interrupt(2)})
    with pytest.raises(CaelabError, match="plugin 'mine' failed in load_state_dict: ValueError: another shape"):
        train(config, out=tmp_path, observers={"mine": Stubborn()})


VALUES = [
    None, True, 3, 2**80, -0.5, float("inf"), "text", b"\x00\xff", 1 + 2j, [], (), {}, {1, 2}, [1, (2, [3])],
    {"a": {1: {2.5: None}}}, torch.arange(3), torch.tensor(1.5, dtype=torch.float64), torch.zeros(0, 2),
    torch.tensor([True]), torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j]), torch.int8, torch.device("cpu"),
    np.arange(4.0).reshape(2, 2).T, np.float32(2.5), np.array(True), deque([1, 2], 5), nn.Parameter(torch.ones(2)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was(value):
    tensors = {}
    text = json.dumps(packed({"it": value}, tensors, "x"))
    found = unpacked(json.loads(text), tensors)["it"]
    if isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype
        assert torch.equal(found, value)
    else:
        assert type(found) is type(value)
        assert np.array_equal(found, value) if isinstance(value, np.ndarray | np.generic) else found == value
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator().manual_seed(2), lambda g: torch.rand(5, generator=g).tolist()),
        (np.random.default_rng(2), lambda g: g.random(5).tolist()),
        (np.random.Generator(np.random.Philox(2)), lambda g: g.random(5).tolist()),
        (np.random.Generator(np.random.SFC64(2)), lambda g: g.random(5).tolist()),
        (np.random.RandomState(2), lambda g: g.normal(size=5).tolist()),
        (random.Random(2), lambda g: [g.gauss(0, 1) for _ in range(5)]),
    ],
    ids=["torch", "pcg", "philox", "sfc", "legacy", "python"],
)
def test_a_generator_goes_on_from_where_it_was(generator, draw):
    draw(generator)
    tensors = {}
    text = json.dumps(packed(generator, tensors, "x"))
    expected = draw(generator)
    assert draw(unpacked(json.loads(text), tensors)) == expected


@pytest.mark.parametrize(
    "value",
    [object(), open, lambda: 0, np.array(["a"]), torch.eye(2).to_sparse(), [{"a": Interrupt(1)}]],
    ids=["object", "builtin", "lambda", "texts", "sparse", "instance"],
)
def test_what_cannot_be_packed_is_refused_with_its_place(value):
    with pytest.raises(Unpackable, match=r"^x.* is of type"):
        packed(value, {}, "x")
