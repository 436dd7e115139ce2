"""Regularizers mix freely: the result is that of their sum, whatever their order and whoever watches."""

from dataclasses import dataclass
from itertools import combinations

import pytest
import torch

from caelab import CaelabError, hookimpl, train
from tests.contracts.examples import CORRUPTIONS, MEASURES, NAMES, OPTIONS, PENALTIES

FOUR = ["gaussian", "contractive", "weight-decay", "sparse-kl"]
MIXABLE = [pair for pair in combinations(NAMES, 2) if not set(pair) <= set(CORRUPTIONS)]


def trained_weights(config, **observers):
    run = train(config, observers=observers)
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def assert_bit_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def mixed(names):
    return {name: OPTIONS[name] for name in names}


@dataclass(eq=False)
class Probe:
    """Adds exactly nothing, looks at everything, and draws numbers of its own everywhere."""

    @hookimpl
    def penalty_terms(self, code, reconstruction, encoder_jacobian, streams):
        torch.rand(3)
        noise = torch.rand(code.shape, generator=streams["probe"])
        seen = (code * noise).sum() + reconstruction.sum() + encoder_jacobian.squared_norm().sum()
        return {"probe": 0.0 * seen}

    @hookimpl
    def extra_metrics(self, model, inputs):
        return {"probe": float(model.encode(inputs).mean())}


@pytest.mark.parametrize("pair", MIXABLE, ids="+".join)
def test_any_two_train_together_in_either_order(pair, small):
    there, back = (trained_weights(small(mixed(order))) for order in (pair, pair[::-1]))
    assert_bit_equal(there, back)
    assert all(torch.isfinite(value).all() for value in there.values())


@pytest.mark.parametrize("pair", [*combinations(CORRUPTIONS, 2)], ids="+".join)
def test_two_corruptions_are_refused_by_name(pair, small):
    with pytest.raises(CaelabError, match="only one plugin may corrupt") as refusal:
        train(small(mixed(pair)))
    assert all(name in str(refusal.value) for name in pair)


def test_four_train_together_whatever_their_order_and_labels(small):
    expected = trained_weights(small(mixed(FOUR)))
    assert_bit_equal(expected, trained_weights(small(mixed(FOUR[::-1]))))
    relabelled = {f"{9 - place} {name}": {"kind": name, **OPTIONS[name]} for place, name in enumerate(FOUR)}
    assert_bit_equal(expected, trained_weights(small(relabelled)))


def test_the_history_tells_every_term_apart(small):
    history = train(small(mixed(FOUR))).metrics
    penalties = {f"train_{name}" for name in FOUR if name in PENALTIES}
    assert all(penalties | {"train_reconstruction", "valid_reconstruction"} <= metrics.keys() for metrics in history)


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_that_adds_zero_changes_nothing(name, small):
    config = small(mixed([name]))
    assert_bit_equal(trained_weights(config), trained_weights(config, probe=Probe()))


def test_a_probe_changes_nothing_in_a_mixture(small):
    config = small(mixed(FOUR))
    assert_bit_equal(trained_weights(config), trained_weights(config, probe=Probe()))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_weight_of_zero_trains_the_weights_of_no_penalty(name, small):
    silent = small({name: {**OPTIONS[name], "weight": 0.0}})
    assert_bit_equal(trained_weights(small({})), trained_weights(silent))


@pytest.mark.parametrize("name", NAMES)
def test_every_regularizer_changes_what_is_trained_unless_it_only_measures(name, small):
    plain, regularized = trained_weights(small({})), trained_weights(small(mixed([name])))
    assert any(not torch.equal(plain[key], regularized[key]) for key in plain) == (name not in MEASURES)


@pytest.mark.parametrize("names", [PENALTIES, FOUR[1:]], ids="+".join)
def test_one_step_of_descent_goes_the_sum_of_the_ways(names, small):
    """Gradients add: the update of a mixture is the plain one and every penalty's own part."""
    one_step = ["training.optimizer=sgd", "training.learning_rate=0.01", "training.epochs=1", "training.batch_size=40"]
    untrained = trained_weights(small({}, "training.epochs=0"))
    plain = trained_weights(small({}, *one_step))
    alone = [trained_weights(small(mixed([name]), *one_step)) for name in names]
    together = trained_weights(small(mixed(names), *one_step))
    for key, value in together.items():
        parts = sum(weights[key].double() - plain[key].double() for weights in alone)
        expected = (plain[key].double() + parts).float()
        torch.testing.assert_close(value, expected, rtol=0, atol=3e-7)
        assert (value - plain[key]).abs().max() > 3e-5 or key.startswith("decode")
        assert not torch.equal(value, untrained[key])


@pytest.mark.parametrize("names", [*combinations(PENALTIES, 2)], ids="+".join)
def test_terms_do_not_see_each_other(names, clean, terms_of):
    from caelab.models.autoencoder import autoencoder

    torch.manual_seed(0)
    model = autoencoder(64, hidden=[9])
    alone = terms_of(model, clean, names[0]) | terms_of(model, clean, names[1])
    assert terms_of(model, clean, *names) == alone
