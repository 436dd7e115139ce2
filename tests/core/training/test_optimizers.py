"""Optimisers, schedules, clipping, warm-up of penalties and early stopping, against loops that are written by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from caelab import CaelabError, hookimpl, train
from caelab.runs.optimisation import Optimisation
from caelab.runs.run import build_model, dataset_of
from caelab.streams import Streams
from caelab.training.batched import train_together
from caelab.training.optimizers import optimizer_of, scheduler_of

UPDATES = 7  # per epoch, of the schedules below


def rates(epochs=6, rate=0.5, **schedule):
    """The learning rate of every update."""
    config = Optimisation(optimizer="sgd", learning_rate=rate, epochs=epochs, schedule=schedule or None)
    optimizer = optimizer_of([torch.nn.Parameter(torch.zeros(1))], config)
    scheduler, found = scheduler_of(optimizer, config, UPDATES), []
    for _ in range(epochs * UPDATES):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return found


def expected(share, epochs=6, rate=0.5, warmup=0.0):
    """The same from a formula: ``share`` of the updates that are done and those that there are, after the warm-up."""
    rising, total = round(warmup * UPDATES), epochs * UPDATES
    rise = [rate * (step + 1) / (rising + 1) for step in range(rising)]
    return rise + [rate * share(step, total - rising) for step in range(total - rising)]


SHARES = {
    "constant": ({"kind": "constant"}, lambda done, all: 1.0),
    "step": ({"kind": "step", "every": 2}, lambda done, all: 0.1 ** (done // (2 * UPDATES))),
    "step by half": ({"kind": "step", "every": 1, "factor": 0.5}, lambda done, all: 0.5 ** (done // UPDATES)),
    "cosine": ({"kind": "cosine"}, lambda done, all: (1 + math.cos(math.pi * done / all)) / 2),
    "cosine to a tenth": (
        {"kind": "cosine", "final": 0.1},
        lambda done, all: 0.1 + 0.9 * (1 + math.cos(math.pi * done / all)) / 2,
    ),
}


@pytest.mark.parametrize("warmup", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", SHARES)
def test_a_schedule_is_its_formula(name, warmup):
    schedule, share = SHARES[name]
    assert rates(**schedule, warmup=warmup) == pytest.approx(expected(share, warmup=warmup), rel=1e-9, abs=1e-12)


def test_without_a_schedule_nothing_changes_the_rate():
    assert rates() == [0.5] * 6 * UPDATES


def by_hand(config, rate_of, make, clip=math.inf, penalty=lambda code, weight, epoch: 0.0):
    """A plain loop over the same batches from the same weights: torch's own optimiser, its rate set from outside."""
    dataset, training = dataset_of(config), config.training
    model, order = build_model(config, dataset), Streams(config.seed)["batch order"]
    optimizer, step = make(model.parameters()), 0
    for epoch in range(1, training.epochs + 1):
        inputs = dataset.train_inputs[torch.randperm(len(dataset.train), generator=order)]
        for batch in torch.split(inputs, training.batch_size):
            code = model.encode(batch)
            error = F.binary_cross_entropy_with_logits(model.logits(code), batch, reduction="none").sum(dim=1).mean()
            loss = error + penalty(code, model.encode[0].weight, epoch)
            optimizer.zero_grad()
            loss.backward()
            norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
            for parameter in model.parameters():
                parameter.grad *= min(1.0, clip / norm)
            optimizer.param_groups[0]["lr"] = rate_of(step)
            optimizer.step()
            step += 1
    return model


def check_same(run, model, tolerance=2e-5):
    for name, value in model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=tolerance, atol=tolerance)


OPTIMIZERS = {
    "adam": ("weight_decay=0.01", lambda p: torch.optim.Adam(p, weight_decay=0.01)),
    "adamw": ("weight_decay=0.1", lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
    "sgd": ("momentum=0.5", lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.5)),
    "rmsprop": ("momentum=0.5", lambda p: torch.optim.RMSprop(p, momentum=0.5)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_torchs(name, small):
    setting, make = OPTIMIZERS[name]
    config = small("ae", f"training.optimizer={name}", f"training.{setting}", "training.learning_rate=0.01")
    check_same(train(config), by_hand(config, lambda step: 0.01, make))


def test_schedule_and_clipping_in_training(small):
    settings = ["training.optimizer=sgd", "training.learning_rate=0.02", "training.clip_norm=0.7"]
    config = small("ae", *settings, "training.schedule={kind: cosine, warmup: 1, final: 0.2}", "training.epochs=4")
    rising, left = 3, 9  # updates: three batches per epoch

    def rate_of(step):
        if step < rising:
            return 0.02 * (step + 1) / (rising + 1)
        return 0.02 * (0.2 + 0.8 * (1 + math.cos(math.pi * (step - rising) / left)) / 2)

    run = train(config)
    check_same(run, by_hand(config, rate_of, lambda p: torch.optim.SGD(p, lr=1.0), clip=0.7))
    assert run.metrics[-1]["learning_rate"] == pytest.approx(0.02 * 0.2)
    unclipped = by_hand(config, rate_of, lambda p: torch.optim.SGD(p, lr=1.0))
    assert not torch.allclose(unclipped.encode[0].weight, run.model.encode[0].weight, atol=1e-3)


class Interrupt:
    @hookimpl
    def before_epoch(self, epoch):
        if epoch == 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["cosine", "{kind: step, every: 1, warmup: 1.5}", "{kind: constant, warmup: 4}"])
def test_an_interrupted_schedule_goes_on_to_the_same_bits(kind, small, tmp_path):
    config = small("cae", "contractive.warmup=4", f"training.schedule={kind}", "training.epochs=6")
    unbroken = train(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"stop": Interrupt()})
    resumed = train(config, out=tmp_path)
    assert resumed.metrics == unbroken.metrics
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def contraction(code, weight, share):
    return share * ((code * (1 - code)).square() @ weight.square().sum(dim=1)).mean()


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_penalty_rises_to_its_full_weight(epochs, small):
    config = small("cae", "contractive.weight=0.5", f"contractive.warmup={epochs}", "training.epochs=5")
    shares = {epoch: min(1, epoch / (epochs + 1)) for epoch in range(1, 6)}
    reference = by_hand(
        config,
        lambda step: 1e-3,
        torch.optim.Adam,
        penalty=lambda code, weight, epoch: contraction(code, weight, 0.5 * shares[epoch]),
    )
    check_same(train(config), reference)
    check_same(train_together([config, config.with_seed(1)])[0], reference)


