"""The study file: what it may say, and what a mistake in it is told."""

from pathlib import Path

import pytest

from caelab import CaelabError, load_study
from caelab.study.making import at, loaded, smaller
from caelab.study.specification import differences, read_study, study_file

SMALL = {"training.epochs": 2, "model.hidden": [8]}


def study(**keys):
    return {"models": ["ae"], "datasets": ["digits"], "set": SMALL, "seeds": 1, "out": "out", **keys}


def labels(**keys):
    return [config.label for config in load_study(study(**keys)).configs]


def test_a_recipe_a_grid_and_a_label_make_models():
    cae = {"recipe": "cae", "label": "weak", "set": {"contractive.weight": 0.1}}
    found = loaded(study(models=["ae", cae, {"recipe": "cae", "grid": {"contractive.weight": [1, "3e0"]}}])).study
    assert [config.label for config in found.configs] == [
        "ae", "weak", "cae contractive.weight=1", "cae contractive.weight=3.0"
    ]  # fmt: skip
    weights = [c.regularizers["contractive"].options["weight"] for c in found.configs[1:]]
    assert weights == [0.1, 1.0, 3.0]
    assert all(config.model.options["hidden"] == [8] for config in found.configs)


def test_a_grid_over_everything_spreads_the_models_that_have_the_key():
    assert labels(models=["ae", "cae"], grid={"contractive.weight": [1, 2]}) == [
        "ae", "cae contractive.weight=1", "cae contractive.weight=2"
    ]  # fmt: skip
    assert len(labels(models=["ae", "cae"], grid={"model.hidden": [[4], [5], [6]]})) == 6


def test_a_model_of_its_own_may_add_a_regularizer():
    (config,) = load_study(study(models=[{"recipe": "ae", "set": {"weight-decay.weight": 0.1}}])).configs
    assert config.regularizers["weight-decay"].options["weight"] == 0.1


def test_runs_are_every_model_on_every_data_set_split_and_seed():
    data = ["digits", {"kind": "digits", "splits": [900, 300, 500]}]
    found = load_study(study(models=["ae", "cae"], datasets=data, splits=3, seeds=[4, 7]))
    runs = found.run_configs()
    assert len(runs) == 2 * 2 * 3 * 2
    assert {config.split for config in runs} == {0, 1, 2}
    assert {config.seed for config in runs} == {4, 7}
    name = found.dataset_names()
    assert {name(config) for config in runs} == {"digits", "digits splits=[900, 300, 500]"}


def test_a_split_is_the_one_of_its_seed_whatever_the_seed_of_the_run():
    from caelab.data.given import split_hash
    from caelab.runs.run import dataset_of

    one, other = load_study(study(splits=[5], seeds=[1, 2])).run_configs()
    assert split_hash(dataset_of(one)) == split_hash(dataset_of(other))
    plain = load_study(study(seeds=[5])).run_configs()[0]
    assert split_hash(dataset_of(plain)) == split_hash(dataset_of(one))
    assert "split_seed" not in plain.as_dict()["dataset"]  # so that runs keep the names that they had
    assert one.as_dict()["dataset"]["split_seed"] == 5


def test_a_whole_config_stands_for_a_model():
    config = load_study(study()).configs[0]
    (same,) = load_study(study(models=[{"config": config.as_dict()}])).configs
    assert same == config


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"modls": ["ae"]}, "study: unknown option 'modls'; did you mean 'models'?"),
        ({"models": [{"recipe": "ae", "gird": {}}]}, r"models\.0: unknown option 'gird'; did you mean 'grid'\?"),
        ({"models": []}, "models: list should have at least 1 item"),
        ({"models": ["caee"]}, "unknown recipe 'caee'; did you mean"),
        ({"models": ["ae", "ae"]}, "two models of this comparison are called 'ae'"),
        ({"models": [{"label": "x"}]}, "expected either recipe, the name of one, or config"),
        ({"grid": {"contractive.weight": [1]}}, "no model of this comparison has the setting 'contractive.weight'"),
        ({"grid": {"model.hidden": []}}, "grid.model.hidden: list should have at least 1 item"),
        ({"seeds": 0}, "seeds: expected how many, at least 1"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": -1}, "at least 1"),
        ({"splits": "two"}, "splits: .*'two' came"),
        ({"datasets": [{"splits": [1, 2, 3]}]}, "expected the name of a data set"),
        ({"datasets": ["digts"]}, "unknown dataset 'digts'; did you mean 'digits'"),
        ({"analyses": {"jacobian_norm": 3}}, r"analyses\.jacobian_norm: .* 3 came"),
        ({"resources": {"memory": "much"}}, "resources.memory: expected a size, as 2 GiB, but 'much' came"),
        ({"resources": {"cores": 0}}, "resources.cores"),
        ({"selection": {"by": "mean norm"}}, "selection: nothing is to be chosen"),
        ({"claims": ["rifai2011.smalest_norm"]}, "unknown claim 'rifai2011.smalest_norm'; did you mean"),
        ({"out": ""}, "out: "),
        ({"out": None}, "out: "),
    ],
)
def test_a_mistake_is_one_sentence(keys, sentence):
    with pytest.raises(CaelabError, match=sentence) as told:
        loaded(study(**keys))
    assert "\n" not in str(told.value)


