"""What a notebook's cell registers: found by its name, replaced when the cell runs again, and never a plugin's."""

import pytest

from caelab import register
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue


@pytest.fixture(autouse=True)
def as_found():
    before = dict(catalogue().offers)
    yield
    catalogue().offers.clear()
    catalogue().offers.update(before)


def test_a_cell_that_runs_again_replaces_what_it_registered():
    for each in (object(), object()):
        assert register("regularizer", "of-a-cell", each) is each
        assert catalogue().get("regularizer", "of-a-cell") is each


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("regulariser", "mine", "did you mean 'regularizer'"),
        ("regularizer", "contractive", "is offered by 'caelab/regularizers'"),
        ("regularizer", "a b", "is no name for a thing"),
        ("analysis", "runs", "taken by caelab itself"),
        (3, "mine", "expected the kind as a text"),
    ],
)
def test_what_cannot_be_registered_is_told(kind, name, says):
    with pytest.raises(CaelabError) as caught:
        register(kind, name, object())
    assert says in str(caught.value)
