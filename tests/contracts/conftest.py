import numpy as np
import pytest
import torch

from caelab.runs.recipes import recipe_config
from caelab.streams import Streams
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins
from tests.contracts.examples import make

SMALL = ["model.hidden=[9]", "training.epochs=2", "training.batch_size=16"]


@pytest.fixture(scope="session")
def images_file(tmp_path_factory):
    """Sixty random 8×8 images with values in [0, 1], as a user's file."""
    path = tmp_path_factory.mktemp("data") / "x.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.random((60, 64)).astype("float32"), y=rng.integers(0, 3, 60))
    return path


@pytest.fixture
def small(images_file):
    """The config of a small run: ``small({"contractive": {"weight": 1}}, "training.epochs=1")``."""

    def config(regularizers, *settings):
        dataset = {"kind": f"npz:{images_file}", "splits": [40, 10, 10]}
        return recipe_config("ae", [*SMALL, *settings], dataset=dataset, regularizers=regularizers)

    return config


@pytest.fixture
def clean():
    """A batch of eight flat 8×8 images."""
    return torch.from_numpy(np.random.default_rng(1).random((8, 64)).astype("float32"))


@pytest.fixture
def terms_of():
    """The terms that regularizers add on one batch: ``terms_of(model, clean, "contractive", ...)``."""

    def compute(model, clean, *names, seed=0, weight=None):
        plugins = TrainingPlugins({name: make(name, weight) for name in names})
        terms = Objective(model, "squared-error", plugins, Streams(seed)).terms(clean, 1)
        return {name: term for name, term in terms.items() if name != "reconstruction"}

    return compute
