"""What a model's constructor is given, and what is said of one that asks for something else."""

import sys
from types import ModuleType

import pytest
from torch import nn

from caelab import CaelabError, recipe_config
from caelab.runs.run import build_model, dataset_of

DATA = {"kind": "digits", "splits": [100, 30, 30]}


class Base(nn.Module):
    def __init__(self, inputs: int, units: int = 3):
        super().__init__()
        self.encode, self.decode = nn.Linear(inputs, units), nn.Linear(units, inputs)


class Shaped(Base):
    def __init__(self, image_shape, inputs, units: int = 3):
        assert image_shape == (8, 8)
        super().__init__(inputs, units)


class Anything(Base):
    def __init__(self, **options):
        assert set(options) == {"inputs", "image_shape"}
        super().__init__(options["inputs"])


class OtherName(Base):
    def __init__(self, d):
        super().__init__(d)


class Fails(Base):
    def __init__(self, inputs: int):
        super().__init__(inputs)
        raise KeyError("weights.pt")


class Unreadable(Base):
    def __init__(self, inputs: "Nmber"):  # noqa: F821
        super().__init__(inputs)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """The classes above, in a module that can be imported."""
    mine = ModuleType("models_of_mine")
    for each in (Base, Shaped, Anything, OtherName, Fails, Unreadable):
        setattr(mine, each.__name__, each)
    monkeypatch.setitem(sys.modules, "models_of_mine", mine)


def made(name, *settings):
    config = recipe_config("ae", [*settings], model={"kind": f"models_of_mine:{name}"}, dataset=DATA)
    return build_model(config, dataset_of(config))


@pytest.mark.parametrize("name", ["Base", "Shaped", "Anything"])
def test_it_is_given_what_it_names(name):
    assert made(name).encode.in_features == 64


def test_every_other_parameter_is_an_option():
    assert made("Shaped", "model.units=5").encode.out_features == 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("OtherName", r"model.d is missing: .*\(of itself caelab gives only what is called inputs or image_shape\)"),
        ("Fails", r"the model 'models_of_mine:Fails' cannot be made with {'inputs': 64}: KeyError: 'weights.pt'"),
        ("Unreadable", r"the parameters of Unreadable cannot be read \(NameError: name 'Nmber' is not defined\)"),
    ],
)
def test_one_that_cannot_be_made_is_told_why(name, sentence):
    with pytest.raises(CaelabError, match=sentence):
        made(name)
