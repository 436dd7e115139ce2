from dataclasses import dataclass

import pytest
import torch

from caelab import CaelabError, hookimpl, train
from caelab.runs.run import build_model, dataset_of
from caelab.streams import Streams
from caelab_regularizers.recipes import RECIPES


def weights(run):
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def assert_bit_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


TRAINED = [name for name in sorted(RECIPES) if RECIPES[name].config.get("pretraining", "end-to-end") == "end-to-end"]


@pytest.mark.parametrize("recipe", TRAINED)
def test_every_recipe_trains_and_improves(recipe, small):
    run = train(small(recipe))
    assert [metrics["epoch"] for metrics in run.metrics] == [1, 2, 3]
    assert run.metrics[-1]["valid_reconstruction"] < run.metrics[0]["valid_reconstruction"]


def test_the_same_seed_gives_the_same_weights(small):
    assert_bit_equal(weights(train(small("dae-g"))), weights(train(small("dae-g"))))


def test_models_of_one_seed_start_from_the_same_weights(small):
    first, second = small("ae"), small("cae")
    one, other = (build_model(config, dataset_of(config)) for config in (first, second))
    assert_bit_equal(one.state_dict(), other.state_dict())
    third = build_model(first.with_seed(1), dataset_of(first))
    assert not torch.equal(third.state_dict()["encode.0.weight"], one.state_dict()["encode.0.weight"])


def test_one_epoch_of_sgd_equals_the_update_by_hand(small):
    """Plain gradient descent on the mean cross-entropy of the whole training set, in one step."""
    config = small(
        "ae", "training.optimizer=sgd", "training.learning_rate=0.1", "training.batch_size=40", "training.epochs=1"
    )
    dataset = dataset_of(config)
    weight = build_model(config, dataset).encode[0].weight.detach().double().requires_grad_()
    x = dataset.train_inputs.double()
    h = torch.sigmoid(x @ weight.T)
    y = torch.sigmoid(h @ weight)
    loss = -(x * y.log() + (1 - x) * (1 - y).log()).sum(dim=1).mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    expected = (weight - 0.1 * gradient).float()
    torch.testing.assert_close(train(config).model.encode[0].weight, expected, rtol=1e-5, atol=1e-6)


def test_a_contractive_update_by_hand(small):
    config = small(
        "cae",
        "contractive.weight=0.7",
        "training.optimizer=sgd",
        "training.learning_rate=0.05",
        "training.batch_size=40",
        "training.epochs=1",
    )
    dataset = dataset_of(config)
    weight = build_model(config, dataset).encode[0].weight.detach().double().requires_grad_()
    x = dataset.train_inputs.double()
    h = torch.sigmoid(x @ weight.T)
    y = torch.sigmoid(h @ weight)
    error = -(x * y.log() + (1 - x) * (1 - y).log()).sum(dim=1).mean()
    jacobian = (h * (1 - h))[:, :, None] * weight  # (batch, code, input)
    loss = error + 0.7 * jacobian.square().sum(dim=(1, 2)).mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    expected = (weight - 0.05 * gradient).float()
    torch.testing.assert_close(train(config).model.encode[0].weight, expected, rtol=1e-5, atol=1e-6)


@dataclass(eq=False)
class Probe:
    """Draws numbers of its own and adds exactly nothing."""

    @hookimpl
    def penalty_terms(self, clean, code, streams):
        torch.rand(9, generator=streams["probe"])
        return {"probe": 0.0 * code.sum()}


def test_an_observer_changes_nothing(small):
    config = small("dae-b", "contractive.weight=0.1")
    assert_bit_equal(weights(train(config)), weights(train(config, observers={"probe": Probe()})))


def test_hooks_are_called_in_their_order(small):
    calls = []

    class Recorder:
        @hookimpl
        def before_training(self, config):
            calls.append("before_training")

        @hookimpl
        def before_epoch(self, epoch):
            calls.append(f"before_epoch {epoch}")

        @hookimpl
        def penalty_terms(self, epoch):
            calls.append("penalty_terms")
            return {}

        @hookimpl
        def before_update(self, step):
            calls.append(f"before_update {step}")

        @hookimpl
        def after_batch(self, clean, step, terms):
            assert set(terms) == {"reconstruction"}
            assert clean.shape[1] == 20
            calls.append(f"after_batch {step}")

        @hookimpl
        def extra_metrics(self, model, inputs):
            assert not torch.is_grad_enabled()
            assert not model.training
            calls.append("extra_metrics")
            return {"mine": 3.0}

        @hookimpl
        def after_epoch(self, metrics):
            assert metrics["mine"] == 3.0
            calls.append("after_epoch")

        @hookimpl
        def after_training(self, history):
            calls.append("after_training")

    train(small("ae", "training.epochs=1", "training.batch_size=40"), observers={"recorder": Recorder()})
    assert calls == [
        "before_training", "before_epoch 1", "penalty_terms", "before_update 1", "after_batch 1", "extra_metrics",
        "after_epoch", "after_training",
    ]  # fmt: skip


