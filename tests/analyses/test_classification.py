from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from caelab import CaelabError, train
from caelab.analysis.base import gather
from caelab.data import Samples
from caelab.data.dataset import make_dataset
from caelab.errors import NotApplicable
from caelab.models.autoencoder import autoencoder
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import classification
from caelab_analyses.classification import PROBE, TUNED
from caelab_analyses.classification.classifiers import Descent, Labelled, fine_tuned, linear_probe
from tests.drawing import drawn_alike

QUICK = {"labels": 200, "epochs": 8, "patience": 3}


@pytest.fixture(scope="module")
def run():
    """A small auto-encoder of scikit-learn's digits."""
    dataset = {"kind": "digits", "splits": [300, 60, 100]}
    return train(recipe_config("ae", ["training.epochs=2", "model.hidden=[20]"], dataset=dataset))


@pytest.fixture(scope="module")
def table(run):
    return classification.measure(run, Streams(run.seed), **QUICK)


def toy_run(inputs, labels, hidden=12):
    """A run on one's own data, never trained."""
    dataset = make_dataset("toy", Samples(inputs, labels), splits=(120, 40, 40), seed=1)
    torch.manual_seed(4)
    model = autoencoder(inputs.shape[1], hidden=[hidden])
    return Run(recipe_config("ae"), model.eval(), dataset, [])


def clusters(labels):
    """Two hundred points, far apart by class."""
    rng = np.random.default_rng(0)
    names = np.resize(labels, 200)
    centres = {name: 4 * np.eye(6)[position] for position, name in enumerate(labels)}
    return np.stack([centres[name] for name in names]) + 0.1 * rng.standard_normal((200, 6)), names


def row(table, classifier, split):
    return table.set_index(["classifier", "split"]).loc[(classifier, split)]


def recount(predict, inputs, labels):
    return 100 * np.mean(predict(inputs).numpy() != labels.numpy())


def test_separable_classes_are_told_apart_whatever_their_numbers():
    run = toy_run(*clusters([7, -3, 40]))
    table = classification.measure(run, Streams(0), batch_size=20)
    assert (table["error"] == 0).all()
    assert (table["standard_error"] == 0).all()
    assert set(table["labels"]) == {120}  # all there are


def test_shuffled_labels_cannot_be_told_apart():
    inputs, labels = clusters([0, 1])
    run = toy_run(inputs, np.random.default_rng(1).permutation(labels))
    table = classification.measure(run, Streams(0), epochs=5)
    assert row(table, PROBE, "test")["error"] > 20


def test_one_row_per_classifier_and_split(table):
    assert list(zip(table["classifier"], table["split"], strict=True)) == [
        (PROBE, "valid"),
        (PROBE, "test"),
        (TUNED, "valid"),
        (TUNED, "test"),
    ]
    assert list(table["examples"]) == [60, 100, 60, 100]
    share = table["error"] / 100
    assert_allclose(table["standard_error"], 100 * np.sqrt(share * (1 - share) / table["examples"]))
    assert (table.loc[table["classifier"] == PROBE, "epochs"] == 0).all()
    assert table.loc[table["classifier"] == TUNED, "epochs"].between(1, QUICK["epochs"]).all()


