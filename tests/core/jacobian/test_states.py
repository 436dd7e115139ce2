"""What was found once is looked at again when something was switched, and not with every batch."""

from functools import partial
from types import ModuleType, SimpleNamespace
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from caelab.jacobian.validation import findings
from caelab.jacobian.validation.states import differs_quietly, state_of
from caelab.training.objective import reconstruction_map

X = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
SWITCH = False
HELP = {"centre": False}
settings = ModuleType("settings")
settings.centre = False


class Net(nn.Module):
    """A layer that can be made to centre its inputs over the batch, in as many ways as there are."""

    shared = False

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.act = nn.Linear(6, 4), nn.Tanh()
        self.centres, self.share, self.mode, self.options = False, 0.0, "alone", {"centre": False}
        self.config = SimpleNamespace(norm=SimpleNamespace(centre=False))
        self.register_buffer("level", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        self.calls += 1  # what an encoder changes itself is no switch
        on = self.centres or self.mode == "batch" or self.options["centre"] or self.config.norm.centre
        on = on or SWITCH or settings.centre or helped() or self.shared
        share = 1.0 if on else self.share + self.level
        return self.act(self.layer(x - share * x.mean(dim=0)))


class Centring(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


class NoisyWeight(nn.Module):
    def forward(self, weight):
        return weight + 0.1 * torch.randn_like(weight)


def helped():
    return HELP["centre"]


def set_attribute(name, value):
    return lambda net: setattr(net, name, value)


def by_the_global(net):
    global SWITCH
    SWITCH = True


SWITCHES = {
    "a flag": set_attribute("centres", True),
    "a number": set_attribute("share", 0.5),
    "a word": set_attribute("mode", "batch"),
    "an entry of a dictionary": lambda net: net.options.update(centre=True),
    "an attribute of an attribute": lambda net: setattr(net.config.norm, "centre", True),
    "a buffer": lambda net: net.level.fill_(1),
    "a global name": by_the_global,
    "a global name of a function that it calls": lambda net: HELP.update(centre=True),
    "a name in another module": lambda net: setattr(settings, "centre", True),
    "an attribute of the class": lambda net: setattr(Net, "shared", True),
    "a hook": lambda net: net.layer.register_forward_hook(lambda module, inputs, output: output - output.mean(dim=0)),
    "a hook before": lambda net: net.act.register_forward_pre_hook(
        lambda module, inputs: inputs[0] - inputs[0].mean(0)
    ),
    "another module": set_attribute("act", Centring()),
    "a module set inside": lambda net: setattr(net, "act", nn.Sequential(nn.Tanh(), Centring())),
    "another forward": lambda net: setattr(net.act, "forward", Centring().forward),
    "noise on the weight": lambda net: parametrize.register_parametrization(net.layer, "weight", NoisyWeight()),
    "a power iteration": lambda net: parametrizations.spectral_norm(net.layer),
    "dropout": lambda net: setattr(net, "act", nn.Dropout()),
}


@pytest.fixture(autouse=True)
def _switch_off():
    global SWITCH
    yield
    SWITCH, HELP["centre"], settings.centre, Net.shared = False, False, False, False


@pytest.mark.parametrize("same_object", [False, True], ids=["another object", "the same object"])
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_a_switch_is_seen(switch, same_object):
    net = Net()
    first = jacobian(net, X)
    first.squared_norm()
    switch(net)
    for _ in range(2):  # and refused each time
        with pytest.raises(CaelabError, match=r"at one example depends on|power iteration|drops units at random"):
            (first if same_object else jacobian(net, X)).squared_norm()


def test_the_mode_is_seen():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.1)).eval()
    jacobian(net, X).squared_norm()
    net.train()
    with pytest.raises(CaelabError, match="normalises by the batch"):
        jacobian(net, X).squared_norm()
    net[1].eval()
    with pytest.raises(CaelabError, match="drops units at random"):
        jacobian(net, X).squared_norm()
    net.eval()
    jacobian(net, X).squared_norm()


