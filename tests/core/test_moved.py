"""Plugins, configs and runs of earlier versions still work."""

import importlib

import pytest

import caelab
from caelab.moved import CURRENT, MOVED, new_name

EARLIER = {
    "caelab.analysing": ("analyse", "summarise", "gather", "load_analysis"),
    "caelab.figures": ("COLUMN_WIDTH", "PAGE_WIDTH", "display_name", "look", "paper_style", "Look", "save_figure"),
    "caelab.recipes": ("Recipe", "recipe_config", "BASE"),
    "caelab.statistics": ("paired_difference", "sign_flip_p_value"),
    "caelab_plugins.tangent_propagation": ("tangent_propagation", "shifts"),
    "caelab_analyses.subspaces": ("captured_share",),
    "caelab_analyses.precision": ("leading_tangents",),
    "caelab_analyses.expansions": ("expansion",),
    "caelab_analyses.image_tangents": ("MOTIONS", "motion_tangent", "thickness_tangent"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "parts"), EARLIER.items(), ids=EARLIER)
def test_what_documentation_told_to_import_can_be_imported(name, parts):
    module = importlib.import_module(name)
    assert [part for part in parts if not hasattr(module, part)] == []
    assert module is importlib.import_module(new_name(name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MOVED)
def test_every_earlier_name_leads_to_a_module_that_is_itself(name):
    module = importlib.import_module(name)
    assert module.__spec__.name == module.__name__ == MOVED[name]


def test_an_earlier_name_is_told_and_a_name_that_stays_is_not():
    import sys

    for name in ("caelab.recipes", *CURRENT):
        sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match=r"caelab\.recipes is now caelab\.runs\.recipes"):
        importlib.import_module("caelab.recipes")
    assert importlib.import_module("caelab.figures") is caelab.figures


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("caelab.nowhere")


@pytest.mark.parametrize("name", sorted(caelab.__all__))
def test_every_promised_name_is_there(name):
    assert getattr(caelab, name) is not None
