"""Updates whose gradient is written out, against autograd and torch's own optimisers in float64."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from caelab.classifiers.network import Network
from caelab.classifiers.options import FineTuning
from caelab.classifiers.steps import AutogradStep, ChainStep, InPlaceStep, Updating, step_of
from caelab.models.autoencoder import autoencoder
from caelab.training.optimizers import optimizer_of, scheduler_of

BATCHES = 5
STEPS = {
    "sgd": (InPlaceStep, {"momentum": 0.0}),
    "sgd, momentum": (InPlaceStep, {"momentum": 0.9}),
    "sgd, decay": (InPlaceStep, {"momentum": 0.0, "weight_decay": 0.1}),
    "sgd, momentum and decay": (InPlaceStep, {"momentum": 0.9, "weight_decay": 0.1}),
    "sgd, clipped": (ChainStep, {"clip_norm": 0.05}),
    "sgd, cosine": (ChainStep, {"schedule": {"kind": "cosine", "warmup": 0.4}, "epochs": 1}),
    "adam": (ChainStep, {"optimizer": "adam", "learning_rate": 0.01}),
    "adamw": (ChainStep, {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}),
    "rmsprop": (ChainStep, {"optimizer": "rmsprop", "learning_rate": 0.01}),
}


def network_of(hidden=(7, 5), activation="sigmoid"):
    torch.manual_seed(0)
    model = autoencoder(6, hidden=[*hidden], activation=activation).double()
    return Network(model, 4, torch.zeros(1, 6, dtype=torch.float64), torch.Generator().manual_seed(1))


def stepping(network, options):
    parameters = network.trainable()
    optimizer = optimizer_of(parameters, options)
    updating = Updating(parameters, optimizer, scheduler_of(optimizer, options, BATCHES), options)
    return step_of(network, updating, 6, torch.Generator().manual_seed(3)), updating


def batches():
    stream = torch.Generator().manual_seed(2)
    return [
        (torch.rand(8, 6, generator=stream, dtype=torch.float64), torch.randint(4, (8,), generator=stream))
        for _ in range(BATCHES)
    ]


def plainly(network, options):
    """The same updates with torch's own optimiser and autograd; the losses before each."""
    parameters = network.trainable()
    optimizer = optimizer_of(parameters, options)
    scheduler = scheduler_of(optimizer, options, BATCHES)
    losses = []
    for inputs, targets in batches():
        optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), targets)
        loss.backward()
        if options.clip_norm:
            nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize(("hidden", "activation"), [((7,), "sigmoid"), ((7, 5), "tanh"), ((7, 5, 6), "relu")])
def test_a_written_out_update_is_autograds(case, hidden, activation):
    kind, given = STEPS[case]
    options = FineTuning(seed=0, **given)
    ours, theirs = network_of(hidden, activation), network_of(hidden, activation)
    step, _ = stepping(ours, options)
    assert type(step) is kind
    losses = [float(step(*batch)["loss"]) for batch in batches()]
    assert losses == pytest.approx(plainly(theirs, options), rel=1e-12)
    start = network_of(hidden, activation).state_dict()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-10, atol=1e-13)
        assert "encode" not in name or not torch.equal(value, start[name])


def test_gradients_are_central_differences():
    """The gradient that an update of plain descent with rate 1 takes off, entry by entry."""
    network, after = network_of((5,)), network_of((5,))
    step, _ = stepping(after, FineTuning(seed=0, momentum=0.0, learning_rate=1.0))
    inputs, targets = batches()[0]
    step(inputs, targets)
    for before, changed in zip(network.trainable(), after.trainable(), strict=True):
        taken = (before - changed).detach()
        for place in [(0,) * before.ndim, tuple(n - 1 for n in before.shape)]:
            losses = []
            for shift in (1e-6, -1e-6):
                moved = deepcopy(network)
                pair = dict(zip(map(id, network.trainable()), moved.trainable(), strict=True))
                with torch.no_grad():
                    pair[id(before)][place] += shift
                losses.append(float(F.cross_entropy(moved(inputs), targets).detach()))
            assert float(taken[place]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6, abs=1e-9)


def test_what_is_not_a_chain_goes_through_autograd():
    options = FineTuning(seed=0)
    conv = nn.Module()
    conv.encode = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.Flatten()).double()
    step, _ = stepping(Network(conv, 4, torch.zeros(1, 6, dtype=torch.float64)), options)
    assert type(step) is AutogradStep
    dropping = network_of()
    dropping.model.encode.append(nn.Dropout(0.5))
    assert type(stepping(dropping, options)[0]) is AutogradStep
    for given in ({"dropout": 0.5}, {"input_dropout": 0.2}, {"tangents": 2, "tangent_weight": 0.0}):
        assert type(stepping(network_of(), FineTuning(seed=0, **given))[0]) is AutogradStep


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    step, _ = stepping(network_of(), FineTuning(seed=0, dropout=0.25))
    kept = step.dropped(torch.ones(400, 500), 0.25)
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((kept == 0).double().mean()) == pytest.approx(0.25, abs=0.005)  # ten standard errors
    assert float(kept.mean()) == pytest.approx(1, abs=0.01)


def test_a_step_by_autograd_is_the_written_out_one():
    ours, theirs = network_of(), network_of()
    step, _ = stepping(ours, FineTuning(seed=0))
    plain = AutogradStep(theirs, stepping(theirs, FineTuning(seed=0))[1], None, torch.Generator())
    for batch in batches():
        assert float(step(*batch)["loss"]) == pytest.approx(float(plain(*batch)["loss"]), rel=1e-12)