def test_a_penalty_that_rises_changes_no_other(small):
    settings = ["contractive.weight=1", "weight-decay.weight=0.1"]
    both = train(small("cae", *settings, "contractive.warmup=2", "training.epochs=1"))
    plain = train(small("cae", *settings, "training.epochs=1"))
    assert both.metrics[0]["train_weight-decay"] == pytest.approx(plain.metrics[0]["train_weight-decay"], rel=1e-2)
    third = plain.metrics[0]["train_contractive"] / 3
    assert both.metrics[0]["train_contractive"] == pytest.approx(third, rel=1e-2)


class Counts:
    """A metric that is largest in the second epoch, and NaN in the third."""

    @hookimpl
    def extra_metrics(self, epoch):
        return {"liking": {2: 5.0, 3: math.nan}.get(epoch, 1.0)}


@pytest.mark.parametrize(("better", "best"), [("larger", 2), ("smaller", 1)])
def test_early_stopping_by_any_metric(better, best, small):
    settings = ["training.patience=2", "training.monitor=liking", f"training.better={better}", "training.epochs=9"]
    run = train(small("ae", *settings), regularizers={"counts": Counts()})
    assert len(run.metrics) == best + 2
    until = train(small("ae", f"training.epochs={best}"))
    assert torch.equal(run.model.encode[0].weight, until.model.encode[0].weight)


def test_a_metric_that_is_not_there_is_told_with_the_nearest(small):
    settings = ["training.patience=2", "training.monitor=valid_reconstuction"]
    with pytest.raises(CaelabError, match="unknown metric of an epoch 'valid_reconstuction'; did you mean 'valid_r"):
        train(small("ae", *settings))


WRONG = {
    "training.optimizer=adamw": "training: expected weight_decay, since adamw is Adam with decoupled weight decay",
    "training.optimizer=lbfgs": "training.optimizer: input should be 'adam', 'adamw', 'sgd' or 'rmsprop', but 'lbfgs'",
    "training.schedule=step": "training.schedule: expected the key every, the number of epochs after which",
    "training.schedule={kind: cosine, every: 3}": "training.schedule: every belongs to the kind step; leave it out",
    "training.schedule={kind: cosine, warmup: 3}": "it takes 3.0 of 3 epochs; lower schedule.warmup",
    "training.schedule={kind: cosine, warmup: -1}": "training.schedule.warmup: input should be greater than or equal",
    "training.schedule=cosin": "training.schedule.kind: input should be 'constant', 'step' or 'cosine', but 'cosin'",
    "training.schedule.warmup=1": "training.schedule: expected the key kind, too: constant, step or cosine",
    "training.schedule=5": "training.schedule: input should be a valid dictionary, but 5 came",
    "layers=5": "layers: input should be a valid list, but 5 came",
    "training.clip_norm=0": "training.clip_norm: input should be greater than 0",
    "training.monitor=liking": "training: monitor and better say how patience judges an epoch, so give patience too",
    "contractive.warmup=0": "contractive.warmup: input should be greater than or equal to 1",
    "contractive.warmup=true": "contractive.warmup: a number is expected, but True came",
    "contractive.warmpu=2": "unknown option 'warmpu'",
}


@pytest.mark.parametrize("setting", WRONG)
def test_wrong_settings_are_told(setting, small):
    with pytest.raises(CaelabError) as told:
        small("cae", setting)
    assert WRONG[setting] in str(told.value)
    assert "\n" not in str(told.value)


def test_a_corruption_has_no_weight_that_could_rise(small):
    with pytest.raises(CaelabError, match=r"^gaussian.warmup: the weight of a penalty rises .* adds no penalty; leave"):
        train(small("dae-g", "gaussian.warmup=2"))


def test_what_is_not_set_leaves_no_trace(small):
    plain = small("cae").as_dict()
    assert not {"schedule", "clip_norm", "weight_decay", "monitor", "better"} & plain["training"].keys()
    assert "warmup" not in plain["regularizers"]["contractive"]
