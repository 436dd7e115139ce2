"""Values that no one meant: every key of a config with every kind of value ends in a config or in one sentence."""

import itertools

import pytest
import yaml

from caelab import CaelabError
from caelab.options import MANY
from caelab.registry.catalogue import catalogue
from caelab.runs.config import make_config
from caelab.runs.recipes import recipe_config
from caelab.runs.run import build_model, dataset_of
from caelab.runs.settings import configured
from caelab.training import checked_device

VALUES = [
    "3", "[1]", "{}", "null", "text", "1e23", "-1", "0", "true", "1e400", "nan", "{kind: 3}", "{a: 1}", "[{a: 1}]",
    "1.5", "''", "[[1]]", "{1: 2}",
]  # fmt: skip
KEYS = [
    "regularizers", "dataset", "model", "training", "label", "seed", "training.epochs", "training.batch_size",
    "training.patience", "training.learning_rate", "training.momentum", "training.device", "training.optimizer",
    "training.reconstruction", "model.kind", "model.hidden", "dataset.kind", "dataset.splits", "contractive",
    "regularizers.contractive", "contractive.weight", "training.epochs.x", "a.b.c", "", "seed.x", "model.activation",
]  # fmt: skip


def outcome(make, *arguments):
    try:
        make(*arguments)
    except CaelabError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
    return said


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_of_any_value_is_taken_or_refused_in_a_sentence(key):
    for value in VALUES:
        outcome(recipe_config, "cae", [f"{key}={value}"])


def test_so_is_a_key_of_a_file():
    base = recipe_config("cae").as_dict()
    for key, value in itertools.product(base, map(yaml.safe_load, VALUES)):
        outcome(make_config, {**base, key: value})
        outcome(configured, {**base, key: value}, {}, ["contractive.weight=1"])
        outcome(configured, base, {key: value}, [], ["contractive"])


def test_regularizers_that_are_no_mapping():
    said = outcome(recipe_config, "cae", ["regularizers=3"])
    assert said == "regularizers: expected a mapping of names to options, as {contractive: {weight: 1.0}}, but 3 came"


@pytest.mark.parametrize(
    "setting",
    [
        "training.epochs=1e23", "training.batch_size=1e23", "training.patience=1e23", "seed=1e30", "model.hidden=1e23",
        "model.hidden=[1e12, 3]", "training.epochs=1e18", "seed=1e19", f"training.epochs={MANY + 1}",
    ],
)  # fmt: skip
def test_counts_beyond_all_use_are_refused(setting):
    said = outcome(recipe_config, "ae", [setting])
    assert "should be less than" in said or "exceeded maximum size" in said


def test_the_counts_of_every_regularizer_have_a_bound():
    """By the signature: an option of whole numbers takes no 10¹²."""
    counts = 0
    for offer in catalogue():
        if offer.kind == "regularizer":
            said = [outcome(recipe_config, "ae", [f"{offer.name}.{o}=1e12"]) for o in ("samples", "size", "k")]
            counts += sum("should be less than or equal to" in each for each in said)
    assert counts >= 4


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("ae", "model.hidden=[1000000000]"),
        ("ae", "model.hidden=[1000000000, 1000000000]"),
        ("rbm", "model.hidden=1000000000"),
        ("ae", "model={kind: convolutional, hidden: 1000000000}"),
    ],
)
def test_a_model_that_no_memory_holds_is_refused_before_it_is_made(model, setting):
    config = recipe_config(model, [setting], dataset={"kind": "digits"})
    with pytest.raises(CaelabError, match=r"takes .*iB to train, but .*iB are free|cannot be made with"):
        build_model(config, dataset_of(config))


@pytest.mark.parametrize("name", ["meta", "", "cuda:99", "mps", "xla", "hpu", "mkldnn", "nonsense", "cpu:-1", " cpu"])
def test_a_device_on_which_nothing_can_be_computed_is_refused(name):
    said = outcome(checked_device, name)
    assert said.startswith(f"device {name!r} cannot be used here (")
    assert said.endswith("); use --device cpu")
    assert len(said) < 300


def test_the_processor_is_a_device():
    assert checked_device("cpu") == "cpu"