def test_a_key_that_is_missing_is_to_be_written_into_the_file():
    with pytest.raises(CaelabError, match="models is missing; write it into the file"):
        study_file({"out": "x"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2]", "a study is a mapping of keys to values, but list came"),
        ("models: [ae\n", "is not YAML"),
        ("models: [ae]\nmodels: [cae]\nout: x\n", "the key 'models' stands twice"),
        (b"models: [\xff]\n", "is not text in UTF-8"),
        ("", "a study is a mapping of keys to values, but NoneType came"),
    ],
)
def test_a_file_that_is_no_study_says_why(text, sentence, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CaelabError, match=sentence):
        read_study(path)
    with pytest.raises(CaelabError, match="no study file at"):
        read_study(tmp_path / "other.yaml")


def test_the_name_is_the_file_s_where_it_is_left_out(tmp_path):
    (tmp_path / "price.yaml").write_text("models: [ae]\nout: x\n")
    assert read_study(tmp_path / "price.yaml")[0].study == "price"


def test_what_changed_is_said_key_by_key():
    before, now = study_file(study()).plain(), study_file(study(seeds=3, out="other")).plain()
    assert differences(before, now) == ["seeds was [0] and is [0, 1, 2]", "out was 'out' and is 'other'"]
    assert differences(before, before) == []


def test_a_smaller_study_has_two_of_everything():
    models = ["ae", {"recipe": "cae", "grid": {"contractive.weight": [1, 2, 3]}}]
    data = [{"kind": "mnist5k", "splits": [3000, 500, 1500]}, "digits"]
    file = smaller(
        study_file(study(models=models, datasets=data, seeds=5, splits=4, grid={"model.hidden": [[4], [5], [6]]}))
    )
    found = loaded(file.plain()).study
    assert (len(found.seeds), len(found.splits)) == (2, 2)
    assert len(found.configs) == 2 * (1 + 2) * 2
    assert all(config.training.epochs == 2 for config in found.configs)
    assert found.configs[0].dataset.splits == (600, 200, 200)


def test_published_sizes_are_numbers_in_a_study_and_few_in_a_smaller_one():
    file = study_file(study(models=["ae"], datasets=[{"kind": "rect", "splits": "published"}]))
    (config,) = {config.dataset for config in loaded(file.plain()).study.configs}
    assert (config.splits, config.options["samples"]) == ((1_000, 200, 50_000), 51_200)
    assert {config.dataset.splits for config in loaded(smaller(file).plain()).study.configs} == {(600, 200, 200)}


def test_plugin_files_are_found_beside_the_study_file(tmp_path, monkeypatch):
    from caelab.registry.catalogue import catalogue

    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.py").write_text(
        "from caelab import hookimpl\n\n@hookimpl\ndef register_recipes(register):\n    register('mine', {})\n"
    )
    (tmp_path / "here" / "study.yaml").write_text("models: [mine]\nplugins: [mine.py]\nout: x\nanalyses: []\n")
    monkeypatch.chdir(tmp_path)
    assert [c.label for c in load_study(Path("here/study.yaml")).configs] == ["mine"]


SCALES = {
    "quick": {"seeds": 2, "set": {"training.epochs": 3}},
    "paper": {"models": ["ae", "cae"], "datasets": ["mnist5k"]},
}


def test_a_scale_is_laid_over_the_file():
    file = study_file(study(scales=SCALES))
    quick, paper = at(file, "quick"), at(file, "paper")
    assert (quick.seeds, quick.set, quick.scale) == ([0, 1], {**SMALL, "training.epochs": 3}, "quick")
    assert [entry.recipe for entry in paper.models] == ["ae", "cae"]
    assert (paper.datasets, paper.set) == ([{"kind": "mnist5k"}], SMALL)
    assert at(file, None) == file
    assert at(file, "smoke").set["training.epochs"] == 2


def test_a_file_may_say_what_its_smoke_scale_is():
    file = study_file(study(scales={"smoke": {"set": {"training.epochs": 1}}}))
    assert at(file, "smoke").set["training.epochs"] == 1


def test_other_data_have_their_own_splits():
    file = at(study_file(study(set={**SMALL, "dataset.splits": [10, 10, 10]})), None, "mnist5k")
    assert (file.datasets, file.set) == ([{"kind": "mnist5k"}], SMALL)


WRONG_SCALES = [
    ({"quick": {"epochs": 3}}, "scales.quick: expected a mapping of some of the keys about, models, set"),
    ({"quick": 3}, "scales.quick: expected a mapping of some of the keys about, models, set"),
    ({"quick": {"seeds": 0}}, "scales.quick: seeds: expected how many, at least 1"),
    ({"quick": {"models": []}}, "scales.quick: models: list should have at least 1 item"),
]


@pytest.mark.parametrize(("scales", "told"), WRONG_SCALES)
def test_wrong_scales_are_told_whichever_is_asked_for(scales, told):
    with pytest.raises(CaelabError) as error:
        study_file(study(scales=scales))
    assert told in str(error.value)


def test_an_unknown_scale_is_told_with_those_that_there_are():
    with pytest.raises(CaelabError, match=r"unknown scale 'quik'; did you mean 'quick'\? Known: paper, quick, smoke$"):
        at(study_file(study(scales=SCALES)), "quik")


def test_what_a_file_does_not_say_leaves_no_trace():
    assert not {"scales", "scale"} & study_file(study()).plain().keys()


def test_a_device_reaches_runs_and_the_analyses_that_have_one():
    file = at(study_file(study(analyses={"fine_tuning": {"epochs": 2}, "jacobian_norm": {}})), None, device="cuda")
    assert file.set == {**SMALL, "training.device": "cuda"}
    assert file.analyses == {"fine_tuning": {"epochs": 2, "device": "cuda"}, "jacobian_norm": {}}
