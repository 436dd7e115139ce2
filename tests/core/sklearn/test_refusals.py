"""Wrong input is told in the sentences that users of scikit-learn know."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn

import caelab
from caelab import CaelabError
from caelab.sklearn import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder, SparseAutoencoder
from caelab.sklearn.refusals import in_parameters

X = np.random.default_rng(0).normal(size=(20, 6))
FEW = {"hidden": 3, "epochs": 1, "random_state": 0}


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score", "reconstruction_errors"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError, match="This Autoencoder instance is not fitted yet"):
        getattr(Autoencoder(), method)(X)


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (X[:, :2], ValueError, "X has 2 features, but Autoencoder is expecting 6 features as input"),
        (np.full((2, 6), np.nan), ValueError, "Input X contains NaN"),
        (np.full((2, 6), np.inf), ValueError, "Input X contains infinity"),
        (np.full((2, 6), "a"), ValueError, "could not convert string to float"),
        (scipy.sparse.csr_matrix(X), TypeError, "Sparse data was passed for X"),
        (X[:0], ValueError, "Found array with 0 sample"),
        (X[0], ValueError, "Expected 2D array, got 1D array instead"),
    ],
)
def test_wrong_examples(inputs, error, words):
    fitted = Autoencoder(**FEW).fit(X)
    for method in (fitted.transform, fitted.score, fitted.partial_fit):
        with pytest.raises(error, match=words):
            method(inputs)


def test_one_example_and_numbers_too_large_for_training():
    with pytest.raises(ValueError, match=r"Found array with 1 sample\(s\) .* while a minimum of 2 is required"):
        Autoencoder().fit(X[:1])
    with pytest.raises(ValueError, match=r"infinity or a value too large for dtype\('float32'\)"):
        Autoencoder().fit(X * 1e300)
    with pytest.raises(ValueError, match="X has 6 features, but the codes of Autoencoder have 3 features"):
        Autoencoder(**FEW).fit(X).inverse_transform(X)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Autoencoder, {"hidden": 0}),
        (Autoencoder, {"hidden": [3, 0]}),
        (Autoencoder, {"epochs": -1}),
        (Autoencoder, {"learning_rate": float("nan")}),
        (Autoencoder, {"learning_rate": float("inf")}),
        (Autoencoder, {"activation": "sigmod"}),
        (Autoencoder, {"reconstruction": "mse"}),
        (Autoencoder, {"model": 3}),
        (Autoencoder, {"recipe": 3}),
        (Autoencoder, {"regularizers": 3}),
        (ContractiveAutoencoder, {"weight": float("nan")}),
        (ContractiveAutoencoder, {"weight": -1}),
        (DenoisingAutoencoder, {"noise_level": 0}),
        (DenoisingAutoencoder, {"noise": "masking", "noise_level": 1.5}),
        (SparseAutoencoder, {"target": 1}),
    ],
    ids=str,
)
def test_impossible_values_of_parameters(kind, wrong):
    name = [*wrong][-1]
    with pytest.raises(
        InvalidParameterError, match=rf"The '{name}' parameter of {kind.__name__} must be .* Got .* instead"
    ):
        kind(**wrong).fit(X)


class Failing(nn.Module):
    def encode(self, inputs):
        raise RuntimeError("shapes cannot be multiplied")

    def decode(self, code):
        return code


SCALED = caelab.recipe_config("ae", ["dataset.standardise=true"])


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (Autoencoder(regularizers={"contractve": 0.1}), "unknown regularizer 'contractve'; did you mean 'contractive'"),
        (Autoencoder(recipe="caee"), "unknown recipe 'caee'; did you mean 'cae'"),
        (Autoencoder(regularizers={"contractive": "much"}), "expected the options of 'contractive', a number"),
        (Autoencoder(regularizers={"contractive": True}), "expected the options of 'contractive' by name"),
        (Autoencoder(regularizers="contractive"), "give it, for instance as regularizers={'contractive': {'weight': "),
        (ContractiveAutoencoder(regularizers={"contractive": 1}), "itself brings the regularizer 'contractive'"),
        (Autoencoder(model=nn.Identity()), "The 'model' parameter of Autoencoder must be"),
        (Autoencoder(model=Failing()), "the model Failing fails in encode"),
        (Autoencoder(model=Failing(), hidden=3), "a model is given, which hidden cannot change"),
        (Autoencoder(reconstruction="cross-entropy"), r"expects X in \[0, 1\].*MinMaxScaler\(clip=True\)"),
        (Autoencoder(optimizer="sgd", learning_rate=1e3, epochs=2), "lower learning_rate"),
        (Autoencoder(early_stopping=True, validation_fraction=0.99), "leaves none of 20 examples to train on"),
        (Autoencoder(image_shape=(2, 2)), "expected an image shape"),
        (SparseAutoencoder(activation="relu"), "use activation='sigmoid' or the penalty sparse-l1"),
        (Autoencoder(recipe=SCALED), "put StandardScaler, MinMaxScaler or Binarizer before it"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_does_not_fit_is_a_value_error_and_no_trace_of_torch(estimator, words):
    with pytest.raises(ValueError, match=words) as caught:
        estimator.fit(X)
    assert isinstance(caught.value, CaelabError | InvalidParameterError)
    assert "--set" not in str(caught.value)


def test_partial_fit_refuses_what_asks_for_an_end():
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        Autoencoder(early_stopping=True).partial_fit(X)
    with pytest.raises(ValueError, match="not for a stack"):
        Autoencoder(recipe="cae-2", reconstruction="squared-error").partial_fit(X)
    schedule = caelab.recipe_config("ae", ["training.schedule=cosine"])
    with pytest.raises(ValueError, match="schedule"):
        Autoencoder(recipe=schedule, reconstruction="squared-error").partial_fit(X)


def test_settings_become_parameters():
    assert in_parameters("use --set training.epochs=3 or --set model.hidden=[3, 4]") == "use epochs=3 or hidden=[3, 4]"