def test_probe_errs_as_scikit_learn_on_the_scaled_code(run, table):
    code, data = run.encode(run.dataset.inputs).double().numpy(), run.dataset
    learnt = data.train[:200]
    centred = StandardScaler(with_std=False)
    # one number for all units: the same as C times its square on the code as it is
    variance = np.mean(np.var(code[learnt], axis=0))
    sklearn = make_pipeline(centred, LogisticRegression(C=1 / variance, tol=1e-8, max_iter=10_000))
    sklearn.fit(code[learnt], data.labels[learnt])
    for split, chosen in (("valid", data.valid), ("test", data.test)):
        expected = 100 * np.mean(sklearn.predict(code[chosen]) != data.labels[chosen].numpy())
        assert row(table, PROBE, split)["error"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_probe_does_not_depend_on_the_scale_of_the_code(run, scale):
    scaled = deepcopy(run.model)
    scaled.encode.append(nn.Linear(20, 20, bias=False).requires_grad_(False))
    scaled.encode[-1].weight.copy_(scale * torch.eye(20))
    train_part = Labelled(run.dataset.train_inputs[:200], run.dataset.train_labels[:200])
    plain = linear_probe(run, train_part, 1.0)
    other = linear_probe(Run(run.config, scaled.eval(), run.dataset, []), train_part, 1.0)
    agree = (plain(run.dataset.test_inputs) == other(run.dataset.test_inputs)).double().mean()
    assert agree >= 0.99  # float32 codes: an example on the border may change sides


def test_errors_equal_a_recount_by_hand(run, table):
    data = run.dataset
    parts = [Labelled(data.train_inputs[:200], data.train_labels[:200]), Labelled(data.valid_inputs, data.valid_labels)]
    predict, kept = fine_tuned(run, *parts, Descent(0.1, 0.9, 50, 8, 3), Streams(run.seed))
    assert row(table, TUNED, "valid")["error"] == pytest.approx(recount(predict, data.valid_inputs, data.valid_labels))
    assert row(table, TUNED, "test")["error"] == pytest.approx(recount(predict, data.test_inputs, data.test_labels))
    assert row(table, TUNED, "test")["epochs"] == kept


def test_fine_tuning_is_momentum_descent_on_the_mean_cross_entropy():
    """Two epochs of full batches, against the update written out in numpy."""
    inputs, labels = clusters([0, 1, 2])
    run = toy_run(inputs.astype("float32"), labels, hidden=5)
    data = run.dataset
    train_part = Labelled(data.train_inputs, data.train_labels)
    valid_part = Labelled(data.valid_inputs, data.valid_labels)
    predict, _ = fine_tuned(run, train_part, valid_part, Descent(0.1, 0.9, 120, 2, 5), Streams(3))
    bound = predict.__self__

    layer = run.model.encode[0]
    weight, bias = layer.weight.detach().double().numpy().copy(), layer.bias.detach().double().numpy().copy()
    start = nn.Linear(5, 3)
    nn.init.xavier_uniform_(start.weight, generator=Streams(3)["classifier weights"])
    parameters = [weight, bias, start.weight.detach().double().numpy(), np.zeros(3)]
    speeds = [np.zeros_like(parameter) for parameter in parameters]
    x, truth = data.train_inputs.double().numpy(), np.eye(3)[data.train_labels]
    for _ in range(2):
        w, b, v, c = parameters
        h = 1 / (1 + np.exp(-(x @ w.T + b)))
        exponents = np.exp(h @ v.T + c)
        surprise = (exponents / exponents.sum(axis=1, keepdims=True) - truth) / len(x)
        back = surprise @ v * h * (1 - h)
        slopes = [back.T @ x, back.sum(axis=0), surprise.T @ h, surprise.sum(axis=0)]
        speeds = [0.9 * speed + slope for speed, slope in zip(speeds, slopes, strict=True)]
        parameters = [p - 0.1 * speed for p, speed in zip(parameters, speeds, strict=True)]
    found = [bound.encode[0].weight, bound.encode[0].bias, bound.softmax.weight, bound.softmax.bias]
    for ours, expected in zip(found, parameters, strict=True):
        assert_allclose(ours.detach().numpy(), expected, atol=2e-6)  # float32


def test_keeps_the_epoch_with_the_lowest_validation_error(run):
    """Trained for fewer epochs, no epoch up to there is better than the one that was kept."""
    data = run.dataset
    parts = [Labelled(data.train_inputs[:200], data.train_labels[:200]), Labelled(data.valid_inputs, data.valid_labels)]

    def after(epochs):
        predict, kept = fine_tuned(run, *parts, Descent(0.1, 0.9, 50, epochs, 100), Streams(0))
        return recount(predict, data.valid_inputs, data.valid_labels), kept

    course = [after(epochs) for epochs in range(1, 9)]
    errors = [error for error, _ in course]
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) > 1
    improved = [epoch for epoch, (_, kept) in enumerate(course, start=1) if kept == epoch]
    assert course[-1][1] == improved[-1]


def test_leaves_the_run_as_it_was(run):
    before = deepcopy(run.model.state_dict())
    code = run.encode(run.dataset.valid_inputs)
    classification.measure(run, Streams(0), **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert torch.equal(run.encode(run.dataset.valid_inputs), code)
    assert not run.model.training


def test_is_deterministic_and_draws_from_its_own_streams(run, table):
    streams = Streams(run.seed)
    torch.rand(5, generator=streams["something else"])
    torch.manual_seed(99)
    pd.testing.assert_frame_equal(classification.measure(run, streams, **QUICK), table)


def test_a_plain_function_as_encoder_is_used_as_it_is():
    run = toy_run(*clusters([0, 1, 2]))
    layer = nn.Linear(6, 9)
    run.model.encode = None
    run.model.__dict__["encode"] = lambda inputs: torch.sigmoid(layer(inputs))
    del run.model._modules["encode"]
    table = classification.measure(run, Streams(0), batch_size=20)
    assert (table["error"] == 0).all()
    assert layer.weight.grad is None


def test_without_labels_it_is_not_applicable():
    inputs, _ = clusters([0, 1])
    with pytest.raises(NotApplicable, match="needs labels, but the data set 'toy' has none"):
        classification.measure(toy_run(inputs, None), Streams(0))


def test_one_class_is_not_applicable():
    inputs, _ = clusters([0, 1])
    with pytest.raises(NotApplicable, match="two classes, but the 120 labelled examples are of one"):
        classification.measure(toy_run(inputs, np.zeros(200, dtype=int)), Streams(0))


def test_divergence_is_told():
    run = toy_run(*clusters([0, 1, 2]))
    with pytest.raises(CaelabError, match=r"fine-tuning diverged.*lower the option learning_rate"):
        classification.measure(run, Streams(0), learning_rate=1e38)


def test_summary_names_three_errors(table):
    assert classification.summarise(table) == {
        "linear-probe error": row(table, PROBE, "test")["error"],
        "fine-tuned error": row(table, TUNED, "test")["error"],
        "fine-tuned validation error": row(table, TUNED, "valid")["error"],
    }


def test_draws_from_the_stored_table(table, tmp_path):
    parts = [table.assign(model=model, seed=seed) for model in ("ae", "cae") for seed in (0, 1)]
    gather(parts).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(classification.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"{PROBE}, 200 labels", f"{TUNED}, 200 labels"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["AE", "CAE"]
