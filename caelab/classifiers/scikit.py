"""Logistic regression and support vectors by scikit-learn; what they find is kept as arrays, and computed from here.

An estimator of scikit-learn could be stored only as a pickle, which runs code when it is read. Fitting again when it
is loaded would take as long as before. So the few arrays that predictions follow from are stored, and the predictions
written out; that they are scikit-learn's is tested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caelab.classifiers.examples import Labelled, error_of, surprise_of
from caelab.classifiers.network import codes_of
from caelab.classifiers.options import INPUTS, Frozen, SupportVectors

AT_ONCE = 1000  # examples whose kernels are computed together

Tried = list[dict[str, float]]


@dataclass
class Logistic:
    """Multinomial logistic regression: log softmax(A z + b) of the scaled code z.

    The code is centred and divided by one number, its root mean square deviation over examples and units, so that
    the penalty asks the same of codes of every scale.

    Attributes:
        model: whose encoder gives the code.
        arrays: ``centre`` (code,), ``spread`` (), ``weight`` A (classes, code), ``bias`` b (classes,), float64.
    """

    model: Any
    arrays: Mapping[str, Tensor]

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """Shape (n, classes), float64."""
        arrays = self.arrays
        scaled = (codes_of(self.model.encode, inputs).double() - arrays["centre"]) / arrays["spread"]
        return torch.log_softmax(scaled @ arrays["weight"].T + arrays["bias"], dim=1)


def fitted_logistic(
    model: Any, train: Labelled, valid: Labelled, classes: int, options: Frozen
) -> tuple[Logistic, Tried]:
    """Logistic regression by the C with the lowest validation error, of equals the lowest cross-entropy."""
    from sklearn.linear_model import LogisticRegression

    code = codes_of(model.encode, train.inputs).double()
    centre = code.mean(dim=0)
    spread = (code - centre).square().mean().sqrt()
    spread = spread if spread > 0 else torch.ones_like(spread)
    scaled, found, tried = ((code - centre) / spread).numpy(), [], []
    made = LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True)  # each starts where the one before it ended
    for penalty in options.inverse_penalty:
        made.set_params(C=penalty).fit(scaled, train.targets.numpy())
        weight, bias = _both_classes(torch.from_numpy(made.coef_), torch.from_numpy(made.intercept_))
        found.append(Logistic(model, {"centre": centre, "spread": spread, "weight": weight, "bias": bias}))
        tried.append({"inverse_penalty": penalty, **_validated(found[-1].log_probabilities(valid.inputs), valid)})
    return found[_best(tried)], tried


def _both_classes(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A row for each class: of two scikit-learn gives one row, for the second against the first."""
    if len(weight) > 1:
        return weight.contiguous().clone(), bias.clone()
    return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])


def _validated(log_probabilities: Tensor, valid: Labelled) -> dict[str, float]:
    return {
        "valid_error": error_of(log_probabilities, valid.targets),
        "valid_loss": surprise_of(log_probabilities, valid.targets),
    }


def _best(tried: Tried) -> int:
    return min(range(len(tried)), key=lambda place: (tried[place]["valid_error"], tried[place]["valid_loss"]))


@dataclass
class Machine:
    """A support vector classifier: of every two classes one decides, and their votes are counted.

    Equal votes are told apart by the sum of the decisions, squeezed into (-1/3, 1/3), as scikit-learn's
    ``decision_function`` does it. The probabilities are the softmax of that number times a factor, which is chosen by
    the validation cross-entropy (Guo et al. 2017): they are calibrated in the mean, and the likeliest class is the one
    that is predicted.

    Attributes:
        model: whose encoder gives the code.
        options: with the features.
        train: the training examples, of which the support vectors are some.
        arrays: ``support``, the places of the support vectors among the training examples, class by class;
            ``counts``, how many each class has; ``coefficients`` (classes - 1, support) and ``intercepts`` (pairs,), as
            libsvm gives them; ``gamma`` () and ``factor`` ().
    """

    model: Any
    options: SupportVectors
    train: Labelled
    arrays: dict[str, Tensor]

    def __post_init__(self) -> None:
        self.vectors = self.features(self.train.inputs[self.arrays["support"]])

    def features(self, inputs: Tensor) -> Tensor:
        """Codes or inputs in float64, shape (n, width)."""
        return (inputs if self.options.features == INPUTS else codes_of(self.model.encode, inputs)).double()

    def scores(self, inputs: Tensor) -> Tensor:
        """Votes, and what tells equal ones apart, shape (n, classes)."""
        parts = [self.decisions(self.kernel(part)) for part in torch.split(self.features(inputs), AT_ONCE)]
        return votes(torch.cat(parts), len(self.arrays["counts"]))

    def kernel(self, features: Tensor) -> Tensor:
        """exp(-γ ‖x - y‖²) of each example and each support vector, shape (n, support)."""
        found: Tensor = torch.exp(-self.arrays["gamma"] * torch.cdist(features, self.vectors).square())
        return found

    def decisions(self, kernel: Tensor) -> Tensor:
        """Of every pair of classes, positive for the first, from the kernel (n, support); shape (n, pairs)."""
        counts = self.arrays["counts"].tolist()
        ends = np.cumsum([0, *counts]).tolist()
        part = [slice(first, last) for first, last in pairwise(ends)]
        found = [
            kernel[:, part[i]] @ self.arrays["coefficients"][j - 1, part[i]]
            + kernel[:, part[j]] @ self.arrays["coefficients"][i, part[j]]
            for i, j in combinations(range(len(counts)), 2)
        ]
        return torch.stack(found, dim=1) + self.arrays["intercepts"]

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """Shape (n, classes), float64."""
        return torch.log_softmax(self.arrays["factor"] * self.scores(inputs), dim=1)


