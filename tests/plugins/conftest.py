import numpy as np
import pytest
import torch

from caelab.models.autoencoder import autoencoder

INPUTS, EXAMPLES = 7, 5


@pytest.fixture
def batch():
    """Five examples in [0, 1], float64."""
    return torch.from_numpy(np.random.default_rng(3).random((EXAMPLES, INPUTS)))


@pytest.fixture
def trained(batch):
    """``trained([4], "sigmoid", tied=True)``: float64, correlated weight rows, biases off zero, some steps of descent.

    At a random start with independent rows, wrong formulas agree with the right one in expectation.
    """

    def build(hidden, activation="sigmoid", tied=True):
        torch.manual_seed(11)
        model = autoencoder(INPUTS, hidden=hidden, activation=activation, tied=tied, output="sigmoid").double()
        with torch.no_grad():
            for parameter in model.parameters():
                common = torch.randn(parameter.shape[-1:], dtype=parameter.dtype)
                parameter += 0.5 * common if parameter.ndim == 2 else 0.3 * torch.randn_like(parameter)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (model(batch) - batch).square().sum(dim=1).mean().backward()
            optimizer.step()
        model.zero_grad()
        return model

    return build
