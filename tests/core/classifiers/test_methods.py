"""Logistic regression, support vectors and neighbours, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from caelab import finetune
from caelab.classifiers.examples import Labelled, error_of, surprise_of, targets_of
from caelab.classifiers.neighbours import Neighbours
from caelab.classifiers.options import NearestNeighbours
from caelab.classifiers.scikit import votes


def plain(tensor):
    return tensor.double().numpy()


def features_of(run, features, part):
    inputs = run.dataset.inputs[part]
    return plain(inputs if features == "inputs" else run.encode(inputs))


def chosen(made, *keys):
    """The candidate with the lowest validation error, the first of equals."""
    best = min(made.metrics, key=lambda row: row["valid_error"])
    return [best[key] for key in keys]


def test_logistic_regression_is_that_of_scikit_learn(run):
    made, data = finetune(run, method="frozen"), run.dataset
    code = {name: plain(run.encode(data.inputs[part])) for name, part in (("train", data.train), ("test", data.test))}
    centre = code["train"].mean(axis=0)
    spread = np.sqrt(np.mean((code["train"] - centre) ** 2))
    penalty = made.best()["inverse_penalty"]
    sklearn = LogisticRegression(C=penalty, tol=1e-8, max_iter=10_000)
    sklearn.fit((code["train"] - centre) / spread, data.train_labels.numpy())
    expected = sklearn.predict_proba((code["test"] - centre) / spread)
    np.testing.assert_allclose(made.predict_proba(data.test_inputs).numpy(), expected, atol=2e-4)  # its own tolerance
    assert made.best()["valid_error"] == min(row["valid_error"] for row in made.metrics) == made.error()
    assert torch.equal(made.encoder(data.test_inputs), run.encode(data.test_inputs))


def test_logistic_regression_of_two_classes(toy_run, clusters):
    inputs, labels = clusters([5, 2], spread=3.0)
    made = finetune(toy_run(inputs, labels), method="frozen", inverse_penalty=[1.0])
    run, data = made.run, made.run.dataset
    code = plain(run.encode(data.train_inputs))
    scale = np.sqrt(np.mean((code - code.mean(axis=0)) ** 2))
    sklearn = LogisticRegression(tol=1e-8).fit((code - code.mean(axis=0)) / scale, data.train_labels.numpy())
    test = (plain(run.encode(data.test_inputs)) - code.mean(axis=0)) / scale
    np.testing.assert_allclose(made.predict_proba(data.test_inputs).numpy(), sklearn.predict_proba(test), atol=2e-4)
    assert made.classes.tolist() == [2, 5]


@pytest.mark.parametrize("features", ["code", "inputs"])
def test_support_vectors_are_those_of_scikit_learn(run, features):
    made, data = finetune(run, method="svm-rbf", features=features), run.dataset
    train, test = (features_of(run, features, part) for part in (data.train, data.test))
    penalty, gamma = chosen(made, "penalty", "gamma")
    unit = 1 / (train.shape[1] * train.var())
    sklearn = SVC(C=penalty, gamma=gamma * unit, break_ties=True).fit(train, data.train_labels.numpy())
    scores = made.fitted.rule.scores(data.test_inputs)
    np.testing.assert_allclose(scores.numpy(), sklearn.decision_function(test), atol=1e-9)
    assert made.predict(data.test_inputs).tolist() == sklearn.predict(test).tolist()
    assert len(made.metrics) == 9


def test_support_vectors_of_two_classes(toy_run, clusters):
    inputs, labels = clusters([5, 2], spread=3.0)
    made = finetune(toy_run(inputs, labels), method="svm-rbf", features="inputs", penalty=[1.0], gamma=[1.0])
    data = made.run.dataset
    sklearn = SVC().fit(plain(data.train_inputs), data.train_labels.numpy())
    decision = sklearn.decision_function(plain(data.test_inputs))
    rule = made.fitted.rule
    assert made.predict(data.test_inputs).tolist() == np.where(decision > 0, 5, 2).tolist()
    np.testing.assert_allclose(
        rule.decisions(rule.kernel(data.test_inputs.double()))[:, 0].numpy(), -decision, atol=1e-9
    )
    assert 0 < made.error("test") < 50


def test_probabilities_of_support_vectors_are_calibrated_on_validation(run):
    made, data = finetune(run, method="svm-rbf"), run.dataset
    targets = targets_of(data.valid_labels, made.classes)
    scores, factor = made.fitted.rule.scores(data.valid_inputs), float(made.fitted.rule.arrays["factor"])
    surprises = [surprise_of(torch.log_softmax(f * factor * scores, dim=1), targets) for f in (0.8, 1.0, 1.25)]
    assert surprises[1] == min(surprises)
    found = made.predict_proba(data.valid_inputs)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(60, dtype=torch.float64))
    assert torch.equal(found.argmax(dim=1), scores.argmax(dim=1))


def test_votes_by_hand():
    """Three classes: 0 beats 1, 2 beats 0, 1 beats 2; one vote each, told apart by the sums 2, -4 and 2."""
    found = votes(torch.tensor([[3.0, -1.0, 1.0]], dtype=torch.float64), 3)
    assert found[0].tolist() == pytest.approx([1 + 2 / 9, 1 - 2 / 9, 1 + 0])


@pytest.mark.parametrize("features", ["code", "inputs"])
def test_neighbours_are_those_of_scikit_learn(run, features):
    made, data = finetune(run, method="nearest-neighbours", features=features), run.dataset
    (count,) = chosen(made, "neighbours")
    sklearn = KNeighborsClassifier(int(count), algorithm="brute")
    sklearn.fit(features_of(run, features, data.train), data.train_labels.numpy())
    test = features_of(run, features, data.test)
    np.testing.assert_allclose(made.predict_proba(data.test_inputs).numpy(), sklearn.predict_proba(test), atol=1e-12)
    assert made.predict(data.test_inputs).tolist() == sklearn.predict(test).tolist()


def test_the_number_of_neighbours_is_chosen_on_validation(run):
    made, data = finetune(run, method="nearest-neighbours"), run.dataset
    targets = targets_of(data.valid_labels, made.classes)
    train = Labelled(data.train_inputs, targets_of(data.train_labels, made.classes))
    errors = {}
    for count in (1, 3, 5, 7, 9, 15):
        rule = Neighbours(run.model, NearestNeighbours(seed=0), train, 10, count)
        errors[count] = error_of(rule.log_probabilities(data.valid_inputs), targets)
    assert {int(row["neighbours"]): row["valid_error"] for row in made.metrics} == errors
    assert made.fitted.rule.count == min(errors, key=errors.get)


def test_no_more_neighbours_than_examples(run):
    made = finetune(run, method="nearest-neighbours", labels=8, neighbours=[1, 5, 50])
    assert [row["neighbours"] for row in made.metrics] == [1, 5]
    assert finetune(run, method="nearest-neighbours", labels=8, neighbours=[50]).best()["neighbours"] == 8


def test_targets_of_a_class_that_nobody_learnt():
    classes = torch.tensor([-3, 7])
    assert targets_of(torch.tensor([7, 8, -3, -9]), classes).tolist() == [1, -1, 0, -1]
