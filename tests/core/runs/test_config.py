import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from caelab.errors import CaelabError
from caelab.runs.config import load_config, make_config
from caelab.runs.recipes import BASE, recipe_config
from caelab.runs.run import build_model, dataset_of
from caelab.runs.settings import merged, parse_setting, parse_value, with_setting
from caelab_regularizers.recipes import RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_a_valid_config_that_yaml_carries_unchanged(name, tmp_path):
    config = recipe_config(name)
    file = tmp_path / "run.yaml"
    file.write_text(config.to_yaml())
    assert load_config(file) == config


def test_defaults_of_plugins_are_filled_in():
    assert recipe_config("cae").model.options["tied"] is True


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["contractive.weight=-1"], "contractive.weight: input should be greater than or equal to 0, but -1"),
        (["contractive.wieght=1"], "did you mean 'weight'?"),
        (["contractiv.weight=1"], "did you mean"),
        (["training.epochs=-3"], "training.epochs"),
        (["training.learnin_rate=1"], "did you mean 'learning_rate'?"),
        (["model.hidden=[]"], "hidden"),
        (["model.hidden=[0]"], "hidden"),
        (["model.activation=sigmod"], "activation"),
        (["contractive.weight"], "expected KEY=VALUE"),
        (["contractive.weight=abc"], "contractive.weight"),
        (["contractive.weight=.inf"], "contractive.weight"),
        (["seed=-1"], "seed"),
        (["dataset.kind=mnist5"], "did you mean 'mnist5k'?"),
        (["dataset.splits=[1,2]"], "dataset.splits"),
    ],
)
def test_a_wrong_setting_is_told_in_one_sentence(settings, sentence):
    with pytest.raises(CaelabError, match=None) as caught:
        recipe_config("cae", settings)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_offers_the_nearest():
    with pytest.raises(CaelabError, match="unknown recipe 'caee'; did you mean 'cae'"):
        recipe_config("caee")


def test_all_errors_of_a_config_come_at_once():
    raw = merged(BASE, {"label": "x", "seed": -1, "training": {"epochs": -1}})
    with pytest.raises(CaelabError) as caught:
        make_config(raw)
    assert "seed" in str(caught.value)
    assert "training.epochs" in str(caught.value)


def test_a_setting_may_add_a_regularizer():
    mixed = recipe_config("cae", ["weight-decay.weight=0.1", "masking.p=0.2"])
    assert set(mixed.regularizers) == {"contractive", "weight-decay", "masking"}


def test_a_regularizer_may_be_left_out():
    assert recipe_config("cae", without=["contractive"]).regularizers == {}


def test_the_hash_follows_what_determines_a_run_and_nothing_else():
    config = recipe_config("cae")
    assert config.content_hash() == config.model_copy(update={"label": "another"}).content_hash()
    assert config.content_hash() != config.with_seed(1).content_hash()
    assert config.content_hash() != config.content_hash("other data")
    assert config.content_hash() != recipe_config("cae", ["contractive.weight=1"]).content_hash()


def test_the_order_of_regularizers_does_not_matter():
    pair = ["masking.p=0.2", "weight-decay.weight=0.1"]
    assert recipe_config("ae", pair) == recipe_config("ae", pair[::-1])


def test_a_new_kind_starts_its_block_afresh():
    assert merged({"d": {"kind": "a", "x": 1}}, {"d": {"kind": "b"}}) == {"d": {"kind": "b"}}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_survives_a_setting(number):
    assert parse_setting(f"a.b={number!r}") == ("a.b", number)


def test_scientific_notation_without_a_point_is_a_number():
    assert parse_value("1e-3") == 0.001
    assert with_setting(BASE, "training.learning_rate", 1e-4)["training"]["learning_rate"] == 1e-4


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "\x00"])
def test_a_file_that_is_no_config_is_refused(text, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(CaelabError):
        load_config(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CaelabError, match="no config file at"):
        load_config(tmp_path / "none.yaml")


def test_yaml_output_is_plain():
    assert yaml.safe_load(recipe_config("cae").to_yaml())["regularizers"]["contractive"] == {
        "kind": "contractive",
        "weight": 2.0,
    }


def test_one_setting_of_the_width_suits_every_model():
    for value in ("500", "[500]"):
        assert recipe_config("rbm", [f"model.hidden={value}"]).model.options["hidden"] == 500
        assert recipe_config("ae", [f"model.hidden={value}"]).model.options["hidden"] == [500]
    several = recipe_config("rbm", ["model.hidden=[50, 30]"])
    with pytest.raises(CaelabError, match="RBMs are stacked one by one, with pretraining: greedy"):
        build_model(several, dataset_of(several))


def test_the_settings_that_are_offered_exist():
    for setting, known in (("nonsense.weight", "contractive.weight"), ("nonsense", "seed")):
        with pytest.raises(CaelabError) as told:
            recipe_config("ae", [f"{setting}=1"])
        assert known in str(told.value)
        assert not {"label.weight", "seed.weight", "masking.weight"} & {*str(told.value).replace(",", "").split()}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(recipe_config("cae").to_yaml().replace("  epochs: 30", "  epochs: 30\n  epochs: 3"))
    with pytest.raises(CaelabError, match="the key 'epochs' stands twice"):
        load_config(file)


def test_a_path_in_place_of_a_data_set_is_told_its_kind(tmp_path):
    with pytest.raises(CaelabError) as told:
        recipe_config("ae", dataset={"kind": str(tmp_path)})
    assert str(told.value).endswith(f"say what it holds, as images:{tmp_path} or idx:{tmp_path}")
    assert recipe_config("ae", dataset="ok.h5#train/x") == recipe_config("ae", dataset="hdf5:ok.h5#train/x")
    assert recipe_config("ae", dataset={"kind": "ok.CSV.gz", "label": 0}).dataset.options["path"] == "ok.CSV.gz"
