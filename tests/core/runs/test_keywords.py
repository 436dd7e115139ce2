"""Configs by keywords: each keyword finds its one key, and what is ambiguous or unknown is told."""

import numpy as np
import pytest

import caelab
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.runs.keywords import key_of
from caelab.runs.recipes import recipe_config


@pytest.mark.parametrize(
    ("keywords", "settings"),
    [
        ({"weight": 0.3}, ["contractive.weight=0.3"]),
        ({"contractive__weight": 0.3}, ["contractive.weight=0.3"]),
        ({"epochs": 5, "learning_rate": 0.01}, ["training.epochs=5", "training.learning_rate=0.01"]),
        ({"hidden": [60, 20]}, ["model.hidden=[60,20]"]),
        ({"hidden": (60,), "splits": (90, 30, 50)}, ["model.hidden=[60]", "dataset.splits=[90,30,50]"]),
        ({"dataset": "digits"}, ["dataset={kind: digits}"]),
        ({"dataset": {"kind": "digits"}, "seed": 4}, ["dataset={kind: digits}", "seed=4"]),
        ({"weight_decay__weight": 1e-3}, ["weight-decay.weight=1e-3"]),
        ({"training__weight_decay": 1e-3}, ["training.weight_decay=1e-3"]),
        ({"weight": np.float64(0.3), "hidden": np.array([60])}, ["contractive.weight=0.3", "model.hidden=[60]"]),
        ({"steps": 2, "model": {"kind": "rbm", "hidden": 9}}, ["model={kind: rbm, hidden: 9}", "model.steps=2"]),
    ],
    ids=str,
)
def test_keywords_are_the_settings_of_the_command_line(keywords, settings):
    assert caelab.recipe("cae", **keywords).with_label("cae") == recipe_config("cae", settings)


def test_every_recipe_is_found_and_takes_epochs():
    for name in catalogue().names("recipe"):
        assert caelab.recipe(name, epochs=7).training.epochs == 7


def test_labels_name_what_makes_models_differ():
    assert caelab.recipe("cae", weight=0.3, epochs=5).label == "cae contractive.weight=0.3"
    assert caelab.recipe("dae-g", sigma=0.2).label == "dae-g gaussian.sigma=0.2"
    assert caelab.recipe("cae", label="mine", weight=3).label == "mine"
    assert caelab.recipe().label == "ae"


def test_a_yaml_file_is_a_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_config("cae", label="mine").to_yaml(), encoding="utf-8")
    for given in (path, str(path)):
        assert caelab.recipe(given, weight=0.3).regularizers["contractive"].options == {"weight": 0.3}


@pytest.mark.parametrize(
    ("name", "keywords", "says"),
    [
        ("cae", {"wieght": 1}, "did you mean 'weight'"),
        ("cae", {"weight": "heavy"}, "contractive.weight"),
        ("cae-h", {"weight": 1}, "contractive__weight=... or higher_order_contractive__weight=..."),
        ("caee", {}, "did you mean 'cae'"),
        ("cae", {"training__epoch": 3}, "did you mean 'epochs'"),
        ("ae", {"sigma": 3}, "unknown setting of 'ae' 'sigma'"),
        ("cae", {"dataset": "digts"}, "did you mean 'digits'"),
        ("cae", {"label": "a/b"}, "a name that a folder can have"),
        ("cae", {"epochs": -1}, "training.epochs"),
        ("cae", {"label": ""}, "expected a label that tables and figures can show"),
        ("cae", {"weight": 3, "contractive__weight": 4}, "'weight' and 'contractive__weight' both say"),
        ("cae", {"regularizers": {}}, "takes none away"),
        ("cae", {"splits": (10, 5)}, "dataset.splits: expected more values, but [10, 5] came"),
        ("cae", {"trainng.epochs": 5}, "did you mean 'training.epochs'"),
        ("ae", {"gaussian": {}}, "for instance with gaussian__sigma=VALUE"),
        (None, {}, "or the path of a YAML file, but None came"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(name, keywords, says):
    with pytest.raises(CaelabError, match=None) as caught:
        caelab.recipe(name, **keywords)
    assert says in str(caught.value)


def test_a_keyword_of_the_data_is_found_where_the_data_have_it():
    assert key_of(recipe_config("ae", dataset={"kind": "circle"}), "noise") == "dataset.noise"
