"""Estimators train the runs that ``caelab.train`` trains, and what they return follows from the weights."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

import caelab
from caelab.data import Dataset
from caelab.sklearn import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder, SparseAutoencoder

X = np.random.default_rng(0).normal(size=(30, 6)).astype("float32")
SMALL = {"hidden": 4, "epochs": 3, "batch_size": 8, "random_state": 5}
CASES = {
    "plain": (Autoencoder(**SMALL), {}),
    "contractive": (ContractiveAutoencoder(weight=0.3, **SMALL), {"contractive": {"weight": 0.3}}),
    "denoising": (DenoisingAutoencoder(noise_level=0.2, **SMALL), {"gaussian": {"sigma": 0.2}}),
    "masking": (DenoisingAutoencoder(noise="masking", **SMALL), {"masking": {"p": 0.3}}),
    "sparse": (SparseAutoencoder(weight=2, target=0.2, **SMALL), {"sparse-kl": {"weight": 2.0, "target": 0.2}}),
    "l1": (SparseAutoencoder(weight=2, penalty="l1", **SMALL), {"sparse-l1": {"weight": 2.0}}),
    "by name": (Autoencoder(regularizers={"weight-decay": 0.1}, **SMALL), {"weight-decay": {"weight": 0.1}}),
}


def config(regularizers=None, **training):
    """Written out in full, as a person would write it, without the estimators' code."""
    plain = {
        "reconstruction": "squared-error",
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "epochs": 3,
        "batch_size": 8,
    }
    return {
        "label": "x",
        "seed": 5,
        "dataset": "digits",
        "model": {"kind": "autoencoder", "hidden": [4], "output": "identity"},
        "regularizers": regularizers or {},
        "training": {**plain, **training},
    }


def data(inputs=X):
    every = torch.arange(len(inputs))
    return Dataset("X", torch.tensor(inputs), None, None, every, every, every)


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", CASES)
def test_fit_trains_the_run_of_train_bit_for_bit(name):
    estimator, regularizers = CASES[name]
    run = caelab.train(config(regularizers), dataset=data())
    found = clone(estimator).fit(X)
    assert same_weights(found.run_.model, run.model)
    assert found.history_.to_dict("records") == [*run.history_table().to_dict("records")]
    assert np.array_equal(found.transform(X), run.encode(torch.tensor(X)).numpy())
    other = caelab.train({**config(regularizers), "seed": 6}, dataset=data())
    assert not same_weights(found.run_.model, other.model)


@pytest.mark.parametrize("name", ["plain", "contractive", "denoising"])
@pytest.mark.parametrize("pickled", [False, True])
def test_calls_of_partial_fit_are_epochs_of_fit_bit_for_bit(name, pickled):
    estimator = clone(CASES[name][0])
    for _ in range(3):
        estimator.partial_fit(X)
        estimator = pickle.loads(pickle.dumps(estimator)) if pickled else estimator
    whole = clone(estimator).fit(X)
    assert same_weights(estimator.run_.model, whole.run_.model)
    assert estimator.n_iter_ == whole.n_iter_ == 3
    assert estimator.history_.equals(whole.history_)


def test_partial_fit_goes_on_from_fit_and_leaves_the_runs_before_as_they_were():
    estimator = clone(CASES["denoising"][0]).set_params(epochs=2).fit(X)
    before, weights = estimator.run_, {k: v.clone() for k, v in estimator.run_.model.state_dict().items()}
    estimator.partial_fit(X)
    assert same_weights(estimator.run_.model, clone(CASES["denoising"][0]).fit(X).run_.model)
    assert all(torch.equal(value, weights[name]) for name, value in before.model.state_dict().items())


def test_partial_fit_takes_other_examples_of_any_number():
    estimator = Autoencoder(4, random_state=0)
    for count in (8, 1, 30):
        estimator.partial_fit(X[:count])
        assert len(estimator.run_.dataset.inputs) == count
    assert estimator.n_iter_ == 3


def test_warm_start_begins_at_the_last_weights_with_a_new_optimiser():
    estimator = Autoencoder(**SMALL, warm_start=True).fit(X)
    first = estimator.run_
    again = caelab.train(config(), dataset=data(), model=first.model)
    assert same_weights(estimator.fit(X).run_.model, again.model)
    with pytest.raises(ValueError, match="keep the model as it was"):
        estimator.set_params(hidden=5).fit(X)