def test_a_plugin_that_raises_is_named_with_hook_and_epoch(small):
    class Faulty:
        @hookimpl
        def penalty_terms(self, epoch):
            if epoch == 2:
                raise KeyError("lost")
            return {}

    with pytest.raises(CaelabError, match=r"plugin 'mine' failed in penalty_terms at epoch 2: KeyError: 'lost'"):
        train(small("ae"), observers={"mine": Faulty()})


def test_a_nan_names_term_epoch_and_step(small):
    class Poison:
        @hookimpl
        def penalty_terms(self, code, epoch):
            return {"poison": code.sum() * float("nan" if epoch == 2 else 0)}

    with pytest.raises(CaelabError, match=r"'poison' became nan at epoch 2, step 1"):
        train(small("ae"), observers={"poison": Poison()})


def test_divergence_is_refused(small):
    with pytest.raises(CaelabError, match=r"diverged|became"):
        train(small("ae", "training.optimizer=sgd", "training.learning_rate=1e6"))


def test_two_corrupters_are_both_named(small):
    with pytest.raises(CaelabError, match=r"only one plugin may corrupt the input, but \['gaussian', 'masking'\]"):
        train(small("dae-g", "masking.p=0.1"))


def test_a_misspelt_training_hook_is_refused(small):
    class Misspelt:
        @hookimpl
        def penalty_term(self):
            return {}

    with pytest.raises(CaelabError, match="penalty_term"):
        train(small("ae"), observers={"mine": Misspelt()})


def test_early_stopping_keeps_the_best_epoch(small):
    config = small("ae", "training.epochs=40", "training.learning_rate=0.1", "training.patience=2")
    run = train(config)
    errors = [metrics["valid_reconstruction"] for metrics in run.metrics]
    assert len(errors) < 40
    assert len(errors) - (errors.index(min(errors)) + 1) == 2
    kept = float(run.reconstruction_error(run.dataset.valid_inputs).mean())
    assert kept == pytest.approx(min(errors), rel=1e-6)


def test_data_outside_the_unit_interval_are_refused_under_cross_entropy(tmp_path, small):
    import numpy as np

    np.save(tmp_path / "x.npy", np.linspace(-1, 2, 600, dtype="float32").reshape(30, 20))
    config = small("ae").model_copy(
        update={
            "dataset": small("ae").dataset.model_copy(
                update={"kind": "npy", "splits": (20, 5, 5), "path": str(tmp_path / "x.npy")}
            )
        }
    )
    with pytest.raises(CaelabError, match=r"cross-entropy expects inputs in \[0, 1\], but they lie in \[-1, 2\]"):
        train(config)


def test_an_rbm_follows_contrastive_divergence(small):
    """The gradient of the free-energy difference is <h v> at the data minus <h v> after k steps."""
    config = small("rbm")
    dataset = dataset_of(config)
    model = build_model(config, dataset).double()
    v = dataset.train_inputs.double()
    model.training_loss(v, Streams(5)).backward()
    reached = model.gibbs(v, 1, Streams(5)["contrastive divergence"])
    with torch.no_grad():
        positive = model.encode(v).T @ v / len(v)
        negative = model.encode(reached).T @ reached / len(v)
    torch.testing.assert_close(model.encode[0].weight.grad, negative - positive, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.decode[0].bias.grad, (reached - v).mean(dim=0), rtol=1e-12, atol=1e-14)


def test_free_energy_sums_the_hidden_units_out(small):
    """exp(-F(v)) equals the sum of exp(-E(v, h)) over all 2^m hidden states."""
    config = small("rbm", "model.hidden=5")
    dataset = dataset_of(config)
    model = build_model(config, dataset).double()
    torch.nn.init.normal_(model.encode[0].bias)
    v = (dataset.train_inputs[:3] > 0.5).double()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)  # (32, 5)
    weight, b, c = model.encode[0].weight, model.encode[0].bias, model.decode[0].bias
    energy = -(v @ c)[:, None] - (states @ b)[None] - v @ weight.T @ states.T
    torch.testing.assert_close(model.free_energy(v), -torch.logsumexp(-energy, dim=1), rtol=1e-12, atol=0)


class Dropping(torch.nn.Module):
    """A user's model whose dropout draws from torch's global generator."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.Dropout(0.5), torch.nn.Sigmoid())
        self.decode = torch.nn.Sequential(torch.nn.Linear(8, 20), torch.nn.Sigmoid())

    def logits(self, code):
        return self.decode[0](code)


def test_a_models_own_dropout_is_reproducible_and_leaves_the_global_generator_alone(small):
    first = weights(train(small("ae"), model=Dropping()))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    model = Dropping()
    torch.set_rng_state(state)
    assert_bit_equal(first, weights(train(small("ae"), model=model)))
    assert torch.equal(torch.get_rng_state(), state)