def test_a_parameter_that_begins_at_zero_is_looked_at_again():
    """Nothing was switched: the gate opens as training goes on."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.gate = nn.Linear(6, 4), nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return torch.tanh(self.layer(x) - self.gate * x.mean())

    net = Gated()

    def train():
        for _ in range(20):
            jacobian(net, X).squared_norm()
            net.gate.data += 0.1

    with pytest.raises(CaelabError, match="depends on the batch's other examples"):
        train()


class Counted(nn.Module):
    """Counts its passes outside itself."""

    passes = 0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.register_buffer("level", torch.ones(()))

    def forward(self, x):
        type(self).passes += 1
        return torch.tanh(self.layer(x)) * self.level

    def encode(self, x):
        return self(x)


def passes_of(ask, times):
    before = Counted.passes
    for _ in range(times):
        ask()
    return Counted.passes - before


MADE = {
    "a module": lambda net: net,
    "its method": lambda net: net.encode,
    "a function around it": lambda net: lambda x: net(x),
    "a partial application": lambda net: partial(lambda net, x: net(x), net),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("change", [lambda net: None, lambda net: net.level.mul_(0.99)], ids=["still", "annealed"])
def test_later_batches_cost_no_passes_of_their_own(make, change):
    net = Counted()
    encode = make(net)

    def ask():
        change(net)
        _ = jacobian(encode, X).strategy

    ask()
    assert passes_of(ask, 60) < 60 * 6


def test_a_map_of_training_is_remembered(monkeypatch):
    monkeypatch.setattr(findings, "_memories", WeakKeyDictionary())  # this function's uses count over all models
    model = SimpleNamespace(encode=Counted(), decode=lambda code: code @ code.new_ones(4, 6))
    reconstruct = reconstruction_map(model)
    _ = jacobian(reconstruct, X).strategy
    assert passes_of(lambda: jacobian(reconstruct, X).strategy, 6) == 0


def test_a_larger_batch_is_looked_at():
    net = Counted()
    _ = jacobian(net, X).strategy
    assert passes_of(lambda: jacobian(net, X[:3]).strategy, 1) == 0
    assert passes_of(lambda: jacobian(net, X.repeat(3, 1)).strategy, 1) > 0


def test_states_are_equal_as_long_as_nothing_is_switched():
    net = Net()
    state = state_of(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1
    assert state_of(net) == state
    net.share = 0.5
    assert state_of(net) != state
    assert differs_quietly(state_of(net), state)
    net.centres = True
    assert not differs_quietly(state_of(net), state)


def test_a_state_keeps_no_module_alive():
    import gc
    import weakref

    net = Net()
    net.config.owner = net
    jacobian(net, X).squared_norm()
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


WRITERS = {
    "adds one": lambda x: torch.sin(x.add_(1)),
    "doubles behind autograd": lambda x: torch.sin(x.data.mul_(2)) * 0 + torch.sin(x),
    "in place first": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 4)),
}
ASKED = {
    "squared norm": lambda j: j.squared_norm(),
    "estimate": lambda j: j.squared_norm(samples=2),
    "dense": lambda j: j.dense(),
    "jvp": lambda j: j.jvp(X),
    "vjp": lambda j: j.vjp(torch.ones(5, j.shape[0])),
    "singular values": lambda j: j.singular_values(2),
    "tangents": lambda j: j.tangents(1),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("encode", WRITERS.values(), ids=WRITERS)
def test_the_users_inputs_stay_as_they_are(encode, ask):
    inputs = X.clone()
    ask(jacobian(encode, inputs))
    assert torch.equal(inputs, X)
    assert inputs._version == 0
    assert not inputs.requires_grad


def test_a_flag_of_the_inputs_stays_as_it_is():
    inputs = X.clone()
    torch.testing.assert_close(jacobian(lambda x: x.requires_grad_() ** 2, inputs).dense(), torch.diag_embed(2 * X))
    assert not inputs.requires_grad


def test_what_writes_is_measured_right():
    found = jacobian(lambda x: torch.sin(x.add_(1)), X.double()).squared_norm()
    torch.testing.assert_close(found, torch.cos(X.double() + 1).square().sum(dim=1))
    context = torch.ones(5, 1)
    found = jacobian(lambda x, level: torch.sin(x * level.mul_(2)), X, context=context).squared_norm()
    torch.testing.assert_close(found, (2 * torch.cos(2 * X)).square().sum(dim=1))
    assert bool((context == 1).all())


def test_an_activation_that_writes_is_no_step_of_a_chain():
    class Swish(nn.Module):
        def forward(self, z):
            return z.mul_(torch.sigmoid(z))

        def derivative(self, z):
            s = torch.sigmoid(z)
            return s * (1 + z * (1 - s))

    encode = nn.Sequential(nn.Linear(6, 4), Swish()).double()
    plain = nn.Sequential(encode[0], nn.SiLU())
    inputs = X.double()
    torch.testing.assert_close(jacobian(encode, inputs).squared_norm(), jacobian(plain, inputs).squared_norm())


def test_trying_out_leaves_generators_and_buffers_alone():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)
            self.register_buffer("mean", torch.zeros(6))

        def forward(self, x):
            self.mean.mul_(0.9).add_(x.detach().mean(dim=0))
            return torch.tanh(self.layer(x)) + 0 * torch.randn(len(x), 4)

    net, before = Remembers(), torch.get_rng_state()
    passes = []
    net.register_forward_hook(lambda *_: passes.append(None))
    _ = jacobian(net, X).strategy
    assert passes
    assert not bool(net.mean.any())
    assert torch.equal(torch.get_rng_state(), before)
