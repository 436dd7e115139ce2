"""Runs that are trained side by side, against the same runs trained one after another."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from caelab import CaelabError, hookimpl, load_run, train
from caelab.process.threads import one_thread
from caelab.registry.catalogue import Offer, catalogue
from caelab.training import batched
from caelab.training.batched import train_together
from caelab.training.fused import TiedLayer, TiedObjective
from caelab.training.norm_penalties import Unlike, factors
from caelab.training.plugins import TrainingPlugins
from caelab.training.stacked import Stack


@dataclass(eq=False)
class Warm:
    """A penalty that grows with the epochs."""

    weight: float

    @hookimpl
    def penalty_terms(self, encoder_jacobian, epoch):
        return {"warm": self.weight * epoch * encoder_jacobian.squared_norm().mean()}


def penalty(function, *asked):
    """A plugin with a penalty of its own on what it asks for."""
    arguments = ", ".join(["self", *asked])
    scope = {"function": function}
    exec(f"def penalty_terms({arguments}):\n    return function({', '.join(asked)})", scope)
    return type("Penalty", (), {"penalty_terms": hookimpl(scope["penalty_terms"])})()


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    catalogue().offers["regularizer", "warm"] = Offer("regularizer", "warm", "test", Warm)


def assert_same(found, expected):
    """The same weights, history and record, but for rounding and times; what a stored run outputs is its weights'."""
    for name, value in expected.model.state_dict().items():
        assert_close(found.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert len(found.metrics) == len(expected.metrics)
    for mine, theirs in zip(found.metrics, expected.metrics, strict=True):
        assert [*mine] == [*theirs]
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert found.config == expected.config
    assert not found.model.training
    given = {"seconds", "threads", "stacked", "outputs"}
    assert {k: v for k, v in found.record.items() if k not in given} == {
        k: v for k, v in expected.record.items() if k not in given
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_each_run_is_the_one_that_train_gives(threads, small, monkeypatch):
    configs = [small("cae", f"contractive.weight={w}", seed=s) for w in (0.1, 2.0) for s in (0, 1, 2)]
    configs.append(small("ae", seed=1))
    entries = []
    monkeypatch.setattr(batched, "Stack", lambda *given: entries.append(len(given[0])) or Stack(*given))
    found = train_together(configs, threads=threads)
    assert sorted(entries) == ([7] if threads == 1 else [3, 4])
    with one_thread():
        for config, run in zip(configs, found, strict=True):
            assert_same(run, train(config))
    assert found[0].record["stacked"] in entries


def test_stored_runs_are_found_under_the_names_that_they_have_anyway(small, tmp_path):
    configs = [small("cae", seed=s) for s in (0, 1)]
    first = train(configs[0], out=tmp_path)
    found = train_together([*configs, configs[1]], out=tmp_path)
    assert [run.path for run in found] == [first.path, found[1].path, found[1].path]
    assert "stacked" not in found[0].record
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name for run in found}
    again = train(configs[1], out=tmp_path)
    assert again.path == found[1].path
    assert_same(load_run(found[1].path), train(configs[1]))


@pytest.mark.parametrize("settings", [["training.optimizer=sgd", "training.momentum=0.5"], ["training.batch_size=17"]])
def test_other_optimisers_and_a_last_batch_that_is_smaller(settings, small):
    configs = [small("cae", *settings, seed=s) for s in (0, 1)]
    for config, run in zip(configs, train_together(configs), strict=True):
        assert_same(run, train(config))


def test_patience_ends_each_run_where_it_would_end(small):
    settings = ["training.patience=1", "training.epochs=12", "training.learning_rate=0.3"]
    configs = [small("cae", *settings, seed=s) for s in range(4)]
    alone = [train(config) for config in configs]
    assert len({len(run.metrics) for run in alone}) > 1, "the runs should end at different epochs"
    for run, expected in zip(train_together(configs, threads=1), alone, strict=True):
        assert len(run.metrics) == len(expected.metrics)
        assert run.metrics[-1] == pytest.approx(expected.metrics[-1], rel=1e-3)  # large steps let rounding grow


def test_a_metric_that_is_not_there_ends_no_run_unseen(small):
    """No value of it would ever be better than the first, so patience would end training at once."""
    config = small("cae", "training.patience=1", "training.monitor=valid_loss")
    with pytest.raises(CaelabError, match=r"training\.monitor: unknown metric of an epoch 'valid_loss'"):
        train_together([config])


def test_a_penalty_may_grow_from_epoch_to_epoch(small, own):
    config = small("ae", "warm.weight=0.5")
    (run,) = train_together([config])
    assert run.record["stacked"] == 1
    assert_same(run, train(config))


def test_what_cannot_be_trained_so_is_trained_by_itself(small, own):
    configs = [small("dae-g"), small("ae-wd"), small("cae", "model.activation=tanh"), small("cae", "warm.weight=0.1")]
    found = train_together(configs)
    assert ["stacked" in run.record for run in found] == [False, False, False, True]
    for config, run in zip(configs, found, strict=True):
        assert_same(run, train(config))


def test_a_run_that_diverges_ends_no_other(small, tmp_path):
    wild = small("cae", "training.learning_rate=1e30")
    calm = small("cae", seed=1)
    with pytest.raises(CaelabError) as alone:
        train(wild)
    with pytest.raises(CaelabError) as together:
        train_together([wild, calm], out=tmp_path)
    assert str(together.value).partition(" ")[0] == str(alone.value).partition(" ")[0]
    assert [path.name for path in tmp_path.iterdir()] == [train(calm, out=tmp_path).path.name]


def test_one_that_fails_within_a_stack_leaves_the_others_as_they_are(small, tmp_path, monkeypatch):
    """A model that starts with NaN shares every tensor with one that does not."""
    good, bad = small("cae", seed=1), small("cae", seed=2)
    make = batched._member

    def poisoned(asked):
        member = make(asked)
        if asked.config.seed == 2:
            member.layer.weight.data[0, 0] = torch.nan
        return member

    monkeypatch.setattr(batched, "_member", poisoned)
    with pytest.raises(CaelabError, match="NaN"):
        train_together([bad, good], out=tmp_path, threads=1)
    (stored,) = [load_run(path) for path in tmp_path.iterdir()]
    assert stored.record["stacked"] == 2
    assert_same(stored, train(good))


def test_the_stacked_step_has_the_gradient_of_the_fused_objective():
    """In float64, so that only a wrong formula differs."""
    torch.manual_seed(0)
    parts = [[torch.randn(s, dtype=torch.float64) for s in ((5, 7), (5,), (7,))] for _ in range(3)]
    x = torch.rand(3, 6, 7, dtype=torch.float64)
    strengths = [0.0, 0.7, 2.0]
    config = {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.0, "weight_decay": None}
    layers = [TiedLayer(*(each.clone() for each in part)) for part in parts]
    stack = Stack(layers, strengths, type("Config", (), config))
    error, norm = stack.step(x)
    for i, part in enumerate(parts):
        own = [each.clone().requires_grad_() for each in part]
        errors, norms, _, _ = TiedObjective.apply(x[i], *own)
        loss = errors.mean() + strengths[i] * norms.mean()
        for before, gradient, after in zip(part, torch.autograd.grad(loss, own), vars(layers[i]).values(), strict=True):
            assert_close(after, before - gradient, rtol=1e-12, atol=1e-12)  # each layer is a view of the stack
        assert_close(error[i], float(errors.detach().mean()), rtol=1e-12, atol=0)
        assert_close(norm[i], float(norms.detach().mean()), rtol=1e-12, atol=0)


ASKED = ("encoder_jacobian", "epoch")


def test_factors_are_found_by_trying():
    plugins = TrainingPlugins(
        {
            "a": penalty(lambda j: {"a": 3 * j.squared_norm().mean()}, "encoder_jacobian"),
            "b": penalty(lambda j, e: {"b": e * j.squared_norm().sum() / len(j.squared_norm())}, *ASKED),
            "zero": penalty(lambda j: {}, "encoder_jacobian"),
        }
    )  # fmt: skip
    assert factors(plugins, 4) == pytest.approx({"a": 3, "b": 4})


class Counts:
    calls = 0

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        self.calls += 1
        return {"counts": encoder_jacobian.squared_norm().mean()}


@pytest.mark.parametrize(
    "plugin",
    [
        penalty(lambda j: {"x": j.squared_norm().sqrt().mean()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm().mean().square()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm().sum()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm().detach().mean()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm().max()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm(samples=3).mean()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.dense().square().mean()}, "encoder_jacobian"),
        penalty(lambda j: {"x": j.squared_norm().mean() + 1}, "encoder_jacobian"),
        Counts(),
    ],
    ids=["root", "square", "sum", "constant", "largest", "estimate", "dense", "shifted", "counts"],
)
def test_other_penalties_are_told_from_them(plugin):
    with pytest.raises(Unlike):
        factors(TrainingPlugins({"x": plugin}), 1)