def votes(decisions: Tensor, classes: int) -> Tensor:
    """Votes of all pairs for each class, plus s / (3 (|s| + 1)) of the sum s of its decisions, shape (n, classes).

    Args:
        decisions: of the pairs (0, 1), (0, 2), ..., positive for the first, shape (n, pairs).
        classes: how many.
    """
    counted, summed = decisions.new_zeros(len(decisions), classes), decisions.new_zeros(len(decisions), classes)
    for column, (first, second) in zip(decisions.T, combinations(range(classes), 2), strict=True):
        for_first = column > 0
        counted[:, first] += for_first
        counted[:, second] += ~for_first
        summed[:, first] += column
        summed[:, second] -= column
    return counted + summed / (3 * (summed.abs() + 1))


def fitted_machine(model: Any, train: Labelled, valid: Labelled, options: SupportVectors) -> tuple[Machine, Tried]:
    """The support vector classifier by the C and γ with the lowest validation error, of equals the first."""
    from sklearn.svm import SVC

    features = train.inputs if options.features == INPUTS else codes_of(model.encode, train.inputs)
    plain = features.double().numpy()
    unit = 1.0 / (plain.shape[1] * (float(plain.var()) or 1.0))
    found, tried = [], []
    for penalty, factor in product(options.penalty, options.gamma):
        # without a seed of its own libsvm draws one from numpy's global generator; nothing fitted depends on it
        machine = SVC(C=penalty, gamma=factor * unit, cache_size=500, random_state=0)
        made = machine.fit(plain, train.targets.numpy())
        found.append(Machine(model, options, train, _arrays(made, factor * unit)))
        error = error_of(found[-1].scores(valid.inputs), valid.targets)
        tried.append({"penalty": penalty, "gamma": factor, "valid_error": error})
    best = found[min(range(len(tried)), key=lambda place: tried[place]["valid_error"])]
    best.arrays["factor"] = _calibrated(best.scores(valid.inputs), valid)
    return best, tried


def _arrays(made: Any, gamma: float) -> dict[str, Tensor]:
    """What the predictions of an ``SVC`` follow from; of two classes its signs are turned round."""
    sign = -1.0 if len(made.classes_) == 2 else 1.0
    return {
        "support": torch.from_numpy(made.support_.astype(np.int64)),
        "counts": torch.from_numpy(made.n_support_.astype(np.int64)),
        "coefficients": torch.from_numpy(np.ascontiguousarray(sign * made.dual_coef_)),
        "intercepts": torch.from_numpy(sign * made.intercept_),
        "gamma": torch.tensor(gamma, dtype=torch.float64),
        "factor": torch.tensor(1.0, dtype=torch.float64),
    }


def _calibrated(scores: Tensor, valid: Labelled) -> Tensor:
    """The factor, between 1/100 and 100, with the lowest validation cross-entropy."""
    from scipy.optimize import minimize_scalar

    def surprise(logarithm: float) -> float:
        return surprise_of(torch.log_softmax(math.exp(logarithm) * scores, dim=1), valid.targets)

    found = minimize_scalar(surprise, bounds=(-math.log(100), math.log(100)), method="bounded")
    return torch.tensor(math.exp(found.x), dtype=torch.float64)
