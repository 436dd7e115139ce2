"""Every argument of the public functions, given something of a wrong type, works or is one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

import caelab
from caelab import CaelabError, Study, load_dataset, recipe_config, train

X = np.random.default_rng(0).random((30, 4)).astype("float32")
QUICK = recipe_config("ae", ["training.epochs=1", "model.hidden=[3]", "training.batch_size=10"])
WRONG = {
    "None": None, "a number": 3, "a negative number": -1, "a fraction": 2.5, "a truth value": True, "a list": [],
    "a dictionary": {}, "an object": object(), "a path": Path("x"), "a text": "text", "a list of a number": [1],
    "a dictionary of numbers": {1: 1}, "an empty text": "", "a class": int, "an array": np.ones(2), "bytes": b"x",
}  # fmt: skip
DIGITS = recipe_config("ae", ["training.epochs=1"], dataset={"kind": "digits", "splits": [50, 10, 10]})
ENCODER = torch.nn.Linear(4, 3)


def run_study(**how):
    Study([DIGITS], 1, {}, "runs").run(**{"executor": "serial", **how})


def of_jacobian(**given):
    caelab.jacobian(**{"encode": ENCODER, "inputs": torch.ones(2, 4), **given}).squared_norm()


def made_dataset(**given):
    parts = {"train": torch.arange(5), "valid": torch.arange(2), "test": torch.arange(2)}
    made = caelab.Dataset(
        **{"name": "a", "inputs": torch.rand(9, 3), "labels": None, "image_shape": None, **parts, **given}
    )
    train(QUICK, dataset=made)


FUNCTIONS = {
    "train": (
        lambda **given: train(**{"config": QUICK, "dataset": X, **given}),
        ("config", "out", "model", "dataset", "regularizers", "observers", "splits", "seed"),
    ),
    "load_run": (lambda **given: caelab.load_run(**{"path": "nowhere", **given}), ("path", "model", "dataset")),
    "load_dataset": (lambda **given: load_dataset(**{"name": "digits", **given}), ("name", "splits", "seed", "other")),
    "recipe_config": (
        lambda **given: recipe_config(**{"name": "ae", **given}),
        ("name", "settings", "offers", "without", "dataset", "model", "training", "regularizers", "seed", "label"),
    ),
    "allow_code": (lambda target: caelab.allow_code(target), ("target",)),
    "Study": (
        lambda **given: Study(**{"configs": [QUICK], "seeds": 1, "analyses": {}, "out": "o", **given}),
        ("configs", "seeds", "analyses", "out", "plugin_files"),
    ),
    "jacobian": (of_jacobian, ("encode", "inputs", "outputs", "memory_budget", "known_squared_norm", "context")),
    "Dataset": (made_dataset, ("inputs", "labels", "image_shape", "train", "valid", "test")),
}


@pytest.mark.parametrize(("function", "argument"), [(name, each) for name, (_, of) in FUNCTIONS.items() for each in of])
def test_a_wrong_argument_is_one_sentence_or_works(function, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("caelab.registry.importing._allowed", set())
    told = []
    for given in WRONG.values():
        try:
            FUNCTIONS[function][0](**{argument: given})
        except CaelabError as error:
            told.append(str(error))
    assert told
    assert not [each for each in told if not each.strip() or "\n" in each]


@pytest.mark.parametrize("kind", WRONG)
def test_a_study_is_run_with_a_count_of_workers_the_name_of_an_executor_and_a_function(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if kind != "a number":
        with pytest.raises(CaelabError, match="expected workers as a whole number of at least 1"):
            run_study(workers=WRONG[kind])
    with pytest.raises(CaelabError, match=r"expected the name of the executor as a text|unknown executor"):
        run_study(executor=WRONG[kind])
    if kind != "a class":
        with pytest.raises(CaelabError, match="expected done as a function"):
            run_study(done=WRONG[kind])
    with pytest.raises(CaelabError, match="at least 1, but 0 came"):
        run_study(workers=0)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("kind", WRONG)
def test_a_run_takes_numbers(kind):
    run = train(QUICK, dataset=X)
    for method in (run.encode, run.reconstruct, run.reconstruction_error):
        with pytest.raises(CaelabError, match=r"expected inputs(, shape \(batch, d\), as a tensor| of shape \(n, d\))"):
            method(WRONG[kind])


def test_regularizers_are_named():
    with pytest.raises(CaelabError, match=r"contractive\.weight is missing"):
        train(QUICK, dataset=X, regularizers="contractive")
    with pytest.raises(CaelabError, match="unknown regularizer 'contractiv'; did you mean 'contractive'"):
        train(QUICK, dataset=X, regularizers=["contractiv"])


def test_a_data_set_is_loaded_as_train_names_it(tmp_path):
    assert load_dataset({"kind": "digits"}).content_hash == load_dataset("digits").content_hash
    split = load_dataset({"kind": "digits", "splits": [10, 5, 5]}, seed=3)
    assert torch.equal(split.train, load_dataset("digits", splits=(10, 5, 5), seed=3).train)
    np.savez(tmp_path / "x.npz", x=X)
    assert torch.equal(load_dataset(tmp_path / "x.npz").inputs, load_dataset(f"npz:{tmp_path / 'x.npz'}").inputs)
    assert train(QUICK, dataset=tmp_path / "x.npz").config.dataset.kind == "npz"
    assert load_dataset(str(tmp_path / "x.npz")).name == f"npz:{tmp_path / 'x.npz'}"
    for wrong, sentence in ((tmp_path, "is a path; say what it holds, as images:"), ("x.npz", r"no file at x\.npz")):
        with pytest.raises(CaelabError, match=sentence):
            load_dataset(wrong)
