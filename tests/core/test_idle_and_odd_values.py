"""Values that would be taken for something else, or for nothing, are refused with their key or their plugin."""

import pytest
import torch

from caelab import CaelabError, hookimpl, recipe_config, train

DATA = {"kind": "digits", "splits": [40, 20, 20]}
SMALL = ["training.epochs=1", "model.hidden=[3]"]


@pytest.mark.parametrize(
    "setting",
    [
        "training.epochs=true", "training.learning_rate=true", "training.batch_size=yes", "training.momentum=false",
        "training.patience=true", "seed=true", "dataset.splits=[40, true, 20]", "model.hidden=true",
        "model.hidden=[true]", "contractive.weight=true", "model.code_part=true", "model.example_shape=[true]",
    ],
)  # fmt: skip
def test_true_and_false_are_no_numbers(setting):
    key = setting.partition("=")[0]
    with pytest.raises(CaelabError, match=rf"^{key}(\.\d)?: a number is expected, but (True|False) came$"):
        recipe_config("cae", [*SMALL, setting], dataset=DATA)


def test_a_boolean_option_stays_one():
    from caelab.registry.signatures import checked_options

    def factory(flag: bool, width: int, either: bool | int = 3): ...

    assert checked_options(factory, {"flag": True, "width": 1, "either": True}, "f")["either"] is True
    with pytest.raises(CaelabError, match=r"^f.width: a number is expected, but True came$"):
        checked_options(factory, {"flag": True, "width": True}, "f")


NAMES = ["a\nb", "\x1b[2J", "../up", "a\\b", "", " a", "x" * 101, "a\u202eb", "tab\t"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hook", ["penalty_terms", "extra_metrics"])
def test_an_odd_name_is_refused_with_its_plugin(name, hook):
    class Terms:
        @hookimpl
        def penalty_terms(self, code):
            return {name: code.mean()}

    class Metrics:
        @hookimpl
        def extra_metrics(self):
            return {name: 1.0}

    plugin = {"penalty_terms": Terms, "extra_metrics": Metrics}[hook]()
    with pytest.raises(CaelabError, match=f"^plugin 'mine' answers {hook} at epoch 1 with the name ") as told:
        train(recipe_config("ae", SMALL, dataset=DATA), regularizers={"mine": plugin})
    assert str(told.value).isprintable()


@pytest.mark.parametrize("option", ["model.example_shape=[9,9]", "model.example_shape=[8,8]", "model.code_part=encode"])
def test_what_changes_nothing_in_a_model_of_caelab_is_refused(option):
    key = option.partition("=")[0]
    with pytest.raises(CaelabError, match=rf"^{key}: caelab's own models take flat inputs.* leave it out$"):
        train(recipe_config("ae", [*SMALL, option], dataset=DATA))
    assert torch.isfinite(train(recipe_config("ae", SMALL, dataset=DATA)).model.encode[0].weight).all()
