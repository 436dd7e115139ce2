"""A chain takes any registered corruption, also one that the core has never heard of."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from caelab import CaelabError, hookimpl
from caelab.options import Positive
from caelab.registry.catalogue import Offer, catalogue
from caelab.streams import Streams
from caelab_regularizers.corruption_chain import CorruptionChain


@dataclass(eq=False)
class Dim:
    """Multiplies the input by a factor."""

    factor: Positive = 0.5

    @hookimpl
    def corrupt_input(self, clean):
        return self.factor * clean


@pytest.fixture
def dim(monkeypatch):
    monkeypatch.setitem(catalogue().offers, ("regularizer", "dim"), Offer("regularizer", "dim", "someone", Dim))


@pytest.mark.usefixtures("dim")
def test_a_third_partys_corruption_is_a_step_with_its_defaults():
    chain = CorruptionChain(steps=[{"kind": "dim"}, {"kind": "dim", "factor": 3}])
    assert chain.steps[0] == {"kind": "dim", "factor": 0.5}
    clean = torch.rand(2, 3)
    torch.testing.assert_close(chain.corrupt_input(clean=clean, epoch=1, streams=Streams(0)), 1.5 * clean)


@pytest.mark.usefixtures("dim")
def test_unknown_moments_are_refused_and_the_step_named():
    with pytest.raises(CaelabError, match=r"'dim' declares no mean and no covariance_diagonal; add mean\(clean\)"):
        CorruptionChain(steps=[{"kind": "dim"}]).mean(torch.ones(1, 2))


def test_declared_moments_carry_through(monkeypatch):
    doubled = SimpleNamespace(
        corrupt_input=lambda clean: 2 * clean, mean=lambda clean: 2 * clean, covariance_diagonal=torch.zeros_like
    )
    offer = Offer("regularizer", "double", "someone", lambda: doubled)
    monkeypatch.setitem(catalogue().offers, ("regularizer", "double"), offer)
    chain = CorruptionChain(steps=[{"kind": "gaussian", "sigma": 0.3}, {"kind": "double"}])
    torch.testing.assert_close(chain.covariance_diagonal(torch.rand(2, 2)), torch.full((2, 2), 4 * 0.09))
