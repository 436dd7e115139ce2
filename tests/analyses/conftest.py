import numpy as np
import pandas as pd
import pytest
import torch

import caelab
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run

TINY = ["training.epochs=2", "model.hidden=[20]"]
DIGITS = {"kind": "digits", "splits": [300, 60, 100]}


@pytest.fixture(scope="session")
def tiny_runs():
    """Two trained runs by label, 64 inputs and 20 units each."""
    configs = [recipe_config("ae", TINY, dataset=DIGITS), recipe_config("cae", TINY, dataset=DIGITS)]
    return {config.label: caelab.train(config) for config in configs}


@pytest.fixture
def encoder_run():
    """A run around an encoder that was never trained: ``encoder_run(encode, inputs, splits)``."""

    def make(encode, inputs, splits=None, label="mine"):
        dataset = make_dataset("given", Samples(np.asarray(inputs)), splits=splits)
        return Run(
            recipe_config("ae", label=label), EncoderOnly(encode).eval(), dataset, [], {"encoder": "mine:encode"}
        )

    return make


@pytest.fixture
def linear():
    """An affine encoder without bias from a matrix (code, input)."""

    def make(matrix):
        weight = torch.as_tensor(np.asarray(matrix, dtype=np.float64))
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        with torch.no_grad():
            layer.weight.copy_(weight)
        return layer

    return make


@pytest.fixture
def explicit_jacobians():
    """J_f of the first validation examples by one backward pass per unit, in float64, as an array (count, m, d)."""

    def compute(run, count):
        weight, bias = (p.detach().double() for p in run.model.encode[0].parameters())

        def encode(x):
            return torch.sigmoid(weight @ x + bias)

        inputs = run.dataset.valid_inputs[:count].double()
        return np.stack([torch.autograd.functional.jacobian(encode, x).numpy() for x in inputs])

    return compute


@pytest.fixture
def gathered():
    """Tables of runs as the core gathers them: ``gathered({("ae", 0): table, ...})``."""

    def gather(tables):
        named = [table.assign(model=model, seed=seed) for (model, seed), table in tables.items()]
        return pd.concat(named, ignore_index=True)

    return gather
