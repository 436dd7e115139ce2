import numpy as np
import pytest

from caelab.runs.recipes import recipe_config

SMALL = ["model.hidden=[12]", "training.epochs=3", "training.batch_size=16"]


@pytest.fixture
def digits_file(tmp_path_factory):
    """Sixty random images with values in [0, 1], as a user's file."""
    path = tmp_path_factory.mktemp("data") / "x.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.random((60, 20)).astype("float32"), y=rng.integers(0, 3, 60))
    return path


@pytest.fixture
def small(digits_file):
    """A small run's config: ``small("cae", "contractive.weight=1")``."""

    def config(recipe, *settings, seed=0):
        size = {"rbm": ["model.hidden=12"], "sae-pair": ["model.k=4"], "jsae": ["model.k=4"]}.get(recipe, [])
        dataset = {"kind": f"npz:{digits_file}", "splits": [40, 10, 10]}
        return recipe_config(recipe, [*SMALL, *size, *settings], dataset=dataset, seed=seed)

    return config
