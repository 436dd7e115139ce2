"""The folder of a classifier: found again, read back, refused where it is not what was written."""

import json
from dataclasses import replace

import pytest
import torch

import caelab
from caelab import CaelabError, finetune, load_classifier
from caelab.classifiers import classifier as room
from caelab.classifiers.store import HISTORY, RECORD, TENSORS, is_classifier
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config

METHODS = {
    "fine-tuning": {"epochs": 3},
    "frozen": {"inverse_penalty": [1.0]},
    "nearest-neighbours": {},
    "svm-rbf": {"penalty": [1.0], "gamma": [1.0]},
    "tangent-nearest-neighbours": {"tangents": 2, "candidates": 10},
}


@pytest.fixture
def folder(run, tmp_path):
    return finetune(run, epochs=3, out=tmp_path).path


@pytest.mark.parametrize("method", METHODS)
def test_it_is_read_back_to_the_same_bits(run, same, tmp_path, method):
    made = finetune(run, method=method, out=tmp_path, **METHODS[method])
    found = load_classifier(made.path)
    assert same(made, found)
    assert found.metrics == made.metrics
    assert found.config == made.config
    inputs = run.dataset.test_inputs
    assert torch.equal(found.predict_proba(inputs), made.predict_proba(inputs))
    assert found.error("test") == made.error("test")
    assert torch.equal(found.as_run().encode(inputs), made.as_run().encode(inputs))
    assert caelab.Classifier.load(made.path).path == made.path
    assert repr(found).startswith(f"<Classifier 'cae {method}' of {len(found.classes)} classes, ")


def test_its_name_says_what_it_is_and_its_files_are_three(run, folder):
    assert folder.name.startswith("cae-fine-tuning-")
    assert {path.name for path in folder.iterdir()} == {RECORD, TENSORS, HISTORY}
    assert is_classifier(folder)
    assert not is_classifier(folder.parent)
    facts = json.loads((folder / RECORD).read_text())
    assert facts["options"]["epochs"] == 3
    assert facts["record"]["labels"] == 300
    assert facts["run"]["config"]["label"] == "cae"


def test_it_is_found_again_and_not_trained(run, folder, monkeypatch):
    monkeypatch.setattr(room, "write_folder", None)
    assert finetune(run, epochs=3, out=folder.parent).path == folder
    assert finetune(replace(run, record={}), epochs=3, out=folder.parent).path == folder


@pytest.mark.parametrize(
    "change", [{"epochs": 4}, {"labels": 100}, {"seed": 1}, {"dropout": 0.1}, {"method": "frozen"}]
)
def test_another_question_has_another_folder(run, folder, change):
    options = {"epochs": 3} if change.get("method") is None else {}
    assert finetune(run, out=folder.parent, **{**options, **change}).path != folder


def test_another_run_has_another_folder(run, folder):
    """Of the same config, but with other weights, as one that was changed by hand."""
    other = finetune(run, epochs=1).as_run()
    again = replace(other, config=run.config)
    assert finetune(again, epochs=3, out=folder.parent).path != folder
    with pytest.raises(CaelabError, match="made from another run: the weights of this one differ"):
        load_classifier(folder, run=again)


def test_one_in_memory_can_be_saved(run, same, tmp_path):
    made = finetune(run, epochs=3)
    assert made.path is None
    kept = made.save(tmp_path)
    assert kept.path == finetune(run, epochs=3, out=tmp_path).path
    assert same(load_classifier(kept.path), made)


def test_a_stored_run_is_given_by_its_folder(same, tmp_path):
    data = {"kind": "digits", "splits": [100, 60, 100]}
    config = recipe_config("ae", ["training.epochs=1", "model.hidden=[8]"], dataset=data)
    run = caelab.train(config, out=tmp_path / "runs")
    made = finetune(run.path, epochs=2, out=tmp_path / "classifiers")
    assert same(made, finetune(str(run.path), epochs=2))
    assert load_classifier(made.path).run.config == run.config