def test_codes_reconstructions_scores_and_components_follow_from_the_weights():
    estimator = ContractiveAutoencoder(**SMALL).fit(X)
    wide = X.astype("float64")
    weights = {name: value.numpy().astype("float64") for name, value in estimator.run_.model.state_dict().items()}
    code = 1 / (1 + np.exp(-(wide @ weights["encode.0.weight"].T + weights["encode.0.bias"])))
    back = code @ weights["encode.0.weight"] + weights["decode.0.bias"]
    np.testing.assert_allclose(estimator.transform(wide), code, rtol=1e-13)  # float64 rounding
    np.testing.assert_allclose(estimator.inverse_transform(code), back, rtol=1e-12)
    np.testing.assert_allclose(estimator.score(wide), -((back - wide) ** 2).sum(axis=1).mean(), rtol=1e-12)
    np.testing.assert_allclose(estimator.reconstruction_errors(X), ((back - wide) ** 2).sum(axis=1), rtol=1e-5)
    assert np.array_equal(estimator.components_, weights["encode.0.weight"].astype("float32"))


def test_cross_entropy_ends_in_a_sigmoid():
    inputs = 1 / (1 + np.exp(-X))
    estimator = Autoencoder(**SMALL, reconstruction="cross-entropy").fit(inputs)
    back = estimator.inverse_transform(estimator.transform(inputs)).astype("float64")
    entropy = -(inputs * np.log(back) + (1 - inputs) * np.log(1 - back)).sum(axis=1).mean()
    assert estimator.score(inputs) == pytest.approx(-entropy, rel=1e-5)


def test_early_stopping_holds_examples_out_and_goes_back_to_the_best_epoch():
    estimator = Autoencoder(
        4, epochs=200, batch_size=5, learning_rate=0.05, early_stopping=True, n_iter_no_change=2, random_state=0
    ).fit(X)
    errors, held_out = estimator.history_["valid_reconstruction"], estimator.run_.dataset.valid
    assert (len(held_out), len(estimator.run_.dataset.train)) == (3, 27)
    assert not {*held_out.tolist()} & {*estimator.run_.dataset.train.tolist()}
    assert estimator.n_iter_ == errors.idxmin() + 1 + 2 < 200
    assert -estimator.score(X[held_out.numpy()]) == pytest.approx(errors.min(), rel=1e-5)


class Halves(nn.Module):
    """A model of one's own, whose code has two axes."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Unflatten(1, (2, 2)))
        self.decode = nn.Sequential(nn.Flatten(), nn.Linear(4, 6))


def test_a_given_model_is_copied_trained_and_pickled():
    torch.manual_seed(0)
    model = Halves()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    estimator = Autoencoder(model=model, epochs=3, batch_size=8, random_state=5, regularizers={"contractive": 0.1})
    estimator = pickle.loads(pickle.dumps(clone(estimator).fit(X)))
    run = caelab.train(config({"contractive": {"weight": 0.1}}), dataset=data(), model=model)
    assert same_weights(estimator.run_.model, run.model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    codes = estimator.transform(X)
    assert codes.shape == (30, 4)
    assert estimator.inverse_transform(codes).shape == X.shape
    assert np.array_equal(estimator.components_, estimator.run_.model.encode[0].weight.detach().numpy())
    assert estimator.partial_fit(X).n_iter_ == 4


def test_a_recipe_and_a_config_are_trained_with_parameters_laid_over_them():
    inputs = 1 / (1 + np.exp(-X))
    asked = caelab.recipe_config("dae-g", ["training.epochs=2", "model.hidden=[3]"], seed=9)
    run = caelab.train(asked, dataset=data(inputs))
    assert same_weights(Autoencoder(recipe=asked).fit(inputs).run_.model, run.model)
    named = Autoencoder(recipe="dae-g", epochs=2, hidden=3, random_state=9).fit(inputs)
    assert same_weights(named.run_.model, run.model)
    assert named.run_.label == "dae-g"
    changed = ContractiveAutoencoder(recipe="cae", weight=0.7, epochs=1, hidden=3, random_state=0).fit(inputs)
    assert changed.run_.config.regularizers["contractive"].options == {"weight": 0.7}


def test_a_stack_is_trained_layer_by_layer():
    inputs = 1 / (1 + np.exp(-X))
    estimator = Autoencoder(recipe="cae-2", hidden=[5, 3], epochs=2, random_state=0).fit(inputs)
    assert estimator.transform(inputs).shape == (30, 3)
    assert len(estimator.run_.dataset.train) == 27
    assert not hasattr(estimator, "components_")


def test_without_random_state_every_fit_draws_its_seed_and_numpys_generator_decides_it():
    def fitted(seed):
        np.random.seed(seed)  # noqa: NPY002, which is scikit-learn's meaning of None
        return Autoencoder(3, epochs=1).fit(X).run_.seed

    assert fitted(0) == fitted(0) != fitted(1)
    assert Autoencoder(3, epochs=1, random_state=np.random.RandomState(3)).fit(X).run_.seed != 3
