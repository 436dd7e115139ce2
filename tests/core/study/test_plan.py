"""From the words of a command to configs: what comes first, what stays, and what a grid may hold."""

import pytest

from caelab import CaelabError, recipe_config
from caelab.study.plan import parse_grid, plan


def configs(*words, **more):
    return [model.config for model in plan(*words, **more)]


KINDS = [
    ("convolutional", ["model.hidden=8"], 8),
    ("rbm", ["model.hidden=8", "training.optimizer=sgd"], 8),
]


@pytest.mark.parametrize(("kind", "settings", "hidden"), KINDS)
@pytest.mark.parametrize("turn", [1, -1])
def test_the_kind_comes_first_wherever_it_stands(kind, settings, hidden, turn):
    words = [*settings, f"model.kind={kind}"][::turn]
    for config in (recipe_config("ae", words), *configs(["ae"], words)):
        assert (config.model.kind, config.model.options["hidden"]) == (kind, hidden)


def test_a_grid_of_kinds_leaves_the_settings_as_they_are():
    found = configs(["ae"], ["model.hidden=8"], {"model.kind": ["autoencoder", "rbm"]})
    assert [config.model.options["hidden"] for config in found] == [[8], 8]


def test_a_grid_may_vary_a_list():
    found = configs(["ae"], (), dict([parse_grid("model.hidden=[10],[20,5]")]))
    assert [config.model.options["hidden"] for config in found] == [[10], [20, 5]]
    assert [config.label for config in found] == ["ae model.hidden=[10]", "ae model.hidden=[20, 5]"]


def test_a_setting_goes_to_the_recipes_that_have_it():
    ae, cae = configs(["ae", "cae"], ["contractive.weight=0.7", "training.epochs=2"])
    assert (ae.regularizers, cae.regularizers["contractive"].options) == ({}, {"weight": 0.7})
    assert (ae.training.epochs, cae.training.epochs) == (2, 2)


@pytest.mark.parametrize("text", ["model.hidden=[10],[20", "contractive.weight=", "contractive.weight"])
def test_a_grid_that_is_none_is_refused(text):
    with pytest.raises(CaelabError, match=r"not a value in YAML|expected KEY=VALUE,VALUE"):
        parse_grid(text)


@pytest.mark.parametrize("label", ["../esc", "my/model", "a\\b", ".hidden", "x" * 200, "two\nlines"])
def test_a_label_that_no_folder_can_have_is_refused(label):
    with pytest.raises(CaelabError, match=r"label: expected a name that a folder can have: .* but '"):
        recipe_config("ae", label=label)


def test_a_grid_over_paths_makes_labels_that_a_folder_can_have(tmp_path):
    (config,) = configs(["ae"], (), {"dataset.path": [f"{tmp_path}"]}, dataset={"kind": f"idx:{tmp_path}"})
    assert "/" not in config.label