def test_a_damaged_run_is_told(tmp_path):
    data = {"kind": "digits", "splits": [100, 60, 100]}
    config = recipe_config("ae", ["training.epochs=1", "model.hidden=[8]"], dataset=data)
    path = caelab.train(config, out=tmp_path / "runs").path
    (path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CaelabError, match="is damaged"):
        finetune(path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [RECORD, TENSORS, HISTORY])
def test_damage_is_told_by_the_name_of_the_file(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(CaelabError, match=rf"is damaged \({name}: .* delete .* to make it again"):
        load_classifier(folder)
    (folder / name).unlink()
    with pytest.raises(CaelabError, match=rf"is damaged \({name}: "):
        load_classifier(folder)


def test_what_is_no_classifier_or_not_finished(run, folder, tmp_path):
    with pytest.raises(CaelabError, match="is not a classifier: expected a folder with classifier"):
        load_classifier(tmp_path)
    with pytest.raises(CaelabError, match="is not finished; the command that was interrupted goes on"):
        load_classifier(tmp_path / ".partial-cae-fine-tuning-0123456789ab")


def test_data_that_have_changed_are_refused(tmp_path):
    import numpy as np

    def data(seed):
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / "x.npz", x=rng.random((90, 20)).astype("float32"), y=rng.integers(0, 3, 90))

    data(0)
    dataset = {"kind": f"npz:{tmp_path / 'x.npz'}", "splits": [60, 15, 15]}
    run = caelab.train(recipe_config("ae", ["training.epochs=1", "model.hidden=[8]"], dataset=dataset))
    made = finetune(run, epochs=1, out=tmp_path / "out")
    data(1)
    with pytest.raises(CaelabError, match=r"the data of the classifier .* have changed"):
        load_classifier(made.path)


def test_a_run_without_weights_is_made_again_from_its_config(tmp_path):
    """Its encoder has no parameters, yet it was not given as an object."""
    run = caelab.train(recipe_config("inputs", dataset={"kind": "digits", "splits": [60, 20, 20]}))
    made = finetune(run, method="nearest-neighbours", out=tmp_path)
    again = load_classifier(made.path)
    assert torch.equal(again.predict(run.dataset.test_inputs), made.predict(run.dataset.test_inputs))


def test_a_classifier_of_an_upper_layer_finds_the_layer_below(tmp_path, same):
    settings = ["training.epochs=1", "model.hidden=[10, 6]"]
    data = {"kind": "digits", "splits": [60, 20, 20]}
    stack = caelab.train(recipe_config("cae-2", settings, dataset=data), out=tmp_path / "runs")
    made = finetune(tmp_path / "runs" / stack.record["layers"][1], epochs=1, out=tmp_path / "classifiers")
    assert same(load_classifier(made.path), made)


def test_an_encoder_from_elsewhere_is_known_by_its_code(run, tmp_path):
    def external(encode):
        return replace(run, model=EncoderOnly(encode).eval(), record={"encoder": "mine:encode"})

    one, two = (
        finetune(external(encode), method="nearest-neighbours", out=tmp_path)
        for encode in (lambda inputs: inputs[:, :9], lambda inputs: inputs.square())
    )
    assert one.path != two.path
    with pytest.raises(CaelabError, match="given as objects"):
        load_classifier(one.path)
    again = load_classifier(one.path, run=external(lambda inputs: inputs[:, :9]))
    assert torch.equal(again.predict(run.dataset.test_inputs), one.predict(run.dataset.test_inputs))


def test_a_process_that_comes_second_finds_what_the_first_made(run, tmp_path, monkeypatch):
    """Between its look and its lock another one writes the folder."""
    lock = room.one_writer
    made = []

    def late(target):
        if not made:
            made.append(True)
            made.append(finetune(run, epochs=3, out=tmp_path).path)
        return lock(target)

    monkeypatch.setattr(room, "one_writer", late)
    assert finetune(run, epochs=3, out=tmp_path).path == made[1]
