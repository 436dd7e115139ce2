"""What a plugin may register as a recipe, how its models are named and drawn, and what is refused."""

import re

import pytest
from matplotlib.colors import to_rgb

from caelab import CaelabError, Column, Look, Recipe, recipe_config
from caelab.analysis.plotting import appearance, display_name, look, stored_appearances
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.publish import columns_of_stored
from caelab.report.store import load_comparison, save
from caelab.report.tables import all_tables
from caelab.runs.recipes import BASE, base_config, default_recipes, load_recipe
from caelab.storage.checksums import sealed, unsealed
from tests.core.invented import invented_comparison, invented_rows

CONFIG = {"regularizers": {"contractive": {"weight": 0.7}}}
PURPLE = Look("#882255", "h", (0, (5, 1)))


@pytest.fixture
def offered(monkeypatch):
    """Offer a recipe under the name ``mine``."""
    return lambda thing: monkeypatch.setitem(
        catalogue().offers, ("recipe", "mine"), Offer("recipe", "mine", "a plugin", thing)
    )


@pytest.mark.parametrize("thing", [CONFIG, Recipe("mine", CONFIG), Recipe(config=CONFIG)])
def test_a_mapping_is_a_recipe_as_well(offered, thing):
    offered(thing)
    config = recipe_config("mine")
    assert config.label == "mine"
    assert config.regularizers["contractive"].options == {"weight": 0.7}
    assert display_name("mine") == "mine"


WRONG = {
    "a list": (["ae"], "is ['ae'], but a mapping of keys to values, or a caelab.Recipe, is expected"),
    "a function": (load_recipe, "but a mapping of keys to values, or a caelab.Recipe, is expected"),
    "about": (Recipe(3), "has about=3, but a text is expected"),
    "config": (Recipe("x", [1]), "has config=[1], but a mapping of keys to values is expected"),
    "tune": (Recipe("x", {}, [1]), "has tune=[1], but a mapping of keys to lists of values is expected"),
    "name": (Recipe("x", name=3), "has name=3, but a text is expected"),
    "look": (Recipe("x", look="red"), "has look='red', but a caelab.Look(color, marker, linestyle) is expected"),
    "default": (Recipe("x", default="yes"), "has default='yes', but True or False is expected"),
}


@pytest.mark.parametrize(("thing", "told"), WRONG.values(), ids=WRONG)
def test_what_is_neither_is_refused_with_its_plugin_named(offered, thing, told):
    offered(thing)
    with pytest.raises(CaelabError, match=re.escape("the recipe 'mine' of plugin 'a plugin'") + ".*" + re.escape(told)):
        recipe_config("mine")


def test_a_recipe_says_its_name_and_its_look(offered):
    offered(Recipe("mine", CONFIG, name="My CAE", look=PURPLE))
    assert display_name("mine contractive.weight=0.3") == "My CAE λ=0.3"
    assert look(["ae", "mine"])["mine"] == PURPLE
    grid = look(["mine contractive.weight=0.1", "mine contractive.weight=1"])
    assert [each.marker for each in grid.values()] == ["h", "<"]
    assert to_rgb(grid["mine contractive.weight=1"].color) == to_rgb(PURPLE.color)


def test_a_recipe_without_a_look_gets_one_that_no_other_model_has(offered):
    offered(CONFIG)
    looks = look(["ae", "mine", "cae"])
    assert looks["mine"].marker not in {looks["ae"].marker, looks["cae"].marker}


@pytest.mark.parametrize("wrong", [Look("no colour", "o"), Look("red", "no marker"), Look("red", "o", "no line")])
def test_a_look_that_cannot_be_drawn_is_told_with_the_recipe(offered, wrong):
    offered(Recipe("mine", look=wrong))
    with pytest.raises(CaelabError, match="the recipe 'mine' of plugin 'a plugin' has a look that"):
        look(["mine"])


def test_defaults_are_what_recipes_say(offered):
    assert default_recipes() == ["ae", "ae-wd", "dae-g", "dae-b", "sparse-ae", "cae", "rbm"]
    offered(Recipe("mine", default=True))
    assert default_recipes()[-1] == "mine"


def test_a_broken_recipe_keeps_no_one_from_the_defaults(offered, caplog):
    offered(["ae"])
    assert len(default_recipes()) == 7
    assert "left out: the recipe 'mine' of plugin 'a plugin'" in caplog.text


def test_the_base_is_what_recipes_are_laid_over():
    assert base_config(["training.epochs=2"]).training.epochs == 2
    assert base_config().as_dict()["model"] == {"activation": "sigmoid", **recipe_config("ae").as_dict()["model"]}
    assert base_config().seed == BASE["seed"]


def test_a_comparison_keeps_how_its_models_looked(offered, tmp_path, monkeypatch):
    offered(Recipe("mine", CONFIG, name="My CAE", look=PURPLE))
    comparison = invented_comparison(invented_rows().replace({"model": {"cae": "mine"}}))
    families = ("ae", "mine")
    save(comparison.__class__(**{**vars(comparison), "appearances": {f: appearance(f) for f in families}}), tmp_path)
    monkeypatch.delitem(catalogue().offers, ("recipe", "mine"))
    assert display_name("mine") == "mine"
    with stored_appearances(load_comparison(tmp_path).appearances):
        assert display_name("mine") == "My CAE"
        assert look(["mine"])["mine"] == PURPLE
        assert display_name("ae") == "AE"


def test_a_comparison_keeps_what_its_analyses_said_of_their_numbers(tmp_path):
    rows = invented_rows().assign(height=2.0)
    said = {"lost": [Column(name="height", heading="height (m)", better="larger", table="Sizes")]}
    comparison = invented_comparison(rows)
    save(comparison.__class__(**{**vars(comparison), "columns": said}), tmp_path)
    found = load_comparison(tmp_path)
    assert found.columns == said
    *_, last = all_tables(found.rows, columns_of_stored(found))
    assert (last.caption.partition(".")[0], last.headings) == ("Sizes", ("model", "height (m)"))


def test_a_comparison_from_before_has_no_looks_and_is_read(tmp_path):
    save(invented_comparison(), tmp_path)
    path = tmp_path / "comparison.json"
    facts = unsealed(path.read_text())
    del facts["appearances"], facts["columns"]
    path.write_text(sealed(facts))
    assert load_comparison(tmp_path).appearances == {}


@pytest.mark.parametrize("wrong", [{"color": (1, 0, 0), "marker": "o"}, {"color": "red", "marker": 7}])
def test_a_look_is_written_in_texts_so_that_a_comparison_can_keep_it(wrong):
    with pytest.raises(CaelabError, match="of a look as a text"):
        Look(**wrong)


def test_a_column_that_is_none_is_told_as_damage_of_the_record(tmp_path):
    save(invented_comparison(), tmp_path)
    path = tmp_path / "comparison.json"
    facts = unsealed(path.read_text())
    path.write_text(sealed({**facts, "columns": {"dots": [{"name": "x", "better": "smaller", "factor": 1e999}]}}))
    with pytest.raises(CaelabError, match=r"comparison\.json is damaged"):
        load_comparison(tmp_path)
