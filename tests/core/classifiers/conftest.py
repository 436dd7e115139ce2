import numpy as np
import pytest
import torch

import caelab
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.models.autoencoder import autoencoder
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run

DIGITS = {"kind": "digits", "splits": [300, 60, 100]}


@pytest.fixture(scope="session")
def run():
    """A small contractive auto-encoder of scikit-learn's digits: 64 inputs, 20 units."""
    return caelab.train(recipe_config("cae", ["training.epochs=2", "model.hidden=[20]"], dataset=DIGITS))


@pytest.fixture(scope="session")
def clusters():
    """Two hundred points in six dimensions, far apart by class: ``clusters([7, -3, 40])``."""

    def make(labels, spread=0.1):
        rng = np.random.default_rng(0)
        names = np.resize(labels, 200)
        centres = {name: 4 * np.eye(6)[position] for position, name in enumerate(labels)}
        return np.stack([centres[name] for name in names]) + spread * rng.standard_normal((200, 6)), names

    return make


@pytest.fixture(scope="session")
def toy_run():
    """A run on one's own data, never trained: ``toy_run(inputs, labels)``."""

    def make(inputs, labels, hidden=(12,), activation="sigmoid", model=None, splits=(120, 40, 40)):
        dataset = make_dataset("toy", Samples(inputs, labels), splits=splits, seed=1)
        torch.manual_seed(4)
        made = model or autoencoder(dataset.inputs.shape[1], hidden=[*hidden], activation=activation)
        return Run(recipe_config("ae"), made.eval(), dataset, [])

    return make


@pytest.fixture
def weights():
    """A classifier's tensors by name."""
    return lambda classifier: {**classifier.fitted.model.state_dict(), **classifier.fitted.tensors}


@pytest.fixture
def same(weights):
    """Whether two classifiers have the same tensors in every bit."""

    def compare(first, second):
        one, other = weights(first), weights(second)
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

    return compare
