"""Selection as in the paper: by the validation error after fine-tuning, without a look at test examples."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from caelab import finetune, load_dataset, recipe_config, run_study, train
from caelab.data import make_dataset
from caelab.data.samples import Samples

SPLITS = (150, 60, 60)
FAST = {"epochs": 25, "examples": 10}


def file_of(folder, scramble):
    """Digits in a file; where asked, with other inputs and labels at the places that the split takes for tests."""
    digits = load_digits()
    inputs, labels = (digits.data / 16).astype("float32")[:270], digits.target[:270].copy()
    path = folder / "digits.npz"
    np.savez(path, x=inputs, y=labels)
    test = load_dataset("npz", path=str(path), splits=SPLITS, seed=0).test.numpy()
    if scramble:
        rng = np.random.default_rng(1)
        inputs[test], labels[test] = rng.random((len(test), 64), dtype="float32"), rng.permutation(labels[test])
        np.savez(path, x=inputs, y=labels)
    return path


def chosen(folder, scramble=False):
    """What a study chose, and what it saw while choosing."""
    folder.mkdir()
    study = {
        "models": [{"recipe": "cae", "choose": {"contractive.weight": [0.01, 0.3, 3.0]}}],
        "datasets": [{"kind": "npz", "path": str(file_of(folder, scramble)), "splits": list(SPLITS), "split_seed": 0}],
        "set": {"model.hidden": [12], "training.epochs": 3},
        "seeds": 2,
        "analyses": {"fine_tuning": FAST},
        "selection": {"by": "validation error after fine-tuning"},
        "out": str(folder / "out"),
    }
    run_study(study)
    tables = [pd.read_parquet(path) for path in (folder / "out" / "runs").glob("*/tables/fine_tuning-*.parquet")]
    summary = pd.read_csv(folder / "out" / "runs.csv")
    return pd.read_csv(folder / "out" / "tuning.csv"), tables, summary


@pytest.mark.slow
def test_test_examples_cannot_influence_what_is_chosen(tmp_path):
    first, tables, errors = chosen(tmp_path / "as-they-are")
    second, _, other_errors = chosen(tmp_path / "scrambled", scramble=True)
    pd.testing.assert_frame_equal(first, second)
    while_choosing = [table for table in tables if (table["test_examples"] == 0).all()]
    after = [table for table in tables if (table["test_examples"] > 0).all()]
    assert (len(while_choosing), len(after)) == (6, 2)  # three candidates and two seeds; then what was chosen
    assert all(table["test_error"].isna().all() for table in while_choosing)
    same = "validation error after fine-tuning"
    assert (errors[same] == other_errors[same]).all()
    assert (errors["test error after fine-tuning"] < other_errors["test error after fine-tuning"]).all()


def test_permuted_labels_are_learnt_by_chance_alone():
    digits = load_digits()
    labels = np.random.default_rng(0).permutation(digits.target)
    data = make_dataset("permuted", Samples((digits.data / 16).astype("float32"), labels), splits=(900, 300, 500))
    run = train(recipe_config("cae", ["model.hidden=[40]", "training.epochs=10"]), dataset=data)
    classifier = finetune(run, epochs=20, patience=None)
    wrong = classifier.error("test") / 100 * 500
    low, high = stats.binom.interval(0.999, 500, 0.9)
    assert low <= wrong <= high
    true = make_dataset("true", Samples((digits.data / 16).astype("float32"), digits.target), splits=(900, 300, 500))
    run = train(recipe_config("cae", ["model.hidden=[40]", "training.epochs=10"]), dataset=true)
    assert finetune(run, epochs=20, patience=None).error("test") < 15
