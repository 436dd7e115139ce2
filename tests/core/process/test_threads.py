"""The numbers of a run do not depend on how many workers a study has."""

from dataclasses import dataclass

import pytest
import torch

from caelab import Study, hookimpl, recipe_config, train
from caelab.process.threads import one_thread
from caelab.registry.catalogue import Offer, catalogue


@dataclass(eq=False)
class LargeSum:
    """A penalty whose gradient depends on one sum of more numbers than torch adds on one thread."""

    weight: float

    @hookimpl
    def penalty_terms(self, model):
        return {"large sum": self.weight * model.encode[0].weight.square().sum().square()}


@pytest.fixture
def config(monkeypatch):
    offers = dict(catalogue().offers) | {("regularizer", "large"): Offer("regularizer", "large", "test", LargeSum)}
    monkeypatch.setattr(catalogue(), "offers", offers)
    data = {"kind": "digits", "splits": [100, 30, 30]}
    return recipe_config("ae", ["training.epochs=2", "model.hidden=[3000]", "large.weight=1e-3"], dataset=data)


@pytest.fixture
def threads():
    """Set the number of threads; it is put back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def weights(run):
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


def test_a_study_gives_the_same_weights_whatever_the_number_of_threads(config, threads, tmp_path):
    found = {}
    for count in (1, 2, 3):
        threads(count)
        study = Study([config], [0], {}, tmp_path / str(count))
        (outcome,) = study.run(executor="serial").outcomes
        assert torch.get_num_threads() == count
        found[count] = train(config, out=outcome.path.parent)
        assert found[count].record["threads"] == 1
    assert torch.equal(weights(found[1]), weights(found[2]))
    assert torch.equal(weights(found[1]), weights(found[3]))


def test_without_that_they_would_differ(config, threads):
    threads(1)
    alone = train(config)
    threads(2)
    beside = train(config)
    assert (alone.record["threads"], beside.record["threads"]) == (1, 2)
    assert not torch.equal(weights(alone), weights(beside))
    torch.testing.assert_close(weights(alone), weights(beside), rtol=0, atol=1e-4)


def test_libraries_get_their_threads_back(threads):
    from threadpoolctl import threadpool_info

    def counts():
        return torch.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]

    threads(2)
    before = counts()
    with one_thread():
        inside, pools = counts()
        assert inside == 1
        assert set(pools) == {1}
    assert counts() == before
